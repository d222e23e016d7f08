package graph

import (
	"errors"
	"fmt"
	"time"
)

// keepRetry is how long after a failure the next token is asked for where no call
// asks.
const keepRetry = 15 * time.Second

// TokenState is how the access token of an app stands.
type TokenState struct {
	Expires time.Time // zero: there is none
	Err     error     // why there is none, or none soon; nil: all is well
}

// Keep fetches the app's access token now and before its end, until Close: so
// credentials that are refused are known before a call needs them.
func (c *Calls) Keep() { c.tokens.keep() }

// Token says how the app's access token stands. A fetch that failed for now is no
// trouble as long as there is a valid token.
func (c *Calls) Token() TokenState { return c.tokens.state() }

func (t *tokens) keep() {
	t.wg.Go(func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
			case <-t.base.Done():
				return
			}
			_, err := t.get(t.base)
			timer.Reset(t.nextLook(err))
		}
	})
}

// nextLook is how long the present token needs no look.
func (t *tokens) nextLook(err error) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if left := t.renewAt.Sub(t.conf.Now()); err == nil && left > 0 {
		return left
	}
	return keepRetry
}

func (t *tokens) state() TokenState {
	t.mu.Lock()
	defer t.mu.Unlock()
	valid := t.token != "" && t.conf.Now().Before(t.expires)
	s := TokenState{}
	if valid {
		s.Expires = t.expires
	}
	switch {
	case t.failure == nil || valid && !errors.Is(t.failure, errTokenRefused):
	case valid:
		s.Err = fmt.Errorf("%w; the present one ends %s", t.failure, t.expires.UTC().Format(time.RFC3339))
	default:
		s.Err = t.failure
	}
	return s
}
