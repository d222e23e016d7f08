package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"tandem/cluster/leader"
	"tandem/cluster/lease"
	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// renewals keeps this node's lease.
type renewals struct {
	*proposals
	followed atomic.Int64                     // length of leases, in nanoseconds, that this node last followed
	unseated atomic.Pointer[[]ownership.Node] // see seatAll
}

// keepLease renews this node's lease until the node stops, four times in its
// length.
func (rn *renewals) keepLease() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	wake := rn.renewAt.next()
	for {
		select {
		case <-timer.C:
		case <-wake:
		case <-rn.ctx.Done():
			return
		}
		wake = rn.renewAt.next()
		timer.Reset(rn.renewOnce())
	}
}

// renewOnce asks for one renewal and gives how long to wait for the next one.
func (rn *renewals) renewOnce() time.Duration {
	length := rn.leaseLength()
	every := min(rn.cfg.Timings.Renew, length/4)
	if rn.lease.Dropped() || !rn.entered.Load() {
		return every / 4
	}
	at, addr, changed := rn.leader.now()
	if at == "" {
		return every / 4
	}
	ctx, cancel := context.WithTimeout(rn.ctx, length/2)
	defer cancel()
	ctx, end := until(ctx, changed)
	defer end()
	in := rn.renewal()
	sent := time.Now()
	g, err := askLeader(rn.proposals, at, addr, func(l *leader.Leadership) (lease.Grant, error) { return l.Renew(ctx, in) },
		func(p *transport.Peer) (lease.Grant, error) { return rn.renewBy(ctx, p, in) })
	if err != nil {
		rn.m.renewals.WithLabelValues("failed").Inc()
		rn.renewFailed(err)
		return every / 4
	}
	if rn.lease.Renew(sent, time.Now(), g) {
		rn.wg.Go(rn.catchUp)
	}
	rn.heard.Store(&g.Region)
	rn.follow(g.Length)
	if n, ok := rn.tb.Node(rn.self); ok && n.Incarnation == rn.cfg.Node.Incarnation {
		rn.unseated.Store(nil) // a leader that grants leases has finished what a restore began
	}
	rn.m.renewals.WithLabelValues("granted").Inc()
	return max(every-time.Since(sent), 0)
}

// catchUp tells the leader at once when this node acts again after a break: until
// then it gets no new calls and inherits nothing.
func (rn *renewals) catchUp() {
	floor, ok := rn.lease.Floor(time.Now())
	if ok && rn.waitApplied(rn.ctx, floor) == nil {
		rn.renewAt.fire()
	}
}

func (rn *renewals) renewBy(ctx context.Context, p *transport.Peer, in lease.Renewal) (lease.Grant, error) {
	res, err := p.Renew(ctx, &peerpb.RenewRequest{
		Node: string(in.Node), Incarnation: in.Incarnation, Process: in.Process, Sum: in.Sum, Settings: in.Settings,
		Live: uint32(max(in.Live, 0)), Bot: in.Bot, Load: in.Load, Room: uint32(max(in.Room, 0)),
		Applied: in.Applied, LastIndex: in.LastIndex, Term: in.Term, Behind: in.Behind, Apps: appsToWire(in.Apps), Away: int64(in.Away),
		Versions: talliesToWire(in.Versions),
	})
	if err != nil {
		return lease.Grant{}, err
	}
	g := lease.Grant{Length: time.Duration(res.GetLength()), Term: res.GetTerm(), Applied: res.GetApplied(), Holdings: make(map[lease.Holding]bool, len(res.GetHoldings()))}
	g.Region = regionFromWire(res)
	if g.Length <= 0 {
		g.Length = rn.cfg.Timings.Lease // a leader of older software says nothing, and means its own
	}
	for _, h := range res.GetHoldings() {
		g.Holdings[lease.Holding{Partition: ownership.PartitionID(h.GetPartition()), Epoch: ownership.Epoch(h.GetEpoch())}] = true
	}
	return g, nil
}

