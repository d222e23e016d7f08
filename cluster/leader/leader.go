// Package leader is what a node does for its region while it leads it: it settles, then
// grants leases, fails over what has certainly ended, lets nodes in and takes them out,
// gives and takes votes, compares tables and settings. A Leadership lasts for one term of
// raft; it knows the table and raft, and asks for what else it needs.
package leader

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"tandem/cluster/batch"
	"tandem/cluster/clocks"
	"tandem/cluster/lease"
	"tandem/cluster/peerpb"
	"tandem/cluster/presence"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/rollout"
	"tandem/store"
)

// Needs is what a leadership is told of its region, and what it may ask and have done.
type Needs struct {
	Self       ownership.Node // the own record
	Process    string         // that acts as this node
	Deployment string
	Timings    clocks.Timings
	Partitions int               // to be born on a joining node
	Settings   map[string]string // that must be equal on all nodes
	// Apps are those that this node serves, Silence how long the calls of one wait for a
	// silent node; it is asked for ownership.AllApps, too.
	Apps    []ownership.AppID
	Silence func(ownership.AppID) time.Duration
	// JoinByCertificate lets in whoever has a certificate of the region.
	JoinByCertificate bool

	Raft    *raft.Raft
	Table   *store.Table
	Links   *transport.Links
	Present *presence.Book
	Log     *slog.Logger
	RaftLog hclog.Logger

	Where    func(ownership.NodeID) []string                    // the addresses at which a node may be, the best first
	Me       func() *peerpb.HelloRequest                        // what this process says of itself
	Identity func() string                                      // of the region, as it stands beside the stamp; empty: none
	Formerly func() string                                      // identity before a snapshot of another founding came; empty: none did
	Unseated func() []ownership.Node                            // the nodes of before such a snapshot, until a leader has seated them; empty: none
	Silent   func() []ownership.Silence                         // of which nodes an earlier leader said so to this one
	Versions func() []ownership.VersionState                    // what it told of versions of bots
	Agreed   func(id ownership.NodeID, incarnation string) bool // reports whether its word founded the region
	// LetIn says whose the join token is; done: the node is in. nil: no token lets a node in.
	LetIn       func(ctx context.Context, token string, node ownership.NodeID, done bool) (by string, err error)
	NotAdmitted func() bool // reports whether this process takes no part in raft yet
	Admitted    func()      // this process may take part in raft
	Fatal       func(error) // this node cannot go on
	FailedOver  func()      // counts a silent node whose partitions went to others
}

// Leadership is this node's time as leader, for one term of raft: the table of
// leases, and the duties of a leader.
type Leadership struct {
	Needs
	Term      uint64
	Leases    *lease.Table
	versions  *rollout.Judge
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	verify    *batch.Combiner[struct{}, struct{}]
	ready     chan struct{} // closed when the table holds all that earlier leaders acknowledged
	settled   chan struct{} // closed when calls may be placed
	compared  comparison
	audited   lately
	restoring atomic.Bool // the table is being replaced: no leases
	returned  returned
	told      told
	went      went
	lengthSet time.Time     // when the length of leases may last have changed; under forming
	forming   chan struct{} // holds one token: changes of membership go one at a time
}

// pollEvery is how often a wait looks again at what has no signal of its own, retryPause
// the wait between attempts.
const (
	pollEvery  = 10 * time.Millisecond
	retryPause = 20 * time.Millisecond
)

// MaxVoters bounds the voters: raft votes beyond five cost every commit and win nothing.
const MaxVoters = 5

// New returns the leadership of the raft term that has begun. Start begins its duties,
// End ends them.
func New(ctx context.Context, needs Needs) *Leadership {
	l := &Leadership{
		Needs: needs, Term: needs.Raft.CurrentTerm(),
		ready: make(chan struct{}), settled: make(chan struct{}), forming: make(chan struct{}, 1),
	}
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.Leases = lease.NewTable(l.Timings.Lease, l.Timings.Drift, time.Now())
	l.versions = rollout.New(needs.Versions())
	l.lengthSet, l.told.since = time.Now(), time.Now()
	// Two at once: a renewal must be answered by a round that began after it
	// came in, so it cannot join the round under way.
	l.verify = batch.New(batch.Limits{Width: 2, Size: 1 << 16, Closed: ownership.ErrNotLeader}, l.verifyRound)
	return l
}

