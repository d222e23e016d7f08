package lease

import (
	"fmt"
	"sync"
	"time"

	"tandem/ownership"
)

// Table is the leader's memory of who renewed, for the length of one term. It
// takes the time as an argument and starts no goroutine.
//
// since is when this leader's term was safe to act in, and longest how long an
// earlier leader's leases may have been: nobody's lease counts as over before that
// and the drift margin have passed since then, for an earlier leader may have
// granted one just before.
type Table struct {
	drift time.Duration
	start time.Time // of the term

	Next succession // processes that wait to take a node over

	mu      sync.Mutex
	since   time.Time
	longest time.Duration
	nodes   map[ownership.NodeID]*entry
}

type entry struct {
	heard   time.Time     // when the last renewal came in, whether answered or not
	length  time.Duration // of the lease that it asked for then
	ends    time.Time     // when the last lease it may have been given ends here, but for the drift
	refused time.Time     // when its port last refused a connection
	holds   int           // acts under way that take something from it: it gets no lease
	doubt   uint64        // the turn at which the last of them ended with an outcome that nobody knows; 0: none
	turn    uint64        // counts what began and ended
	renewal Renewal
	behind  bool // its table lagged when it renewed
	recent  ramp
}

// MaxBehind is how many raft entries a node may lag and still count as well.
const MaxBehind = 1000

// Renewal is what a node says of itself when it renews.
type Renewal struct {
	Node        ownership.NodeID
	Incarnation string
	Process     string
	Sum         uint64            // of the table at the index applied
	Settings    map[string]string // what must be equal on all nodes
	Live        int
	Bot         bool
	Load        float64
	Room        int
	Apps        map[ownership.AppID]ownership.AppFitness // nil: of older software, which says no more than bot, load and room
	Versions    []ownership.VersionTally                 // of the bots' calls; nil: of older software
	Applied     uint64
	LastIndex   uint64
	Term        uint64
	Behind      bool // its table has not caught up: it does not act, lease or not
	// Away is for how long from now the node may be silent and still come back, as its
	// machine has announced; 0: nothing was announced.
	Away time.Duration
}

// MaxAway bounds an announced absence: nobody's calls wait longer for a node's own word.
const MaxAway = time.Hour

// AwayTo is until when a node may be silent as it was announced; zero: nothing was.
func (t *Table) AwayTo(id ownership.NodeID) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.nodes[id]
	if e == nil || e.renewal.Away <= 0 || e.heard.IsZero() {
		return time.Time{}
	}
	return e.heard.Add(min(e.renewal.Away, MaxAway))
}

// NewTable returns the table of a leader who is safe to act since then, when the
// leases of earlier leaders lasted at most longest.
func NewTable(longest, drift time.Duration, since time.Time) *Table {
	return &Table{drift: drift, start: since, since: since, longest: longest, nodes: make(map[ownership.NodeID]*entry)}
}

func (t *Table) entry(id ownership.NodeID) *entry {
	e := t.nodes[id]
	if e == nil {
		e = &entry{}
		t.nodes[id] = e
	}
	return e
}

// Receive notes a renewal for a lease of that length, when the leader's table is at
// the index applied. Its error says that no lease may be granted now. It must be
// called before the leader makes sure of its leadership for the answer.
func (t *Table) Receive(r Renewal, length time.Duration, applied uint64, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entry(r.Node)
	if e.revoked() {
		return fmt.Errorf("renewing the lease of %s: what it left is being given to others: %w", r.Node, ownership.ErrFenced)
	}
	e.heard, e.length, e.renewal = now, length, r
	e.behind = r.Behind || r.Applied+MaxBehind < applied
	e.extend(now.Add(length))
	return nil
}

// extend moves the end of the lease forward, never back: a lease that was longer
// runs on after the region has changed to shorter ones.
func (e *entry) extend(to time.Time) {
	if to.After(e.ends) {
		e.ends = to
	}
}

// Lasted tells how long the leases of earlier leaders may be.
func (t *Table) Lasted(longest time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.longest = longest
}

// Acts reports whether the node renewed within a lease and its table has caught up.
func (t *Table) Acts(id ownership.NodeID, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.nodes[id]
	return e != nil && !e.behind && e.heardWithin(e.length, now)
}

// Admit notes that a node joins: partitions are about to be born on it, and it
// cannot have renewed yet, so it gets a whole lease to do it. What was heard of
// another incarnation says nothing of this one.
func (t *Table) Admit(id ownership.NodeID, incarnation string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entry(id)
	e.extend(now.Add(t.longest))
	if e.renewal.Incarnation != incarnation {
		e.heard, e.renewal = time.Time{}, Renewal{}
	}
}

// Begin gives every node a whole lease from now on to renew for the first time, as
// under a new leader.
func (t *Table) Begin(longest time.Duration, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since, t.longest = now, longest
}

// Began returns when every node had last got a whole lease to renew.
func (t *Table) Began() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.since
}

// Leased reports whether the node renewed within a lease.
func (t *Table) Leased(id ownership.NodeID, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.nodes[id]
	return e != nil && e.heardWithin(e.length, now)
}

func (e *entry) heardWithin(d time.Duration, now time.Time) bool {
	return !e.revoked() && !e.heard.IsZero() && now.Sub(e.heard) < d
}

