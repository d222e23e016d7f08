package graph

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tandem/spelling"
)

const (
	maxResponse  = 64 << 10         // bytes read of one response
	defaultTotal = 30 * time.Second // where the caller has no deadline
	firstPause   = 200 * time.Millisecond
	longestPause = 2 * time.Second
	shortestTry  = 100 * time.Millisecond // an attempt with less time than this is not worth its traffic
)

// action is one request as it goes out, at each attempt the same.
type action struct {
	op, method, call, path string
	whole                  string // the address, where it is none of a call
	limit                  int64  // bytes that are read of a response; 0: maxResponse
	body                   []byte
	requestID              string
	wantBody               bool
}

// do makes attempts until one succeeds, Graph refuses, the permit is withdrawn
// or the time is over.
func (c *Calls) do(ctx context.Context, a action, may Permit) ([]byte, error) {
	if _, err := spelling.CallID(a.call); err != nil && a.whole == "" {
		return nil, &CallError{Op: a.op, Call: a.call, Kind: ErrRefused,
			Err: errors.New("the call id holds bytes outside [A-Za-z0-9-] or is too long")}
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultTotal)
		defer cancel()
	}
	start := time.Now()
	var maybe, renewed bool
	for n := 1; ; n++ {
		body, token, err := c.once(ctx, a, may)
		var ce *CallError
		if !errors.As(err, &ce) { // success, or the permit's own error
			c.count.done(a.op, resultOf(err), time.Since(start))
			return body, err
		}
		// Only 401 and 429 say clearly that nothing was done; after anything else
		// that is worth a retry the action may stand at Graph.
		maybe = maybe || (errors.Is(ce.Kind, ErrRetryable) && ce.Status != http.StatusTooManyRequests && token != "")
		ce.Maybe, ce.Attempts = maybe, n
		if ce.Status == http.StatusUnauthorized && !renewed {
			renewed = true // once: a token that was withdrawn before its time
			c.tokens.drop(token)
			continue
		}
		left, ok := pause(ctx, n, ce.RetryAfter)
		if !errors.Is(ce.Kind, ErrRetryable) || !ok {
			c.count.done(a.op, resultOf(ce), time.Since(start))
			return nil, ce
		}
		c.log.Debug("Graph action failed, trying again", "op", a.op, "call", a.call,
			"attempt", n, "status", ce.Status, "pause", left)
		if !Sleep(ctx, left) {
			c.count.done(a.op, resultOf(ce), time.Since(start))
			return nil, ce
		}
	}
}

// once makes one attempt. The token that it used comes back too; empty: the
// request never left.
func (c *Calls) once(ctx context.Context, a action, may Permit) ([]byte, string, error) {
	token, err := c.tokens.get(ctx)
	if err != nil {
		kind := ErrRetryable
		if errors.Is(err, errTokenRefused) {
			kind = ErrRefused
		}
		return nil, "", &CallError{Op: a.op, Call: a.call, Kind: kind, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTime(ctx, c.attempt))
	defer cancel()
	at := cmp.Or(a.whole, c.base+"/communications/calls/"+url.PathEscape(a.call)+a.path)
	req, err := http.NewRequestWithContext(ctx, a.method, at, bytes.NewReader(a.body))
	if err != nil {
		return nil, "", &CallError{Op: a.op, Call: a.call, Kind: ErrRefused, Err: errors.New("the request could not be made")}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("client-request-id", a.requestID)
	if a.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if may.Epoch != 0 {
		req.Header.Set("Tandem-Epoch", strconv.FormatUint(may.Epoch, 10))
	}
	// The permit comes last: a token fetch may have taken longer than a lease.
	last := &fence{check: may.Check, body: a.body}
	if may.Check != nil {
		if err := may.Check(); err != nil {
			return nil, "", err
		}
		if len(a.body) > 0 {
			req.Body, _ = last.open() // it cannot fail
			req.GetBody = last.open
		}
	}
	sent := time.Now()
	res, err := c.client.Do(req)
	may.heard(res, sent)
	if err != nil {
		if refused := last.verdict(); refused != nil {
			return nil, "", refused
		}
		return nil, token, &CallError{Op: a.op, Call: a.call, Kind: ErrRetryable, Err: bareNetError(err)}
	}
	defer res.Body.Close()
	limit := cmp.Or(a.limit, maxResponse)
	body, readErr := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if res.StatusCode/100 == 2 {
		// The status is the answer of every action but get: a body that breaks
		// off does not undo a 202.
		if a.wantBody && (readErr != nil || int64(len(body)) > limit) {
			return nil, token, &CallError{Op: a.op, Call: a.call, Kind: ErrRetryable, Status: res.StatusCode,
				Err: errors.New("the body broke off or is too large")}
		}
		return body, token, nil
	}
	var said struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &said) // without a readable code the status alone counts
	return nil, token, &CallError{Op: a.op, Call: a.call, Kind: kindOf(res.StatusCode), Status: res.StatusCode,
		Code: plainCode(said.Error.Code, token), RetryAfter: retryAfter(res.Header.Get("Retry-After"), time.Now())}
}

func (p Permit) heard(res *http.Response, sent time.Time) {
	if p.Heard == nil {
		return
	}
	status := 0
	if res != nil {
		status = res.StatusCode
	}
	p.Heard(status, time.Since(sent))
}

// attemptTime leaves room for a second attempt: at most half of what is left,
// but no less than a second.
func attemptTime(ctx context.Context, most time.Duration) time.Duration {
	deadline, _ := ctx.Deadline() // do sets one
	return min(most, max(time.Until(deadline)/2, time.Second))
}

// pause says how long to wait before the next attempt, and whether there is
// time for one. A Retry-After that would miss the caller's deadline is cut to
// half of what is left: a ringing call has nothing to lose by asking once
// more, and each such cut halves the time, so there are few of them.
func pause(ctx context.Context, n int, asked time.Duration) (time.Duration, bool) {
	deadline, _ := ctx.Deadline() // do sets one
	left := time.Until(deadline)
	if left < 2*shortestTry || ctx.Err() != nil {
		return 0, false
	}
	d := min(firstPause<<min(n-1, 10), longestPause)
	d = d/2 + mathrand.N(d/2+1) // between half and all of it, so that many callers spread
	if asked > d {
		d = asked + mathrand.N(firstPause)
	}
	if d > left-shortestTry {
		d = left / 2
	}
	return d, true
}

// retryAfter reads the header as RFC 9110 10.2.3 has it: seconds or a date.
// Nonsense is 0; what does not fit a Duration is the longest one.
func retryAfter(s string, now time.Time) time.Duration {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0
	}
	if strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n > int64(math.MaxInt64/time.Second)/2 {
			return math.MaxInt64 / 2
		}
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), math.MaxInt64/2)
}

// Sleep waits; false: the context ended before.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// bareNetError drops net/http's "Post <URL>" around the cause.
func bareNetError(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func resultOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrGone):
		return "gone"
	case errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, ErrRetryable):
		return "unavailable"
	default:
		return "not_permitted"
	}
}

// stableID makes the same UUID (RFC 9562, version 8) of the same parts, so that
// the retry of an action by a restarted process is recognisable at Graph.
func stableID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return uuid([16]byte(sum[:16]), 8)
}

func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return uuid(b, 4)
}

func uuid(b [16]byte, version byte) string {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
