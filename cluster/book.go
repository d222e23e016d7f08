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
// since is when this leader's term was safe to act in: nobody's lease counts as
// over before a whole lease and the drift margin have passed since then, for an
// earlier leader may have granted one just before.
type book struct {
	lease time.Duration
	drift time.Duration
	since time.Time

	next succession // processes that wait to take a node over

	mu    sync.Mutex
	nodes map[ownership.NodeID]*bookEntry
}

type bookEntry struct {
	heard     time.Time // when the last renewal came in, whether answered or not
	admitted  time.Time // when it last joined: it gets a whole lease to renew for the first time
	condemned bool      // its partitions are being given away: it gets no lease
	renewal   renewal
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
	applied     uint64
	lastIndex   uint64
	term        uint64
}

func newBook(lease, drift time.Duration, since time.Time) *book {
	return &book{lease: lease, drift: drift, since: since, nodes: make(map[ownership.NodeID]*bookEntry)}
}

func (b *book) entry(id ownership.NodeID) *bookEntry {
	e := b.nodes[id]
	if e == nil {
		e = &bookEntry{}
		b.nodes[id] = e
	}
	return e
}

// receive notes a renewal. Its error says that no lease may be granted now. It
// must be called before the leader makes sure of its leadership for the answer.
func (b *book) receive(r renewal, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(r.node)
	if e.condemned {
		return fmt.Errorf("renewing the lease of %s: its partitions are being given to others: %w", r.node, ownership.ErrFenced)
	}
	e.heard, e.renewal = now, r
	return nil
}

// admit notes that a node joins: partitions are about to be born on it, and it
// cannot have renewed yet. What was heard of another incarnation says nothing
// of this one.
func (b *book) admit(id ownership.NodeID, incarnation string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entry(id)
	e.admitted = now
	if e.renewal.incarnation != incarnation {
		e.heard, e.renewal = time.Time{}, renewal{}
	}
}

// leased reports whether the node renewed within a lease.
func (b *book) leased(id ownership.NodeID, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.nodes[id].heardWithin(b.lease, now)
}

func (e *bookEntry) heardWithin(d time.Duration, now time.Time) bool {
	return e != nil && !e.condemned && !e.heard.IsZero() && now.Sub(e.heard) < d
}

// over gives the time at which the node's lease is certainly over.
func (b *book) over(id ownership.NodeID) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.overLocked(id)
}

func (b *book) overLocked(id ownership.NodeID) time.Time {
	last := b.since
	if e := b.nodes[id]; e != nil {
		for _, t := range []time.Time{e.heard, e.admitted} {
			if t.After(last) {
				last = t
			}
		}
	}
	return last.Add(b.lease + b.drift)
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

// placed counts calls just placed on a node.
func (b *book) placed(id ownership.NodeID, n int, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entry(id).recent.add(n, now.Sub(b.since))
}

// fitness gives what is known of each node at a moment. A node that has been
// silent for three quarters of a lease (three renewals of the shipped four) may
// act for a while yet, but is probably dead: it counts as without a lease, so
// that new calls avoid it, unless all nodes are that silent.
func (b *book) fitness(now time.Time) map[ownership.NodeID]ownership.Fitness {
	b.mu.Lock()
	defer b.mu.Unlock()
	within := b.lease
	for _, e := range b.nodes {
		if e.heardWithin(b.lease*3/4, now) {
			within = b.lease * 3 / 4
		}
	}
	fit := make(map[ownership.NodeID]ownership.Fitness, len(b.nodes))
	for id, e := range b.nodes {
		fit[id] = ownership.Fitness{
			Leased: e.heardWithin(within, now), Bot: e.renewal.bot, Load: e.renewal.load,
			Room: e.renewal.room, Recent: e.recent.sum(now.Sub(b.since)),
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
