package cluster

import (
	"context"
	"fmt"
	"time"

	"tandem/ownership"
)

// How long a lease may last.
const (
	shortestLease = 200 * time.Millisecond
	longestLease  = time.Minute
)

// leaseLength is how long leases last now: the region's word, which stands in the
// table; before there is one, this node's own configuration.
func (c *standing) leaseLength() time.Duration {
	if now, _ := c.tb.Lease(); now > 0 {
		return now
	}
	return c.cfg.Timings.Lease
}

// Lease gives how long leases last in the region, as this node knows it.
func (c *standing) Lease() time.Duration { return c.leaseLength() }

// longestLease is how long a lease granted by an earlier leader may last.
func (c *standing) longestLease() time.Duration {
	now, before := c.tb.Lease()
	if now == 0 {
		return c.cfg.Timings.Lease
	}
	return max(now, before)
}

// SetLease changes how long leases last, for the whole region and from any node.
// What new ones last counts from their next renewal on. The error is ErrConflict
// for a length outside of what the region can live with, or in a region that still
// has nodes of older software, or ErrNoLeader.
func (c *proposals) SetLease(ctx context.Context, length time.Duration) error {
	if least := max(2*c.cfg.Timings.Heartbeat, shortestLease); length < least || length > longestLease {
		return fmt.Errorf("setting the length of leases to %v: allowed are %v to %v, so that an election outlasts none: %w",
			length, least, longestLease, ownership.ErrConflict)
	}
	if c.tb.Format() < ownership.FormatReservations {
		return fmt.Errorf("setting the length of leases: some nodes have older software, upgrade them first: %w", ownership.ErrConflict)
	}
	// One change waits until the leases of before the last one are over.
	bounded, cancel := context.WithTimeout(ctx, longestLease+2*c.cfg.Timings.Decide)
	defer cancel()
	return c.persistWithin(ctx, bounded, "setting the length of leases", anytime, func(ctx context.Context, leader ownership.NodeID, addr string) error {
		act := ownership.SetLease{Length: length}
		var out *ownership.Outcome
		var err error
		if leader == c.self {
			out, err = c.proposeHere(ctx, act)
		} else {
			out, err = c.forwardAct(ctx, leader, addr, act)
		}
		if err == nil {
			err = out.Err
		}
		return err
	})
}

// setLength is the leader's part. The table remembers the present length and the
// one before, and a new leader waits for the longer one: so leases of a length of
// before that must be over first.
func (r *reign) setLength(ctx context.Context, act ownership.SetLease) (*ownership.Outcome, error) {
	fail := func(err error) (*ownership.Outcome, error) {
		return nil, fmt.Errorf("setting the length of leases: %w", err)
	}
	release, err := r.form(ctx)
	if err != nil {
		return fail(err)
	}
	defer release()
	wait := time.NewTimer(time.Until(r.lengthSet.Add(r.c.longestLease() + r.c.cfg.Timings.Drift)))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return fail(ctx.Err())
	case <-r.ctx.Done():
		return nil, ownership.ErrNotLeader
	}
	out, err := r.propose(ctx, act)
	r.lengthSet = time.Now() // even if that is not known
	if err == nil && out.Err == nil {
		r.c.log.Info("the length of leases changed", "length", act.Length)
	}
	return out, err
}

// setFirstLength makes the length in this leader's configuration the region's,
// when it has none yet: a new region's founder says it, and the first leader after
// an upgrade.
func (r *reign) setFirstLength() {
	if now, _ := r.c.tb.Lease(); now > 0 || r.c.tb.Format() < ownership.FormatReservations {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.c.cfg.Timings.Decide)
	defer cancel()
	out, err := r.propose(ctx, ownership.SetLease{Length: r.c.cfg.Timings.Lease})
	if err == nil {
		err = out.Err
	}
	if err != nil && r.ctx.Err() == nil {
		r.c.log.Warn("telling the region how long leases last", "err", err)
	}
}

// follow says once that this node's file has another length than the region.
func (c *renewals) follow(length time.Duration) {
	if c.followed.Swap(int64(length)) != int64(length) && length != c.cfg.Timings.Lease {
		c.log.Warn("leases last as long as the region says, not as long as cluster.lease of this node's file: change the file, or the region with tandem region lease",
			"region", length, "file", c.cfg.Timings.Lease)
	}
}
