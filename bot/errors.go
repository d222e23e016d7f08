package bot

import (
	"errors"
	"fmt"

	"tandem/ownership"
)

// Errors of the dispatcher; test with errors.Is. With each of them nothing was
// recorded as handled: the door answers 503 and the cloud sends it again.
// ownership.ErrFenced comes too, when the node has lost its lease, and
// ownership.ErrOtherApp for a call of another app, which nobody should repeat.
var (
	// ErrUnreachable: no connection, or it broke before the reply.
	ErrUnreachable = errors.New("the bot cannot be reached")
	// ErrTimeout: no reply within the app's timeout, or within WaitLimit.
	ErrTimeout = errors.New("the bot did not reply in time")
	// ErrReply: a reply that cannot be passed on: too large, a redirect, a
	// malformed instruction, or a panic of a bot in this process.
	ErrReply = errors.New("the bot's reply cannot be used")
	// ErrBusy: too many hand-overs wait, for the call or in all.
	ErrBusy = errors.New("too many hand-overs wait for the bot")
	// ErrClosed: the dispatcher is closing.
	ErrClosed = errors.New("the dispatcher is closing")
	// ErrUnserved: no bot of this node serves the app.
	ErrUnserved = errors.New("no bot of this node serves the app")
)

// Error says which hand-over failed and why. Its texts hold no body and no
// header.
type Error struct {
	Event ownership.Event
	App   ownership.AppID
	Call  ownership.CallID
	Kind  error // one of the above, or one of ownership's
	Err   error // cause, may be nil
}

// Error reads as a sentence.
func (e *Error) Error() string {
	s := fmt.Sprintf("handing %s of call %s to the bot of app %s: %v", e.Event, e.Call, e.App, e.Kind)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

func failed(h ownership.HandOver, kind, cause error) *Error {
	return &Error{Event: h.Event, App: h.App, Call: h.Call, Kind: kind, Err: cause}
}
