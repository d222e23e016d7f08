package graphsim

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// maxRetryAfter is the longest Retry-After that is honoured.
const maxRetryAfter = 3 * time.Second

// deliver posts a parcel until it gets a 2xx, a final status, or has no attempt
// left: 5xx, 429, time-outs and dropped connections are tried again with the
// same Message-ID (Skype Calling API), a 4xx is final. It reports the last
// reply; its err is set unless that is a 2xx.
func (c *Cloud) deliver(ctx context.Context, p parcel) reply {
	t := c.cfg.Timings
	pause := t.Backoff
	for n := 1; ; n++ {
		r := c.attempt(ctx, p)
		switch {
		case r.err == nil:
			c.ledger.accepted(p.notices, r.body, r.start)
			return r
		case ctx.Err() != nil:
			c.ledger.failed(p.notices, r.err.Error(), true)
			return r
		case r.status >= 400 && r.status < 500 && r.status != http.StatusTooManyRequests:
			c.ledger.failed(p.notices, r.err.Error(), false)
			return r
		case n == t.Attempts:
			r.err = fmt.Errorf("%d attempts, at last: %w", n, r.err)
			c.ledger.failed(p.notices, r.err.Error(), false)
			return r
		}
		rest := pause + p.call.dice.between(0, pause/2)
		if s, err := strconv.Atoi(r.after); err == nil && s > 0 {
			rest = max(rest, min(time.Duration(s)*time.Second, maxRetryAfter))
		}
		if wait(ctx, rest) != nil {
			c.ledger.failed(p.notices, r.err.Error(), true)
			return r
		}
		c.ledger.count(func(l *ledger) { l.retries++ })
		c.cfg.Logger.Debug("posting again", "call", p.call.id, "message", p.message, "attempt", n+1, "after", r.err)
		pause *= 2
	}
}

// attempt is one POST with a patience; sometimes the connection is dropped
// before the response is read, as happens between data centres.
func (c *Cloud) attempt(ctx context.Context, p parcel) reply {
	patience := c.cfg.Timings.Attempt
	if p.call.dice.chance(c.cfg.Rates.Reset) {
		patience = p.call.dice.between(0, 3*time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := c.post(ctx, p)
	if r.err == nil && r.status/100 != 2 {
		r.err = fmt.Errorf("the response was %d", r.status)
	}
	return r
}

// again posts a parcel once more with the same Message-ID. What comes of it is
// judged by what the bots see.
func (c *Cloud) again(ctx context.Context, p parcel, pause time.Duration) {
	if wait(ctx, pause) != nil {
		return
	}
	c.ledger.count(func(l *ledger) { l.duplicates++ })
	if r := c.attempt(ctx, p); r.err == nil {
		c.ledger.accepted(p.notices, r.body, r.start)
	}
}

// wait waits for d, or for the end of ctx, which is an error.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
