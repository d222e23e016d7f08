package shadow

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"time"

	"tandem/graph"
)

// key names a notification, the same on its repeats. The zero one stands for every first
// notification of a call: several data centres may post it, each with an id of its own, and
// it rings once.
type key [16]byte

var firstKey key

func keyOf(message string) key {
	sum := sha256.Sum256([]byte(message))
	return key(sum[:16])
}

// outcome is how one notification fared, over all of its deliveries.
type outcome struct {
	good     bool
	instance string    // which handled it first
	failed   time.Time // the first delivery that failed; zero: none did
}

// call is what is remembered of one call.
type call struct {
	name  string
	last  time.Time
	limit time.Duration // for its answer

	rang  time.Time // began the first notification; zero: its beginning was not seen
	taken time.Time // it was handled; zero: not yet
	home  string    // by this instance; empty: nothing told
	sign  time.Time // began the first notification that only an answered call gets
	ended time.Time

	tried     map[key]outcome
	at        map[string]int // deliveries of later notifications, by the instance that got them
	twice     int            // deliveries handled again
	elsewhere int            // of twice: by another instance than the first time
}

// delivery is what one request said about one call.
type delivery struct {
	began, over time.Time
	key         key
	first, ends bool
	recording   bool
	answered    bool // only an answered call gets it
	status      int  // 0: no response
	instance    string
}

func (d *delivery) good() bool { return d.status/100 == 2 }

// sent: a redirect that names the instance which gets it.
func (d *delivery) sent() bool { return d.status/100 == 3 && d.instance != "" }

// failed: the instance that should have it is not there, or knows nothing of the call. A
// refusal of what is wrong in itself (400, 401, …) is none.
func (d *delivery) failed() bool {
	return d.status == 0 || d.status >= 500 || !d.ends && (d.status == 404 || d.status == 410)
}

// mostTold bounds the notifications and the instances that are kept of one call.
const (
	mostTold      = 1024
	mostInstances = 64
)

// see takes one delivery in, and reports whether it was handled a second time.
func (c *call) see(d delivery) (again bool) {
	c.last = later(c.last, d.over)
	if d.first {
		d.key = firstKey
		if c.rang.IsZero() || d.began.Before(c.rang) {
			c.rang = d.began
		}
		c.limit = graph.AnswerIn
		if d.recording {
			c.limit = graph.RecordingAnswerIn
		}
	}
	if d.answered && (c.sign.IsZero() || d.began.Before(c.sign)) {
		c.sign = d.began
	}
	if d.ends && c.ended.IsZero() {
		c.ended = d.began
	}
	switch _, listed := c.at[d.instance]; {
	case d.first && c.taken.IsZero() && (d.good() || d.sent()):
		c.taken, c.home = d.over, d.instance
	case d.first || d.instance == "":
	case listed || len(c.at) < mostInstances:
		c.at[d.instance]++ // repeats too: of two at once, nobody knows which was the first
	}
	o, known := c.tried[d.key]
	if d.good() && o.good {
		c.twice++
		if o.instance != "" && d.instance != "" && o.instance != d.instance {
			c.elsewhere++
		}
		return true
	}
	switch {
	case d.good():
		o.good, o.instance = true, d.instance
	case d.failed() && o.failed.IsZero():
		o.failed = d.over
	}
	if known || len(c.tried) < mostTold {
		c.tried[d.key] = o
	}
	return false
}

// later is the later of two moments.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// How long is waited before a call is judged by what did not come.
const (
	// repeatWithin: the cloud repeats what failed; what it did not bring home within this is lost.
	repeatWithin = time.Minute
	// travel is how long a notification of an answered call may be under way.
	travel = 5 * time.Second
)

// verdict judges what is known of a call at a moment.
func (c *call) verdict(now time.Time) (v Counts) {
	v.Calls = 1
	if c.rang.IsZero() {
		v.BeginningUnseen = 1
		if len(c.at) > 1 {
			v.Split = 1
		}
	}
	if c.home != "" {
		for instance, n := range c.at {
			if instance != c.home {
				v.Misrouted += n
			}
		}
		v.MisroutedCalls = min(v.Misrouted, 1)
	}
	v.HandledTwice, v.HandledTwiceElsewhere = c.twice, c.elsewhere
	c.judgeAnswer(&v, now)
	c.judgeLoss(&v, now)
	return v
}

// judgeAnswer looks whether the answer was in time. The answer itself goes from the bot to
// the cloud, past the ingress: an answered call shows by its next notifications.
func (c *call) judgeAnswer(v *Counts, now time.Time) {
	if c.rang.IsZero() {
		return
	}
	switch {
	case !c.sign.IsZero() && c.sign.Sub(c.rang) <= c.limit:
		v.AnsweredInTime = 1
	case !c.sign.IsZero():
		v.AnsweredLate = 1
	case c.taken.IsZero(): // nobody had it who could have answered
	case c.ended.IsZero() && now.Sub(c.rang) > c.limit+travel, c.ended.Sub(c.rang) >= c.limit:
		v.Unanswered = 1
	}
}

// judgeLoss looks for what was never brought home. Only what failed for long enough counts:
// the cloud repeats, and a repeat may still arrive.
func (c *call) judgeLoss(v *Counts, now time.Time) {
	if o := c.tried[firstKey]; !c.rang.IsZero() && c.taken.IsZero() && !o.failed.IsZero() && now.Sub(o.failed) > repeatWithin {
		v.NeverTaken = 1
		return
	}
	held := !c.taken.IsZero()
	for _, o := range c.tried {
		held = held || o.good
	}
	for key, o := range c.tried {
		if held && key != firstKey && !o.good && !o.failed.IsZero() && now.Sub(o.failed) > repeatWithin {
			v.NotificationsLost++
		}
	}
	v.LostCalls = min(v.NotificationsLost, 1)
}

// example is the call with what was wrong with it; ok: nothing was.
func (c *call) example(now time.Time) (e Example, ok bool) {
	v := c.verdict(now)
	if v.Misrouted+v.Split+v.HandledTwice+v.AnsweredLate+v.Unanswered+v.LostCalls+v.NeverTaken == 0 {
		return e, true
	}
	e = Example{
		Call: c.name, Rang: c.rang.UTC(), Last: c.last.UTC(), TakenBy: c.home, LaterAt: maps.Clone(c.at), Misrouted: v.Misrouted,
		HandledTwice: v.HandledTwice, Split: v.Split > 0, NotificationsLost: v.NotificationsLost, NeverTaken: v.NeverTaken > 0, Unanswered: v.Unanswered > 0,
	}
	if v.AnsweredLate > 0 {
		e.AnsweredAfterSeconds = c.sign.Sub(c.rang).Seconds()
	}
	return e, false
}

// newestFirst orders examples.
func newestFirst(a, b Example) int {
	return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Call, b.Call))
}
