package cluster

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"tandem/cluster/lease"
	"tandem/cluster/peerpb"
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
func (c *renewals) keepLease() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	wake := c.renewAt.next()
	for {
		select {
		case <-timer.C:
		case <-wake:
		case <-c.ctx.Done():
			return
		}
		wake = c.renewAt.next()
		timer.Reset(c.renewOnce())
	}
}

// renewOnce asks for one renewal and gives how long to wait for the next one.
func (c *renewals) renewOnce() time.Duration {
	length := c.leaseLength()
	every := min(c.cfg.Timings.Renew, length/4)
	if c.lease.Dropped() || !c.entered.Load() {
		return every / 4
	}
	leader, addr, changed := c.leader.now()
	if leader == "" {
		return every / 4
	}
	ctx, cancel := context.WithTimeout(c.ctx, length/2)
	defer cancel()
	ctx, end := until(ctx, changed)
	defer end()
	in := c.renewal()
	sent := time.Now()
	g, err := c.renewAtLeader(ctx, leader, addr, in)
	if err != nil {
		c.m.renewals.WithLabelValues("failed").Inc()
		c.renewFailed(err)
		return every / 4
	}
	if c.lease.Renew(sent, time.Now(), g) {
		c.wg.Go(c.catchUp)
	}
	c.follow(g.Length)
	if n, ok := c.tb.Node(c.self); ok && n.Incarnation == c.cfg.Node.Incarnation {
		c.unseated.Store(nil) // a leader that grants leases has finished what a restore began
	}
	c.m.renewals.WithLabelValues("granted").Inc()
	return max(every-time.Since(sent), 0)
}

// catchUp tells the leader at once when this node acts again after a break: until
// then it gets no new calls and inherits nothing.
func (c *renewals) catchUp() {
	floor, ok := c.lease.Floor(time.Now())
	if ok && c.waitApplied(c.ctx, floor) == nil {
		c.renewAt.fire()
	}
}

func (c *renewals) renewAtLeader(ctx context.Context, leader ownership.NodeID, addr string, in lease.Renewal) (lease.Grant, error) {
	if leader == c.self {
		r := c.reign.Load()
		if r == nil {
			return lease.Grant{}, ownership.ErrNotLeader
		}
		return r.renew(ctx, in)
	}
	p := c.links.To(leader, addr)
	res, err := p.Renew(ctx, &peerpb.RenewRequest{
		Node: string(in.Node), Incarnation: in.Incarnation, Process: in.Process, Sum: in.Sum, Settings: in.Settings,
		Live: uint32(max(in.Live, 0)), Bot: in.Bot, Load: in.Load, Room: uint32(max(in.Room, 0)),
		Applied: in.Applied, LastIndex: in.LastIndex, Term: in.Term, Behind: in.Behind, Apps: appsToWire(in.Apps),
	})
	if err != nil {
		return lease.Grant{}, err
	}
	g := lease.Grant{Length: time.Duration(res.GetLength()), Term: res.GetTerm(), Applied: res.GetApplied(), Holdings: make(map[lease.Holding]bool, len(res.GetHoldings()))}
	if g.Length <= 0 {
		g.Length = c.cfg.Timings.Lease // a leader of older software says nothing, and means its own
	}
	for _, h := range res.GetHoldings() {
		g.Holdings[lease.Holding{Partition: ownership.PartitionID(h.GetPartition()), Epoch: ownership.Epoch(h.GetEpoch())}] = true
	}
	return g, nil
}

// renewal is what this node says of itself.
func (c *renewals) renewal() lease.Renewal {
	h := Health{Bot: true}
	if c.doors.Health != nil {
		h = c.doors.Health()
	}
	term := c.lastTerm()
	applied := c.tb.Applied()
	sum, known := c.tb.SumAt(applied)
	if !known {
		sum = 0
	}
	return lease.Renewal{
		Node: c.self, Incarnation: c.cfg.Node.Incarnation, Process: c.process, Live: h.Live, Bot: h.Bot, Load: h.Load, Room: h.Room,
		Applied: applied, Sum: sum, Settings: c.cfg.Settings, LastIndex: c.raft.LastIndex(), Term: term,
		Behind: !c.lease.Acts(applied, time.Now()), Apps: h.Apps,
	}
}

// renewFailed acts on refusals that another try cannot change.
func (c *renewals) renewFailed(err error) {
	switch {
	case forGood(err):
		if !c.stopping.Load() {
			c.fatal(err)
		}
	case errors.Is(err, ownership.ErrUnknown):
		c.entered.Store(false)
		c.enterAt.fire()
	default:
		c.log.Debug("renewing the lease", "err", err)
	}
}

// giveBack tells the leader that this process acts no more, so that the next one
// of this node need not wait for its lease. The disk says so too.
func (c *renewals) giveBack(ctx context.Context) {
	leader, addr, ok := c.Leader()
	if !ok || leader == c.self || !c.entered.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timings.Renew)
	defer cancel()
	p := c.links.To(leader, addr)
	if _, err := p.Renew(ctx, &peerpb.RenewRequest{Node: string(c.self), Incarnation: c.cfg.Node.Incarnation, Process: c.process, Over: true}); err != nil {
		c.log.Debug("giving the lease back", "err", err)
	}
}
