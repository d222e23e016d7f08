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
	heard map[*follower]bool // who is told of new ones as they come
}

type recorded struct {
	at    time.Time
	call  ownership.CallID
	facts policy.Facts
	to    ownership.Region // where it went; empty: nobody might take it
	bytes int
}

// note remembers a call, once.
func (t *traffic) note(at time.Time, call ownership.CallID, f policy.Facts, to ownership.Region) {
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
	t.calls = append(t.calls, recorded{at, call, f, to, size})
	for l := range t.heard {
		l.tell(t.calls[len(t.calls)-1])
	}
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
			t.note(q.received, p.call, ds[i].facts, taker(ds[i].step))
		}
	}
}

// RulesDiff says where other rules would have sent the calls that rang at this node.
type RulesDiff struct {
	Recorded  int           `json:"recorded"`         // calls that are remembered
	Since     time.Time     `json:"since,omitzero"`   // the oldest of them
	Elsewhere int           `json:"elsewhere"`        // of them would have another home
	Repinned  int           `json:"repinned"`         // of them would have another pin
	Failing   int           `json:"failing"`          // calls for which a rule or pin of the candidate could not be evaluated
	Routes    []RegionRoute `json:"routes,omitempty"` // of all of them, in no certain order; those beyond mostRoutes without their reasons
	Examples  []MovedCall   `json:"examples,omitempty"`
}

// RegionRoute counts the calls that go to one region and would go to another, or to the
// same, for one reason. No region: nobody may take them.
type RegionRoute struct {
	From  ownership.Region `json:"from,omitempty"`
	To    ownership.Region `json:"to,omitempty"`
	Why   string           `json:"why"` // of To
	Calls int              `json:"calls"`
}

// mostRoutes bounds the reasons that are told apart.
const mostRoutes = 500

// MovedCall is one of them.
type MovedCall struct {
	At   time.Time        `json:"at"`
	Call ownership.CallID `json:"call"`
	From ownership.Region `json:"from"`
	To   ownership.Region `json:"to"`
	Was  string           `json:"was"` // why, by the rules in force
	Why  string           `json:"why"` // by the candidate
}

// Diff holds a candidate against the calls that rang here: where they would be handled
// as the regions are at this moment, by the rules that are in force, and by it. The
// examples are the newest.
func (h *Handler) Diff(candidate *policy.Compiled) RulesDiff {
	return h.compare(h.traffic.all(), nil, candidate.Rules, candidate.Pins, "")
}

// Lose holds the loss of another region against them: by the same rules, and it is down.
func (h *Handler) Lose(region ownership.Region) RulesDiff {
	now := h.policy.Load()
	return h.compare(h.traffic.all(), nil, now.rules, now.pins, region)
}

// compare holds rules and pins against calls. What they are compared with is where each
// call went (went), or else where it would go by the rules in force.
func (h *Handler) compare(calls []recorded, went func(recorded) policy.RegionStep, rules *policy.Rules, pins *policy.Pins, lost ownership.Region) RulesDiff {
	now := h.policy.Load()
	var d RulesDiff
	routes := map[RegionRoute]int{}
	if went == nil {
		went = func(c recorded) policy.RegionStep { was, _ := h.destination(now.rules, c.facts, ""); return was }
	}
	for _, c := range slices.Backward(calls) {
		d.Recorded++
		d.Since = c.at
		was := went(c)
		is, failing := h.destination(rules, c.facts, lost)
		pin := pins.For(c.facts)
		if failing || len(pin.Errors) > 0 {
			d.Failing++
		}
		if now.pins.For(c.facts).Pin != pin.Pin {
			d.Repinned++
		}
		r := RegionRoute{From: taker(was), To: taker(is), Why: is.Why}
		if _, known := routes[r]; !known && len(routes) >= mostRoutes {
			r.Why = "" // at most one more for each pair of regions
		}
		routes[r]++
		if r.From == r.To {
			continue
		}
		d.Elsewhere++
		if len(d.Examples) < diffExamples {
			d.Examples = append(d.Examples, MovedCall{c.at, c.call, r.From, r.To, was.Why, is.Why})
		}
	}
	for r, n := range routes {
		r.Calls = n
		d.Routes = append(d.Routes, r)
	}
	return d
}

// destination is where rules send a call that comes at this moment with time enough, were
// a region lost, and whether a rule could not be evaluated.
func (h *Handler) destination(rules *policy.Rules, f policy.Facts, lost ownership.Region) (policy.RegionStep, bool) {
	v := rules.Home(f, h.cfg.Region)
	q := h.query(f.App, false, policy.RoomUnknown)
	look := q.Look
	q.Look = func(r ownership.Region) policy.RegionLook {
		if r == lost {
			return policy.RegionLook{}
		}
		return look(r)
	}
	return policy.RouteRegion(v, q), len(v.Errors) > 0
}

// taker is the region that handles a call; empty: none does.
func taker(s policy.RegionStep) ownership.Region {
	if s.Step == policy.StepRefuse {
		return ""
	}
	return s.Region
}
