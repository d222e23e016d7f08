package cluster

import (
	"fmt"
	"sync"
	"time"

	"tandem/ownership"
)

// book is the leader's memory of who renewed, for the length of one term. It
// takes the time as an argument and starts no goroutine.
//
// since is when this leader's term was safe to act in, and longest how long an
// earlier leader's leases may have been: nobody's lease counts as over before that
// and the drift margin have passed since then, for an earlier leader may have
// granted one just before.
type book struct {
	drift time.Duration
	start time.Time // of the term

	next succession // processes that wait to take a node over

	mu      sync.Mutex
	since   time.Time
	longest time.Duration
	nodes   map[ownership.NodeID]*bookEntry
}

type bookEntry struct {
	heard     time.Time     // when the last renewal came in, whether answered or not
	length    time.Duration // of the lease that it asked for then
	ends      time.Time     // when the last lease it may have been given ends here, but for the drift
	refused   time.Time     // when its port last refused a connection
	condemned bool          // something is being taken from it: it gets no lease
	renewal   renewal
	behind    bool // its table lagged when it renewed
	recent    ramp
}

// renewal is what a node says of itself when it renews.
type renewal struct {
	node        ownership.NodeID
	incarnation string
	process     string
	sum         uint64            // of the table at the index applied
	settings    map[string]string // what must be equal on all nodes
	live        int
	bot         bool
	load        float64
	room        int
	apps        map[ownership.AppID]ownership.AppFitness // nil: of older software, which says no more than bot, load and room
	applied     uint64
	lastIndex   uint64
	term        uint64
	behind      bool // its table has not caught up: it does not act, lease or not
}

func newBook(longest, drift time.Duration, since time.Time) *book {
	return &book{drift: drift, start: since, since: since, longest: longest, nodes: make(map[ownership.NodeID]*bookEntry)}
}

func (b *book) entry(id ownership.NodeID) *bookEntry {
	e := b.nodes[id]
	if e == nil {
		e = &bookEntry{}
		b.nodes[id] = e
	}
	return e
}

// receive notes a renewal for a lease of that length, when the leader's table is at
// the index applied. Its error says that no lease may be granted now. It must be
// called before the leader makes sure of its leadership for the answer.
func (b *book) receive(r renewal, length time.Duration, applied uint64, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(r.node)
	if e.condemned {
		return fmt.Errorf("renewing the lease of %s: what it left is being given to others: %w", r.node, ownership.ErrFenced)
	}
	e.heard, e.length, e.renewal = now, length, r
	e.behind = r.behind || r.applied+maxBehind < applied
	e.extend(now.Add(length))
	return nil
}

// extend moves the end of the lease forward, never back: a lease that was longer
// runs on after the region has changed to shorter ones.
func (e *bookEntry) extend(to time.Time) {
	if to.After(e.ends) {
		e.ends = to
	}
}

// lasted tells how long the leases of earlier leaders may be.
func (b *book) lasted(longest time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.longest = longest
}

// acts reports whether the node renewed within a lease and its table has caught up.
func (b *book) acts(id ownership.NodeID, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.nodes[id]
	return e != nil && !e.behind && e.heardWithin(e.length, now)
}

// admit notes that a node joins: partitions are about to be born on it, and it
// cannot have renewed yet, so it gets a whole lease to do it. What was heard of
// another incarnation says nothing of this one.
func (b *book) admit(id ownership.NodeID, incarnation string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(id)
	e.extend(now.Add(b.longest))
	if e.renewal.incarnation != incarnation {
		e.heard, e.renewal = time.Time{}, renewal{}
	}
}

// begin gives every node a whole lease from now on to renew for the first time, as
// under a new leader.
func (b *book) begin(longest time.Duration, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.since, b.longest = now, longest
}

// began gives when every node had last got a whole lease to renew.
func (b *book) began() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.since
}

// leased reports whether the node renewed within a lease.
func (b *book) leased(id ownership.NodeID, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.nodes[id]
	return e != nil && e.heardWithin(e.length, now)
}

func (e *bookEntry) heardWithin(d time.Duration, now time.Time) bool {
	return !e.condemned && !e.heard.IsZero() && now.Sub(e.heard) < d
}

// over gives the time at which the node's lease is certainly over. While the node
// stays silent it does not change: its silence counts from then.
func (b *book) over(id ownership.NodeID) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.overLocked(id)
}

func (b *book) overLocked(id ownership.NodeID) time.Time {
	last := b.since.Add(b.longest)
	if e := b.nodes[id]; e != nil && e.ends.After(last) {
		last = e.ends
	}
	return last.Add(b.drift)
}

// condemnIfOver condemns a node whose lease is certainly over; from then on it
// gets no lease until it is pardoned.
func (b *book) condemnIfOver(id ownership.NodeID, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.overLocked(id)) {
		return false
	}
	b.entry(id).condemned = true
	return true
}

// condemn refuses the node further leases at once.
func (b *book) condemn(id ownership.NodeID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entry(id).condemned = true
}

// isCondemned reports whether the node is refused leases.
func (b *book) isCondemned(id ownership.NodeID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.nodes[id]
	return e != nil && e.condemned
}

// pardon lets the node renew again.
func (b *book) pardon(id ownership.NodeID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entry(id).condemned = false
}

// last gives the node's last renewal and when it came in; zero: never.
func (b *book) last(id ownership.NodeID) (renewal, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.nodes[id]; e != nil {
		return e.renewal, e.heard
	}
	return renewal{}, time.Time{}
}

// refuses notes that the node's port refused a connection: its process has most
// likely ended. That is no proof. Something between may have refused, and a process
// that closed its port may act for as long as its lease lasts, so new calls avoid
// the node at once, and nothing of its own goes to others before its lease is over.
func (b *book) refuses(id ownership.NodeID, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entry(id).refused = now
}

// caughtUp reports whether the node has said in this term that its table holds the
// index.
func (b *book) caughtUp(id ownership.NodeID, index uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.nodes[id]
	return e != nil && !e.heard.IsZero() && e.renewal.applied >= index
}

// placed counts calls just placed on a node.
func (b *book) placed(id ownership.NodeID, n int, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entry(id).recent.add(n, now.Sub(b.start))
}

// fitness gives what is known of each node at a moment. A node that has been silent for three quarters of a lease
// (three renewals of the shipped four) may act for a while yet, but is probably
// dead: it counts as without a lease, so that new calls avoid it, unless all nodes
// are that silent. So does one whose table lags: it would not know what it gets.
func (b *book) fitness(now time.Time) map[ownership.NodeID]ownership.Fitness {
	b.mu.Lock()
	defer b.mu.Unlock()
	num := time.Duration(4)
	for _, e := range b.nodes {
		if e.heardWithin(e.length*3/4, now) {
			num = 3
		}
	}
	fit := make(map[ownership.NodeID]ownership.Fitness, len(b.nodes))
	for id, e := range b.nodes {
		fit[id] = ownership.Fitness{
			Leased: e.heardWithin(e.length*num/4, now) && !e.behind && e.refused.Before(e.heard),
			Bot:    e.renewal.bot, Load: e.renewal.load,
			Room: e.renewal.room, Recent: e.recent.sum(now.Sub(b.start)), Apps: e.renewal.apps,
		}
	}
	return fit
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
