package graph

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The kinds of a CallError; test with errors.Is.
var (
	// ErrGone: Graph knows no such call (404): it has ended.
	ErrGone = errors.New("Graph knows no such call")
	// ErrRefused: Graph will not do it however often it is asked (other 3xx and
	// 4xx), or the request could not be made.
	ErrRefused = errors.New("Graph refused")
	// ErrRetryable: Graph or its token endpoint could not do it in the time
	// there was (408, 429, 5xx, network).
	ErrRetryable = errors.New("Graph could not do it now")
)

// CallError tells what went wrong with one action on one call. Its text holds
// neither a secret nor anything that Graph wrote, but for a short error code.
type CallError struct {
	Op         string        // answer, reject, keepAlive, get
	Call       string        // the call's id as the cloud spelled it
	Kind       error         // ErrGone, ErrRefused or ErrRetryable
	Status     int           // HTTP status of the last attempt; 0: no response
	Code       string        // Graph's error code where it was short and plain
	RetryAfter time.Duration // what Graph asked for; 0: nothing
	Attempts   int           // HTTP attempts made
	Maybe      bool          // an attempt got no clear response: the action may have been carried out
	Err        error         // cause without a response
}

// Error says what was done to which call and why it failed.
func (e *CallError) Error() string {
	s := fmt.Sprintf("%s of call %.140q: %v", e.Op, e.Call, e.Kind)
	if e.Call == "" {
		s = fmt.Sprintf("%s: %v", e.Op, e.Kind)
	}
	if e.Status != 0 {
		s += fmt.Sprintf(" (status %d", e.Status)
		if e.Code != "" {
			s += ", code " + e.Code
		}
		s += ")"
	}
	if e.Attempts > 1 {
		s += fmt.Sprintf(", %d attempts", e.Attempts)
	}
	if e.Maybe {
		s += ", an attempt may have been carried out"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the kind and the cause.
func (e *CallError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// kindOf sorts a response that is no success.
func kindOf(status int) error {
	switch {
	case status == http.StatusNotFound:
		return ErrGone
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return ErrRetryable
	default:
		return ErrRefused
	}
}

// plainCode lets an error code through to logs. Anything long or odd is dropped
// rather than cut: a hostile or broken endpoint may echo our token as its code.
func plainCode(s string, secret string) string {
	odd := func(c rune) bool { return c != '_' && !isAlphanumeric(c) }
	if len(s) > 40 || (secret != "" && s == secret) || strings.ContainsFunc(s, odd) {
		return ""
	}
	return s
}
