package leader

import (
	"context"
	"fmt"
	"time"

	"tandem/cluster/clocks"
	"tandem/ownership"
	"tandem/store"
)

// LeaseLength is how long leases last now: the region's word, which stands in the
// table; before there is one, this node's own configuration.
func LeaseLength(tb *store.Table, t clocks.Timings) time.Duration {
	if now, _ := tb.Lease(); now > 0 {
		return now
	}
	return t.Lease
}

// LongestLease is how long a lease granted by an earlier leader may last.
func LongestLease(tb *store.Table, t clocks.Timings) time.Duration {
	now, before := tb.Lease()
	if now == 0 {
		return t.Lease
	}
	return max(now, before)
}

func (n *Needs) leaseLength() time.Duration { return LeaseLength(n.Table, n.Timings) }

func (n *Needs) longestLease() time.Duration { return LongestLease(n.Table, n.Timings) }

// setLength is the leader's part. The table remembers the present length and the
// one before, and a new leader waits for the longer one: so leases of a length of
// before that must be over first.
func (l *Leadership) setLength(ctx context.Context, act ownership.SetLease) (*ownership.Outcome, error) {
	fail := func(err error) (*ownership.Outcome, error) {
		return nil, fmt.Errorf("setting the length of leases: %w", err)
	}
	release, err := l.Form(ctx)
	if err != nil {
		return fail(err)
	}
	defer release()
	if err := l.wait(ctx, time.Until(l.lengthSet.Add(l.longestLease()+l.Timings.Drift))); err != nil {
		return fail(err)
	}
	out, err := l.Propose(ctx, act)
	l.lengthSet = time.Now() // even if that is not known
	if err == nil && out.Err == nil {
		l.Log.Info("the length of leases changed", "length", act.Length)
	}
	return out, err
}

// setFirstLength makes the length in this leader's configuration the region's,
// when it has none yet: a new region's founder says it, and the first leader after
// an upgrade.
func (l *Leadership) setFirstLength() {
	if now, _ := l.Table.Lease(); now > 0 || l.Table.Format() < ownership.FormatReservations {
		return
	}
	_, err := l.own(ownership.SetLease{Length: l.Timings.Lease})
	if err != nil && l.ctx.Err() == nil {
		l.Log.Warn("telling the region how long leases last", "err", err)
	}
}
