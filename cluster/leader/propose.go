package leader

import (
	"context"
	"fmt"
	"tandem/ownership"
	"tandem/store/record"
	"time"
)

// Do writes an act that was asked for to the log, after what is the leader's to see to
// before, and returns what applying it here gave. Claims are to be settled first.
func (l *Leadership) Do(ctx context.Context, act ownership.Act) (*ownership.Outcome, error) {
	if err := l.Ready(ctx); err != nil {
		return nil, err
	}
	switch a := act.(type) {
	case ownership.Move:
		m, err := l.direct(a)
		if err != nil {
			return nil, err
		}
		act = m
	case ownership.SetLease:
		return l.setLength(ctx, a)
	}
	return l.Propose(ctx, act)
}

// WhatIf returns the placement that a claim would get now. The errors are those of
// claims.
func (l *Leadership) WhatIf(ctx context.Context, cl ownership.Claim) (p ownership.Placement, err error) {
	if err := l.Ready(ctx); err != nil {
		return p, err
	}
	filled := l.stamp(ownership.Claims{Claims: []ownership.Claim{cl}}).(ownership.Claims)
	l.Table.View(func(v ownership.View) {
		p, err = ownership.Place(v, cl, filled.At, filled.Fitness)
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
			return nil, fmt.Errorf("applying %T: %w", act, out)
		}
		return nil, fmt.Errorf("applying %T: the table answered with %T", act, o.out)
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for raft: %w: %w", ownership.ErrNoLeader, ctx.Err())
	}
}

// stamp fills in what only the leader may say: when, and how fit the nodes are.
func (l *Leadership) stamp(act ownership.Act) ownership.Act {
	now := time.Now()
	at := func(t *time.Time) {
		if t.IsZero() {
			*t = now.UTC()
		}
	}
	switch a := act.(type) {
	case ownership.Claims:
		a.At, a.Fitness = now.UTC(), l.Leases.Fitness(now)
		return a
	case ownership.Records:
		at(&a.At)
		acts := make([]ownership.Act, len(a.Acts))
		for i := range a.Acts {
			acts[i] = l.stamp(a.Acts[i])
		}
		a.Acts = acts
		return a
	case ownership.Depart:
		at(&a.At)
		if a.Fitness == nil {
			a.Fitness = l.Leases.Fitness(now)
		}
		return a
	case ownership.Failover:
		at(&a.At)
		a.Fitness = l.Leases.Fitness(now)
		return a
	case ownership.Answered:
		at(&a.At)
		return a
	case ownership.Seen:
		at(&a.At)
		return a
	case ownership.Release:
		at(&a.At)
		return a
	case ownership.TakeUp:
		at(&a.At)
		return a
	case ownership.Forget:
		at(&a.At)
		return a
	case ownership.Join:
		at(&a.At)
		return a
	case ownership.Drain:
		at(&a.At)
		return a
	case ownership.Undrain:
		at(&a.At)
		return a
	case ownership.Move:
		at(&a.At)
		return a
	case ownership.Lapse:
		at(&a.At)
		return a
	case ownership.Reclaim:
		at(&a.At)
		return a
	case ownership.Found:
		at(&a.At)
		return a
	case ownership.SetLease:
		at(&a.At)
		return a
	case ownership.SetFormat:
		at(&a.At)
		return a
	case ownership.SetRules:
		at(&a.At)
		return a
	case ownership.TellRules:
		at(&a.At)
		return a
	case ownership.GrantToken:
		at(&a.At)
		return a
	case ownership.RevokeToken:
		at(&a.At)
		return a
	case ownership.UseToken:
		at(&a.At)
		return a
	}
	return act
}

// Fittest returns the node that is fittest to take the partition, but for some.
func (l *Leadership) Fittest(id ownership.PartitionID, but []ownership.NodeID) (ownership.NodeID, error) {
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

// direct gives a move without a target the node that is fittest to take it: those
// of owners of older software have none.
func (l *Leadership) direct(m ownership.Move) (ownership.Move, error) {
	var err error
	if m.To == "" {
		m.To, err = l.Fittest(m.Partition, nil)
	}
	return m, err
}
