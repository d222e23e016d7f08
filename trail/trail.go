package trail

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
)

// What the rings hold: 32 MiB of some 75,000 notifications of running calls, and 1 MiB of
// strangers.
var (
	ofCalls     = limits{segments: 64, bytes: 512 << 10, steps: 4096}
	ofStrangers = limits{segments: 8, bytes: 128 << 10, steps: 1024}
)

// Most is how many steps one question is answered with.
const Most = 2000

// Trail is one node's memory of steps. It is safe for concurrent use.
type Trail struct {
	region    ownership.Region
	node      ownership.NodeID
	now       func() time.Time
	log       slog.Handler
	calls     ring
	strangers ring

	mu        sync.Mutex
	following atomic.Pointer[[]*following] // nil: nothing is followed
}

// New makes a node's memory. The lines of what is followed go to log, whatever its level.
func New(region ownership.Region, node ownership.NodeID, now func() time.Time, log *slog.Logger) *Trail {
	return &Trail{
		region: region, node: node, now: now, log: log.Handler(),
		calls: ring{limits: ofCalls}, strangers: ring{limits: ofStrangers},
	}
}

// Step remembers a step of this node, and writes it to the log where it is followed.
func (t *Trail) Step(s history.Step) {
	if s.At.IsZero() {
		s.At = t.now()
	}
	if s.Kind == history.Refused && s.Call == "" {
		t.strangers.add(&s)
	} else {
		t.calls.add(&s)
	}
	if all := t.following.Load(); all != nil {
		t.tell(*all, &s)
	}
}

// Of returns what this node remembers of whatever an id names: a call, a call chain, a
// notification, a scenario or a client's request. With the steps that carry the id come all
// others of their calls. Ids count in the case in which they came, and in lower case.
func (t *Trail) Of(ids ...string) history.Trail {
	ids = spellings(ids)
	calls, since := t.calls.seen()
	strangers, _ := t.strangers.seen()
	steps := find(calls, ids, Most)
	named := callsOf(steps)
	if more := beyond(named, ids); len(more) > 0 {
		steps = find(calls, append(ids, more...), Most)
		named = callsOf(steps)
	}
	steps = append(steps, find(strangers, ids, Most)...)
	out := history.Trail{Steps: steps, Calls: named, Since: since}
	Sort(out.Steps)
	if n := len(steps) - Most; n > 0 {
		out.Steps, out.More = steps[n:], true
	}
	for i := range out.Steps {
		out.Steps[i].Region, out.Steps[i].Node = t.region, t.node
	}
	return out
}

// spellings returns the ids as they are and in lower case, without doubles.
func spellings(ids []string) (all []string) {
	for _, id := range ids {
		for _, s := range []string{id, strings.ToLower(id)} {
			if s != "" && !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// beyond returns the calls that are not among the ids.
func beyond(calls []ownership.CallID, ids []string) (more []string) {
	for _, c := range calls {
		if !slices.Contains(ids, string(c)) {
			more = append(more, string(c))
		}
	}
	return more
}

// Sort puts steps in the order of their times.
func Sort(steps []history.Step) {
	slices.SortStableFunc(steps, func(a, b history.Step) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
}