func (rn *renewals) renewal() lease.Renewal {
	h := Health{Bot: true}
	if rn.deps.Health != nil {
		h = rn.deps.Health()
	}
	term := rn.lastTerm()
	applied := rn.tb.Applied()
	sum, known := rn.tb.SumAt(applied)
	if !known {
		sum = 0
	}
	return lease.Renewal{
		Node: rn.self, Incarnation: rn.cfg.Node.Incarnation, Process: rn.process, Live: h.Live, Bot: h.Bot, Load: h.Load, Room: h.Room,
		Applied: applied, Sum: sum, Settings: rn.cfg.Settings, LastIndex: rn.raft.LastIndex(), Term: term,
		Behind: !rn.lease.Acts(applied, time.Now()), Apps: h.Apps, Away: h.Away, Versions: h.Versions,
	}
}

// renewFailed acts on refusals that another try cannot change.
func (rn *renewals) renewFailed(err error) {
	switch {
	case forGood(err):
		if !rn.stopping.Load() {
			rn.fatal(err)
		}
	case errors.Is(err, ownership.ErrUnknown):
		rn.entered.Store(false)
		rn.enterAt.fire()
	default:
		rn.log.Debug("renewing the lease", "err", err)
	}
}

// giveBack tells the leader that this process acts no more, so that the next one
// of this node need not wait for its lease. The disk says so too.
func (rn *renewals) giveBack(ctx context.Context) {
	leader, addr, ok := rn.Leader()
	if !ok || leader == rn.self || !rn.entered.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, rn.cfg.Timings.Renew)
	defer cancel()
	over := &peerpb.RenewRequest{Node: string(rn.self), Incarnation: rn.cfg.Node.Incarnation, Process: rn.process, Over: true}
	if _, err := rn.links.To(leader, addr).Renew(ctx, over); err != nil {
		rn.log.Debug("giving the lease back", "err", err)
	}
}

// How long a lease may last.
const (
	shortestLease = 200 * time.Millisecond
	longestLease  = time.Minute
)

func (st *standing) leaseLength() time.Duration { return leader.LeaseLength(st.tb, st.cfg.Timings) }

// Lease returns how long leases last in the region, as this node knows it.
func (st *standing) Lease() time.Duration { return st.leaseLength() }

// longestLease is how long a lease granted by an earlier leader may last.
func (st *standing) longestLease() time.Duration { return leader.LongestLease(st.tb, st.cfg.Timings) }

// SetLease changes how long leases last, for the whole region and from any node.
// What new ones last counts from their next renewal on. The error is ErrConflict
// for a length outside of what the region can live with, or in a region that still
// has nodes of older software, or ErrNoLeader.
func (pr *proposals) SetLease(ctx context.Context, length time.Duration) error {
	if least := max(2*pr.cfg.Timings.Heartbeat, shortestLease); length < least || length > longestLease {
		return fmt.Errorf("setting the length of leases to %v: allowed are %v to %v, so that an election outlasts none: %w",
			length, least, longestLease, ownership.ErrConflict)
	}
	if pr.tb.Format() < ownership.FormatReservations {
		return fmt.Errorf("setting the length of leases: some nodes have older software, upgrade them first: %w", ownership.ErrConflict)
	}
	// One change waits until the leases of before the last one are over.
	return pr.persist(ctx, longestLease+2*pr.cfg.Timings.Decide, "setting the length of leases", anytime, func(ctx context.Context, at ownership.NodeID, addr string) error {
		act := ownership.SetLease{Length: length}
		out, err := pr.proposeAt(ctx, at, addr, act)
		if err == nil {
			err = out.Err
		}
		return err
	})
}

// follow says once that this node's file has another length than the region.
func (rn *renewals) follow(length time.Duration) {
	if rn.followed.Swap(int64(length)) != int64(length) && length != rn.cfg.Timings.Lease {
		rn.log.Warn("leases last as long as the region says, not as long as cluster.lease of this node's file: change the file, or the region with tandem region lease",
			"region", length, "file", rn.cfg.Timings.Lease)
	}
}
