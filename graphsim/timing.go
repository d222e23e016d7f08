package graphsim

import (
	"context"
	"time"
)

// Timing is how long one thing took, counted from when it was due: where a load falls
// behind its rate, the delay counts, so that what stands still is seen.
type Timing struct {
	What   TimedWhat
	Due    time.Time
	Took   time.Duration // of a failure: until it was given up
	Failed bool          // it was not answered in time, or never taken
}

// TimedWhat is what Config.Timed hears of.
type TimedWhat string

// What is timed.
const (
	TimedAnswer   TimedWhat = "answer"    // a new call, from when it should ring to its answer
	TimedFollowUp TimedWhat = "follow-up" // a later notification, from when it was to be posted to its 2xx
)

// timed tells what something took, unless the run was cut off.
func (c *Config) timed(ctx context.Context, what TimedWhat, due time.Time, ok bool) {
	if c.Timed != nil && ctx.Err() == nil {
		c.Timed(Timing{What: what, Due: due, Took: time.Since(due), Failed: !ok})
	}
}