// Over returns the time at which the node's lease is certainly over. While the node
// stays silent it does not change: its silence counts from then.
func (t *Table) Over(id ownership.NodeID) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.overLocked(id)
}

func (t *Table) overLocked(id ownership.NodeID) time.Time {
	last := t.since.Add(t.longest)
	if e := t.nodes[id]; e != nil && e.ends.After(last) {
		last = e.ends
	}
	return last.Add(t.drift)
}

// Last returns the node's last renewal and when it came in; zero: never.
func (t *Table) Last(id ownership.NodeID) (Renewal, time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.nodes[id]; e != nil {
		return e.renewal, e.heard
	}
	return Renewal{}, time.Time{}
}

// Refuses notes that the node's port refused a connection: its process has most
// likely ended. That is no proof. Something between may have refused, and a process
// that closed its port may act for as long as its lease lasts, so new calls avoid
// the node at once, and nothing of its own goes to others before its lease is over.
func (t *Table) Refuses(id ownership.NodeID, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entry(id).refused = now
}

// Refusing reports whether the node's port refused a connection since it renewed last.
func (t *Table) Refusing(id ownership.NodeID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.nodes[id]
	return e != nil && e.refuses()
}

func (e *entry) refuses() bool { return !e.refused.IsZero() && !e.refused.Before(e.heard) }

// CaughtUp reports whether the node has said in this term that its table holds the
// index.
func (t *Table) CaughtUp(id ownership.NodeID, index uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.nodes[id]
	return e != nil && !e.heard.IsZero() && e.renewal.Applied >= index
}

// Placed counts calls just placed on a node.
func (t *Table) Placed(id ownership.NodeID, n int, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entry(id).recent.add(n, now.Sub(t.start))
}

// Fitness returns what is known of each node at a moment. A node that has been silent for three quarters of a lease
// (three renewals of the shipped four) may act for a while yet, but is probably
// dead: it counts as without a lease, so that new calls avoid it, unless all nodes
// are that silent. So does one whose table lags: it would not know what it gets.
func (t *Table) Fitness(now time.Time) map[ownership.NodeID]ownership.Fitness {
	t.mu.Lock()
	defer t.mu.Unlock()
	num := t.quarters(now)
	fit := make(map[ownership.NodeID]ownership.Fitness, len(t.nodes))
	for id, e := range t.nodes {
		fit[id] = ownership.Fitness{
			Leased: e.getsCalls(num, now),
			Bot:    e.renewal.Bot, Load: e.renewal.Load,
			Room: e.renewal.Room, Recent: e.recent.sum(now.Sub(t.start)), Apps: e.renewal.Apps,
		}
	}
	return fit
}

// Anyone reports whether there is a node that may get calls, for all that leases say.
func (t *Table) Anyone(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	num := t.quarters(now)
	for _, e := range t.nodes {
		if e.getsCalls(num, now) {
			return true
		}
	}
	return false
}

// quarters is of how many quarters of a lease a node may be silent and still get calls.
func (t *Table) quarters(now time.Time) time.Duration {
	for _, e := range t.nodes {
		if e.heardWithin(e.length*3/4, now) {
			return 3
		}
	}
	return 4
}

func (e *entry) getsCalls(quarters time.Duration, now time.Time) bool {
	return e.speaks(quarters, now) && !e.behind
}

// speaks reports whether the node is there; one whose table lags is, too.
func (e *entry) speaks(quarters time.Duration, now time.Time) bool {
	return e.heardWithin(e.length*quarters/4, now) && !e.refuses()
}

// Silent says why nothing is heard of a node, of whose processes the present one is named;
// false: it is heard.
func (t *Table) Silent(id ownership.NodeID, process string, now time.Time) (ownership.Silence, bool) {
	over := t.Next.IsOver(id, process)
	t.mu.Lock()
	defer t.mu.Unlock()
	s := ownership.Silence{Node: id, Since: t.start, Cause: ownership.Unheard}
	e := t.nodes[id]
	if e == nil {
		return s, true
	}
	if !over && e.speaks(t.quarters(now), now) {
		return s, false
	}
	if !e.heard.IsZero() {
		s.Since = e.heard
	}
	switch {
	case over:
		s.Cause = ownership.Stopped
	case e.refuses():
		s.Cause = ownership.Refuses
	}
	return s, true
}

// Heard reports whether the node has renewed in this term.
func (t *Table) Heard(id ownership.NodeID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.nodes[id]
	return e != nil && !e.heard.IsZero()
}

// ramp counts what happened within the last two seconds, in four steps. Times
// are monotonic distances from the start of the term.
type ramp struct {
	step  int64
	count [rampSteps]int
}

const (
	rampSteps = 4
	rampStep  = 500 * time.Millisecond
)

func (r *ramp) add(n int, at time.Duration) {
	r.forward(at)
	r.count[r.step%rampSteps] += n
}

func (r *ramp) sum(at time.Duration) int {
	r.forward(at)
	total := 0
	for _, n := range r.count {
		total += n
	}
	return total
}

func (r *ramp) forward(at time.Duration) {
	step := max(int64(at/rampStep), r.step)
	for i := int64(0); i < min(step-r.step, rampSteps); i++ {
		r.count[(step-i)%rampSteps] = 0
	}
	r.step = step
}
