package webhook

import (
	"slices"
	"sync"
	"time"

	"tandem/ownership"
	"tandem/policy"
)

// What the door remembers of the calls that rang here first, so that other rules can be
// held against them.
const (
	trafficCalls = 4096
	trafficBytes = 4 << 20 // of their facts
	diffExamples = 20
)

// traffic is the facts of the last new calls: no token, no body.
type traffic struct {
	mu    sync.Mutex
	calls []recorded // oldest first
	known map[ownership.CallID]bool
	bytes int
}

type recorded struct {
	at    time.Time
	call  ownership.CallID
	facts policy.Facts
	bytes int
}

// note remembers a call, once.
func (t *traffic) note(at time.Time, call ownership.CallID, f policy.Facts) {
	size := factsSize(&f) + len(call)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known[call] || size > trafficBytes {
		return
	}
	for len(t.calls) > 0 && (len(t.calls) >= trafficCalls || t.bytes+size > trafficBytes) {
		delete(t.known, t.calls[0].call)
		t.bytes -= t.calls[0].bytes
		t.calls[0] = recorded{} // the slice's array lives on for a while
		t.calls = t.calls[1:]
	}
	if t.known == nil {
		t.known = map[ownership.CallID]bool{}
	}
	t.known[call] = true
	t.bytes += size
	t.calls = append(t.calls, recorded{at, call, f, size})
}

// all returns what is remembered, oldest first.
func (t *traffic) all() []recorded {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.calls)
}

func factsSize(f *policy.Facts) (n int) {
	for _, s := range []string{
		string(f.App), string(f.Tenant), f.Observed, f.OnBehalfOf, f.Organizer, f.PolicyIdentifier, f.Direction, f.Thread, f.ChainID,
		f.CallerRegion, f.CountryCode, f.SourceRegion, f.MediaHostedRegion, f.ClientLocation,
	} {
		n += len(s)
	}
	return n
}

// record remembers the new calls of a request that came from the cloud itself: those
// that another region sent were remembered there.
func (t *traffic) record(q *request, ds []decision) {
	for i := range ds {
		if p := ds[i].part; p.incoming && ds[i].step.Step != 0 && !q.hops.region {
			t.note(q.received, p.call, ds[i].facts)
		}
	}
}

// RulesDiff says where other rules would have sent the calls that rang at this node.
type RulesDiff struct {
	Recorded  int           `json:"recorded"`        // calls that are remembered
	Since     time.Time     `json:"since,omitzero"`  // the oldest of them
	Elsewhere int           `json:"elsewhere"`       // of them would have another home
	Repinned  int           `json:"repinned"`        // of them would have another pin
	Failing   int           `json:"failing"`         // calls for which a rule or pin of the candidate could not be evaluated
	Moves     []RegionMoves `json:"moves,omitempty"` // in no certain order
	Examples  []MovedCall   `json:"examples,omitempty"`
}

// RegionMoves counts the calls that would go to one region instead of another.
type RegionMoves struct {
	From  ownership.Region `json:"from"`
	To    ownership.Region `json:"to"`
	Calls int              `json:"calls"`
}

// MovedCall is one of them.
type MovedCall struct {
	At   time.Time        `json:"at"`
	Call ownership.CallID `json:"call"`
	From ownership.Region `json:"from"`
	To   ownership.Region `json:"to"`
	Was  string           `json:"was"` // why, by the rules in force
	Why  string           `json:"why"` // by the candidate
}

// Diff holds a candidate against the calls that rang here: their homes by the rules
// that are in force, and by it. The examples are the newest.
func (h *Handler) Diff(candidate *policy.Compiled) RulesDiff {
	now := h.policy.Load()
	var d RulesDiff
	moves := map[[2]ownership.Region]int{}
	for _, c := range slices.Backward(h.traffic.all()) {
		d.Recorded++
		d.Since = c.at
		was, is := now.rules.Home(c.facts, h.cfg.Region), candidate.Rules.Home(c.facts, h.cfg.Region)
		pin := candidate.Pins.For(c.facts)
		if len(is.Errors)+len(pin.Errors) > 0 {
			d.Failing++
		}
		if now.pins.For(c.facts).Pin != pin.Pin {
			d.Repinned++
		}
		if was.Region == is.Region {
			continue
		}
		d.Elsewhere++
		moves[[2]ownership.Region{was.Region, is.Region}]++
		if len(d.Examples) < diffExamples {
			d.Examples = append(d.Examples, MovedCall{c.at, c.call, was.Region, is.Region, was.Why, is.Why})
		}
	}
	for pair, n := range moves {
		d.Moves = append(d.Moves, RegionMoves{pair[0], pair[1], n})
	}
	return d
}
