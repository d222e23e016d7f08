package leader

import (
	"context"
	"fmt"
	"time"

	"tandem/ownership"
	"tandem/store/record"
)

// Do writes an act that was asked for to the log, after what is the leader's to see to
// before, and returns what applying it here gave. Claims are to be settled first.
func (l *Leadership) Do(ctx context.Context, act ownership.Act) (*ownership.Outcome, error) {
	if err := l.Ready(ctx); err != nil {
		return nil, err
	}
	switch a := act.(type) {
	case ownership.Move:
		if a.To == "" { // owners of older software leave it to the leader
			to, err := l.Fittest(ctx, a.Partition, nil)
			if err != nil {
				return nil, err
			}
			a.To = to
		}
		act = a
	case ownership.SetLease:
		return l.setLength(ctx, a)
	}
	return l.Propose(ctx, act)
}

// WhatIf returns the placement that a claim would get now. The errors are those of
// claims.
func (l *Leadership) WhatIf(ctx context.Context, cl ownership.Claim) (p ownership.Placement, err error) {
	if err := l.Settled(ctx); err != nil {
		return p, err
	}
	filled := l.stamp(ownership.Claims{Claims: []ownership.Claim{cl}}).(ownership.Claims)
	turns := l.versions.Look(rollouts(l.Table), filled.At)
	l.Table.View(func(v ownership.View) {
		p, err = ownership.NewPlacer(v, filled.At, filled.Fitness).Turns(turns).Place(cl)
	})
	return p, err
}

// Propose writes an act to the log and gives what applying it here gave.
func (l *Leadership) Propose(ctx context.Context, act ownership.Act) (*ownership.Outcome, error) {
	b, err := record.EncodeAct(l.stamp(act), l.Table.Format())
	if err != nil {
		return nil, err
	}
	limit := l.Timings.Decide
	if d, ok := ctx.Deadline(); ok {
		limit = max(time.Until(d), time.Millisecond)
	}
	type outcome struct {
		out any
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		f := l.Raft.Apply(b, limit)
		if err := f.Error(); err != nil {
			done <- outcome{err: err}
			return
		}
		done <- outcome{out: f.Response()}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, Refusal(o.err)
		}
		switch out := o.out.(type) {
		case *ownership.Outcome:
			return out, nil
		case error:
			return nil, fmt.Errorf("%s: %w", ownership.Doing(act), out)
		}
		return nil, fmt.Errorf("%s: the table answered with %T", ownership.Doing(act), o.out)
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for raft: %w: %w", ownership.ErrNoLeader, ctx.Err())
	}
}

// carry writes an act to the log; what the table says against it is an error too.
func (l *Leadership) carry(ctx context.Context, act ownership.Act) (*ownership.Outcome, error) {
	out, err := l.Propose(ctx, act)
	if err == nil {
		err = out.Err
	}
	return out, err
}

// own carries an act that the leader wants by itself, within Timings.Decide. An outcome
// that comes with an error says that it was the table's.
func (l *Leadership) own(act ownership.Act) (*ownership.Outcome, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.Timings.Decide)
	defer cancel()
	return l.carry(ctx, act)
}

// stamp fills in what only the leader may say: when, and how fit the nodes are.
func (l *Leadership) stamp(act ownership.Act) ownership.Act {
	now := time.Now()
	switch a := act.(type) {
	case ownership.Claims:
		a.At, a.Fitness = now.UTC(), l.Leases.Fitness(now)
		return a
	case ownership.Records:
		acts := make([]ownership.Act, len(a.Acts))
		for i := range a.Acts {
			acts[i] = l.stamp(a.Acts[i])
		}
		a.Acts = acts
		act = a
	case ownership.Depart:
		if a.Fitness == nil {
			a.Fitness = l.Leases.Fitness(now)
		}
		act = a
	case ownership.Failover:
		a.Fitness = l.Leases.Fitness(now)
		act = a
	}
	return ownership.Stamped(act, now.UTC())
}

// Fittest returns the node that is fittest to take the partition, but for some. It waits
// as claims do, see Settled.
func (l *Leadership) Fittest(ctx context.Context, id ownership.PartitionID, but []ownership.NodeID) (ownership.NodeID, error) {
	if err := l.Settled(ctx); err != nil {
		return "", err
	}
	p, ok := l.Table.Partition(id)
	if !ok {
		return "", fmt.Errorf("moving partition %s: %w", id, ownership.ErrUnknown)
	}
	to, ok := ownership.Heir(l.Table, p, l.fitnessBut(but))
	if !ok {
		return "", fmt.Errorf("moving partition %s: no other active node has a lease and a healthy bot: %w", id, ownership.ErrFull)
	}
	return to, nil
}

func (l *Leadership) fitnessBut(but []ownership.NodeID) map[ownership.NodeID]ownership.Fitness {
	fit := l.Leases.Fitness(time.Now())
	for _, n := range but {
		delete(fit, n)
	}
	return fit
}
