package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/batch"
	"tandem/cluster/lease"
	"tandem/ownership"
)

// reign is this node's time as leader, for one term of raft: the table of
// leases, and the duties of a leader.
type reign struct {
	c         *Cluster
	term      uint64
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	leases    *lease.Table
	verify    *batch.Combiner[struct{}, struct{}]
	ready     chan struct{} // closed when the table holds all that earlier leaders acknowledged
	settled   chan struct{} // closed when calls may be placed
	compared  comparison
	audited   lately
	restoring atomic.Bool // the table is being replaced: no leases
	returned  returned
	lengthSet time.Time     // when the length of leases may last have changed; under forming
	forming   chan struct{} // holds one token: changes of membership go one at a time
}

// rule starts a reign when raft makes this node leader and ends it when raft
// takes leadership away.
func (c *Cluster) rule() {
	var now *reign
	end := func() {
		if now != nil {
			c.reign.Store(nil)
			now.end()
			now = nil
		}
		c.m.leader.Set(0)
	}
	defer end()
	for {
		select {
		case leads := <-c.raft.LeaderCh():
			end()
			if leads {
				now = c.newReign()
				c.reign.Store(now)
				now.start()
				c.m.leader.Set(1)
			}
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Cluster) newReign() *reign {
	r := &reign{
		c: c, term: c.raft.CurrentTerm(),
		ready: make(chan struct{}), settled: make(chan struct{}), forming: make(chan struct{}, 1),
	}
	r.ctx, r.cancel = context.WithCancel(c.ctx)
	r.leases = lease.NewTable(c.cfg.Timings.Lease, c.cfg.Timings.Drift, time.Now())
	r.lengthSet = time.Now()
	// Two at once: a renewal must be answered by a round that began after it
	// came in, so it cannot join the round under way.
	r.verify = batch.New(questions, r.verifyRound)
	return r
}

func (r *reign) start() {
	r.wg.Go(func() {
		if !r.takeOver() {
			return
		}
		// Only now the table tells how long earlier leaders' leases are.
		r.leases.Lasted(r.c.longestLease())
		r.returned.base = r.c.tb.Applied()
		r.begin()
		if !r.seatAll() {
			return
		}
		close(r.ready)
		r.c.log.Info("this node leads the region", "term", r.term)
		r.wg.Go(r.settle)
		r.wg.Go(r.failOver)
		r.wg.Go(r.upkeep)
	})
}

func (r *reign) end() {
	r.cancel()
	r.wg.Wait()
	r.verify.Close()
}

// takeOver waits until the table holds every entry of earlier terms. Before
// that, an earlier leader's unfinished failover could still come true, and a
// lease granted now would contradict it.
func (r *reign) takeOver() bool {
	for r.ctx.Err() == nil {
		if r.c.trans.Deaf.Load() { // the only voter needs nobody's word, but looks around for another process of its own
			r.sleep(retryPause)
			continue
		}
		err := await(r.ctx, func() raft.Future { return r.c.raft.Barrier(r.c.cfg.Timings.Decide) })
		if err == nil {
			return true
		}
		if r.ctx.Err() == nil {
			r.c.log.Warn("taking over the lead", "term", r.term, "err", err)
		}
		if r.c.raft.State() != raft.Leader {
			return false
		}
		r.sleep(retryPause)
	}
	return false
}

// settle lets claims through as soon as every active node has renewed its lease
// here, at the latest after Timings.Settle: a leader that has heard of nobody
// would find the region full.
func (r *reign) settle() {
	defer close(r.settled)
	for end := time.Now().Add(r.c.cfg.Timings.Settle); time.Now().Before(end); {
		all := true
		for _, n := range r.c.tb.Nodes() {
			if n.State == ownership.NodeActive && !r.leases.Leased(n.ID, time.Now()) {
				all = false
			}
		}
		if all || !r.sleep(min(pollEvery, r.c.cfg.Timings.Settle/4)) {
			return
		}
	}
}

// sleep waits; false: the reign ended.
func (r *reign) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.ctx.Done():
		return false
	}
}

