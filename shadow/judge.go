package shadow

import (
	"container/list"
	"maps"
	"slices"
	"strconv"
	"time"

	"tandem/graph"
)

// Exchange is one request that may carry notifications, and how the upstream answered it.
type Exchange struct {
	Began, Over time.Time
	Status      int    // of the upstream; 0: it gave no response
	Instance    string // which handled it, by what the upstream tells; empty: nothing
	Reading     Reading
	Refused     string            // by this check the token would be refused; with TokenRefused
	Message     graph.Message     // what the body says; with Notified
	Key         string            // of the delivery, the same on its repeats; with Notified
	Homes       map[string]string // of its new calls the regions that the rules give; empty: there are none
}

// Reading is how far an exchange could be read.
type Reading int

// The readings, in the order in which an exchange meets them.
const (
	TokenUndecided Reading = iota // the issuer's keys are not there: nothing was read
	TokenRefused                  // Tandem would refuse it: nothing was read
	Cut                           // the upstream answered before it had the whole body
	TooLarge                      // Tandem would refuse it: longer than its limit
	Malformed                     // Tandem would refuse it: no notification
	Handshake                     // the legacy form, for which the cloud expects 204
	Nameless                      // it names no call: only the address that it was sent to tells whose it is
	Notified
)

// Bounds of what the judge keeps. What ended or is silent for so long is judged and
// forgotten, and what was seen least lately when there is too much.
const (
	mostCalls     = 50_000
	mostKept      = 500_000 // notifications of all calls
	keepEnded     = 15 * time.Minute
	keepSilent    = 12 * time.Hour
	mostExamples  = 50
	mostNamed     = 256 // instances in the report
	otherInstance = "(others)"
)

// Judge holds what is known of the calls against what Tandem would have done. It is not safe
// for concurrent use, and reads no clock.
type Judge struct {
	name  func(string) string // hides a call's id
	calls map[string]*list.Element
	order *list.List // of *call; the one seen least lately is in front
	kept  int        // notifications of all calls
	now   time.Time  // the latest moment that was told

	sums     Report // what does not belong to a live call
	closed   Counts // of forgotten calls
	at       map[string]Instance
	examples []Example // of forgotten calls, newest last
	mostLive int
}

// NewJudge makes a judge. name gives a call the name that a report may hold; equal ids must
// get equal names.
func NewJudge(name func(string) string) *Judge {
	return &Judge{name: name, calls: map[string]*list.Element{}, order: list.New(), at: map[string]Instance{}, mostLive: mostCalls}
}

// See takes one exchange in.
func (j *Judge) See(x Exchange) {
	j.now = later(j.now, x.Over)
	s := &j.sums
	s.Exchanges++
	good := x.Status/100 == 2
	switch x.Reading {
	case TokenUndecided:
		s.Unjudged.TokenUndecided++
	case TokenRefused:
		count(&s.Tandem.Refused, x.Refused)
		if good {
			s.RefusedButHandled++
		}
	case Cut:
		s.Unjudged.Cut++
	case TooLarge:
		count(&s.Tandem.Refused, "body_too_large")
	case Malformed:
		count(&s.Tandem.Refused, "malformed")
	case Handshake:
		s.Tandem.Handshakes++
		if x.Status != 204 {
			count(&s.HandshakesWrong, statusName(x.Status))
		}
	case Nameless:
		s.Unjudged.Nameless++
	case Notified:
		j.hear(x)
	}
	j.forget()
}

// hear takes a body of notifications in, call by call: one request is one delivery to each
// of its calls.
func (j *Judge) hear(x Exchange) {
	s := &j.sums
	if x.Instance == "" && x.Status/100 != 3 {
		s.Unjudged.NoInstance++
	}
	var ids []string // in their order
	k, parts := keyOf(x.Key), map[string]*delivery{}
	for i := range x.Message.Notifications {
		n := &x.Message.Notifications[i]
		d, ok := parts[n.CallID]
		if !ok {
			d = &delivery{began: x.Began, over: x.Over, key: k, status: x.Status, instance: x.Instance}
			parts[n.CallID] = d
			ids = append(ids, n.CallID)
		}
		d.ends = d.ends || n.Kind == graph.EndOfCall
		d.first = (d.first || n.Kind == graph.NewCall) && !d.ends
		d.recording = d.recording || n.Call.Recording()
		d.answered = d.answered || answers(n)
	}
	for _, id := range ids {
		d := parts[id]
		d.answered = d.answered && !d.first && !d.ends
		c := j.find(id)
		before, unheard := len(c.tried), c.rang.IsZero()
		again := c.see(*d)
		j.kept += len(c.tried) - before
		if home := x.Homes[id]; home != "" && d.first && unheard {
			count(&s.Tandem.Homes, home)
		}
		switch {
		case again:
			s.Tandem.Repeats++
		case d.first:
			s.Tandem.Placed++
		default:
			s.Tandem.ToOwner++
		}
	}
}