// Start begins the duties, each in a goroutine of its own.
func (l *Leadership) Start() {
	l.wg.Go(func() {
		if !l.takeOver() {
			return
		}
		// Only now the table tells how long earlier leaders' leases are.
		l.Leases.Lasted(l.longestLease())
		l.returned.base = l.Table.Applied()
		l.begin()
		if !l.seatAll() {
			return
		}
		close(l.ready)
		l.Log.Info("this node leads the region", "term", l.Term)
		l.wg.Go(l.settle)
		l.wg.Go(l.failOver)
		l.wg.Go(l.upkeep)
		l.wg.Go(func() { judgeVersions(l) })
	})
}

// End ends the duties and returns when they have ended.
func (l *Leadership) End() {
	l.cancel()
	l.wg.Wait()
	l.verify.Close()
}

// takeOver waits until the table holds every entry of earlier terms. Before
// that, an earlier leader's unfinished failover could still come true, and a
// lease granted now would contradict it.
func (l *Leadership) takeOver() bool {
	for l.ctx.Err() == nil {
		if l.NotAdmitted() { // the only voter needs nobody's word, but looks around for another process of its own
			l.sleep(retryPause)
			continue
		}
		err := Await(l.ctx, func() raft.Future { return l.Raft.Barrier(l.Timings.Decide) })
		if err == nil {
			return true
		}
		if l.ctx.Err() == nil {
			l.Log.Warn("taking over the lead", "term", l.Term, "err", err)
		}
		if l.Raft.State() != raft.Leader {
			return false
		}
		l.sleep(retryPause)
	}
	return false
}

// settle lets claims through as soon as every active node has renewed its lease
// here or refuses connections, at the latest after Timings.Settle: a leader that has
// heard of nobody would find the region full.
func (l *Leadership) settle() {
	defer close(l.settled)
	for end := time.Now().Add(l.Timings.Settle); time.Now().Before(end); {
		all := true
		for _, n := range l.Table.Nodes() {
			if n.State == ownership.NodeActive && !l.Leases.Leased(n.ID, time.Now()) && !l.Leases.Refusing(n.ID) {
				all = false
			}
		}
		if all || !l.sleep(min(pollEvery, l.Timings.Settle/4)) {
			return
		}
	}
}

// sleep waits; false: the leadership ended.
func (l *Leadership) sleep(d time.Duration) bool { return l.wait(l.ctx, d) == nil }

// wait waits. The error is ErrNotLeader when the lead is lost first, else ctx's.
func (l *Leadership) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-l.ctx.Done():
		return ownership.ErrNotLeader
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ready waits until the table holds all that earlier leaders acknowledged. The error is
// ErrNotLeader when the lead is lost first, or ErrNoLeader when ctx ends first.
func (l *Leadership) Ready(ctx context.Context) error {
	select {
	case <-l.ready:
		return nil
	case <-l.ctx.Done():
		return ownership.ErrNotLeader
	case <-ctx.Done():
		return fmt.Errorf("waiting for the new leader: %w: %w", ownership.ErrNoLeader, ctx.Err())
	}
}

// Barrier returns an index of the table that covers all acknowledged acts, after
// making sure that no other leader could have acknowledged later ones.
func (l *Leadership) Barrier(ctx context.Context) (uint64, error) {
	if err := l.Ready(ctx); err != nil {
		return 0, err
	}
	index := l.Table.Applied()
	if err := l.Sure(ctx); err != nil {
		return 0, err
	}
	return index, nil
}

// Sure makes sure that nobody else has led since it was asked. The error is ErrNotLeader
// or ErrNoLeader where that cannot be said.
func (l *Leadership) Sure(ctx context.Context) error {
	_, err := l.verify.Do(ctx, struct{}{})
	return err
}

// Settled waits until calls may be placed. A region of which no node at all has a lease is
// not full: its nodes stood still, or have yet to renew with a leader that is new. To find it
// full would turn the calls away for good, so they wait, for half of Timings.Decide.
func (l *Leadership) Settled(ctx context.Context) error {
	select {
	case <-l.settled:
	case <-l.ctx.Done():
		return ownership.ErrNotLeader
	case <-ctx.Done():
		return fmt.Errorf("waiting for the new leader to settle: %w", ownership.ErrNoLeader)
	}
	for end := time.Now().Add(l.Timings.Decide / 2); !l.Leases.Anyone(time.Now()) && time.Now().Before(end); {
		if err := l.wait(ctx, pollEvery); err != nil {
			return fmt.Errorf("waiting for a node with a lease: %w", err)
		}
	}
	return nil
}