func (r *reign) waitReady(ctx context.Context) error {
	select {
	case <-r.ready:
		return nil
	case <-r.ctx.Done():
		return ownership.ErrNotLeader
	case <-ctx.Done():
		return fmt.Errorf("waiting for the new leader: %w: %w", ownership.ErrNoLeader, ctx.Err())
	}
}

// barrier gives an index of the table that covers all acknowledged acts, after
// making sure that no other leader could have acknowledged later ones.
func (r *reign) barrier(ctx context.Context) (uint64, error) {
	if err := r.waitReady(ctx); err != nil {
		return 0, err
	}
	index := r.c.tb.Applied()
	if _, err := r.verify.Do(ctx, struct{}{}); err != nil {
		return 0, r.over(err)
	}
	return index, nil
}

// over tells apart a reign that ended, after which another leader may be asked,
// from a node that stops.
func (r *reign) over(err error) error {
	if errors.Is(err, ErrStopped) {
		return ownership.ErrNotLeader
	}
	return err
}

// renew answers one node's renewal.
func (r *reign) renew(ctx context.Context, in lease.Renewal) (lease.Grant, error) {
	if err := r.waitReady(ctx); err != nil {
		return lease.Grant{}, err
	}
	r.leases.Next.Sees(in.Node, time.Now())
	if r.restoring.Load() {
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: the table is being restored: %w", in.Node, ownership.ErrFenced)
	}
	n, ok := r.c.tb.Node(in.Node)
	switch {
	case !ok:
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: it is %w", in.Node, ownership.ErrUnknown)
	case n.Incarnation != in.Incarnation:
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: another node of that id is in the region: %w", in.Node, ownership.ErrConflict)
	case n.State == ownership.NodeGone:
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: %w", in.Node, ownership.ErrGone)
	case n.Process != "" && n.Process != in.Process:
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: %w", in.Node, twinOf(in.Node, n.ClusterAddr))
	case r.leases.Next.IsOver(in.Node, in.Process):
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: it gave its lease back: %w", in.Node, ownership.ErrFenced)
	}
	r.leases.Next.Renewed(in.Node)
	r.compareSettings(in.Node, in.Settings)
	if err := r.compareTables(in, n, time.Now()); err != nil {
		return lease.Grant{}, err
	}
	r.c.present.Holds(in.Node, in.Incarnation, in.Process, in.Applied)
	length := r.c.leaseLength()
	if err := r.leases.Receive(in, length, r.c.tb.Applied(), time.Now()); err != nil {
		return lease.Grant{}, err
	}
	if _, err := r.verify.Do(ctx, struct{}{}); err != nil {
		return lease.Grant{}, r.over(err)
	}
	if r.restoring.Load() { // since it came in; nothing may be granted that is not waited for
		return lease.Grant{}, fmt.Errorf("renewing the lease of %s: the table is being restored: %w", in.Node, ownership.ErrFenced)
	}
	return lease.Grant{Length: length, Term: r.term, Applied: r.c.tb.Applied(), Holdings: r.holdings(in.Node)}, nil
}

// reinstate lets a node renew whose leases were revoked and has nothing to give, or nobody to
// give it to: it would get no lease until the lead changes. What it was revoked
// for may still be on its way through the log, so another act goes after it
// first. A dismissal under way does its own reinstating.
func (r *reign) reinstate(id ownership.NodeID) {
	select {
	case r.forming <- struct{}{}:
		defer func() { <-r.forming }()
	default:
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.c.cfg.Timings.Decide)
	defer cancel()
	if _, err := r.propose(ctx, through); err == nil {
		r.leases.Reinstate(id)
	}
}

// heir reports whether anybody could inherit.
func (r *reign) heir(dead ownership.NodeID) bool {
	for id, f := range r.leases.Fitness(time.Now()) {
		if id == dead || !f.Leased || !f.Bot {
			continue
		}
		if n, ok := r.c.tb.Node(id); ok && n.State != ownership.NodeGone {
			return true
		}
	}
	return false
}