// answers knows a notification that only a call which was answered gets.
func answers(n *graph.Notification) bool {
	switch {
	case n.Kind != graph.Update:
		return false
	case n.SubResource != "":
		return true
	}
	return n.State != "" && n.State != graph.StateIncoming && n.State != graph.StateRinging && n.State != graph.StateTerminating
}

// find returns what is known of a call, and makes it the one that was seen last.
func (j *Judge) find(id string) *call {
	name := j.name(id)
	if e, ok := j.calls[name]; ok {
		j.order.MoveToBack(e)
		return e.Value.(*call)
	}
	c := &call{name: name, tried: map[key]outcome{}, at: map[string]int{}}
	j.calls[name] = j.order.PushBack(c)
	return c
}

// forget drops what is over, and what is too much. A call that is dropped while it may
// still go on is judged by what was seen, and counted.
func (j *Judge) forget() {
	for e := j.order.Front(); e != nil; e = j.order.Front() {
		c := e.Value.(*call)
		silent := j.now.Sub(c.last)
		full := j.order.Len() > j.mostLive || j.kept > mostKept
		switch {
		case !c.ended.IsZero() && silent > keepEnded, silent > keepSilent:
		case full:
			if c.ended.IsZero() {
				j.sums.Unjudged.ForgottenEarly++
			}
		default:
			return
		}
		j.order.Remove(e)
		delete(j.calls, c.name)
		j.kept -= len(c.tried)
		j.closed.add(c.verdict(j.now))
		tally(j.at, c)
		if x, ok := c.example(j.now); !ok {
			j.examples = append(j.examples, x)
			j.examples = j.examples[max(0, len(j.examples)-mostExamples):]
		}
	}
}

// tally adds a call to the figures of the instances.
func tally(all map[string]Instance, c *call) {
	add := func(name string, n Instance) {
		if name == "" {
			return
		}
		if _, ok := all[name]; !ok && len(all) >= mostNamed {
			name = otherInstance
		}
		sum := all[name]
		sum.Calls += n.Calls
		sum.Later += n.Later
		sum.Strange += n.Strange
		all[name] = sum
	}
	add(c.home, Instance{Calls: 1})
	for name, n := range c.at {
		strange := 0
		if c.home != "" && name != c.home {
			strange = n
		}
		add(name, Instance{Later: n, Strange: strange})
	}
}

// Report judges all that was seen, as of a moment.
func (j *Judge) Report(now time.Time) Report {
	now = later(j.now, now)
	r := j.sums
	r.Tandem.Refused, r.Tandem.Homes, r.HandshakesWrong = maps.Clone(r.Tandem.Refused), maps.Clone(r.Tandem.Homes), maps.Clone(r.HandshakesWrong)
	r.At, r.Counts, r.Instances = now.UTC(), j.closed, maps.Clone(j.at)
	r.Examples = slices.Clone(j.examples)
	for e := j.order.Front(); e != nil; e = e.Next() {
		c := e.Value.(*call)
		r.Counts.add(c.verdict(now))
		tally(r.Instances, c)
		if x, ok := c.example(now); !ok {
			r.Examples = append(r.Examples, x)
		}
	}
	slices.SortFunc(r.Examples, newestFirst)
	r.Examples = r.Examples[:min(len(r.Examples), mostExamples)]
	return r
}

func count(m *map[string]int, what string) {
	if *m == nil {
		*m = map[string]int{}
	}
	(*m)[what]++
}

// statusName names a status; 0 stands for no response.
func statusName(status int) string {
	if status == 0 {
		return "none"
	}
	return strconv.Itoa(status)
}
