package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"tandem/cluster/batch"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store"
)

// proposals is how acts reach the table, from any node: claims and records in
// batches, the others one by one, all by the leader.
type proposals struct {
	*standing
	links   *transport.Links
	reign   atomic.Pointer[reign] // set while this node leads
	lead    *batch.Combiner[ownership.Claim, decided]
	forward *batch.Combiner[ownership.Claim, decided]
	// Records of calls go the same two ways as claims.
	leadRecords    *batch.Combiner[ownership.Act, recorded]
	forwardRecords *batch.Combiner[ownership.Act, recorded]
	barriers       *batch.Combiner[struct{}, uint64]
}

// safety says when an attempt may be repeated.
type safety int

const (
	anytime    safety = iota // doing it twice is doing it once
	whenUnsent               // only when it surely was not done
)

// retryPause is the wait between attempts when no change of leader wakes us.
const retryPause = 20 * time.Millisecond

// persist tries something at the leader until it is done, refused for good, or
// Timings.Decide is over. An attempt ends when the leader changes.
func (c *proposals) persist(ctx context.Context, doing string, safe safety, attempt func(ctx context.Context, leader ownership.NodeID, addr string) error) error {
	bounded, cancel := context.WithTimeout(ctx, c.cfg.Timings.Decide)
	defer cancel()
	return c.persistWithin(ctx, bounded, doing, safe, attempt)
}

func (c *proposals) persistWithin(ctx, bounded context.Context, doing string, safe safety, attempt func(ctx context.Context, leader ownership.NodeID, addr string) error) error {
	last := error(nil)
	for {
		if c.stopping.Load() {
			return fmt.Errorf("%s: %w", doing, ErrStopped)
		}
		leader, addr, changed := c.leader.now()
		if leader != "" {
			one, end := until(bounded, changed)
			err := attempt(one, leader, addr)
			end()
			if again, surelyNot := retryable(err); !again || safe == whenUnsent && !surelyNot {
				return err
			}
			last = err
		}
		select {
		case <-changed:
		case <-time.After(retryPause):
		case <-c.ctx.Done():
		case <-bounded.Done():
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("%s: %w: %w", doing, ownership.ErrNoLeader, err)
			}
			if last != nil {
				return fmt.Errorf("%s: %w: %w", doing, ownership.ErrNoLeader, last)
			}
			return fmt.Errorf("%s: %w", doing, ownership.ErrNoLeader)
		}
	}
}

// retryable reports whether another attempt may succeed, and whether the failed
// one surely changed nothing.
func retryable(err error) (again, surelyNot bool) {
	switch {
	case err == nil:
		return false, true
	case errors.Is(err, ownership.ErrNotLeader):
		return true, true
	case errors.Is(err, ownership.ErrNoLeader), errors.Is(err, ownership.ErrUnreachable),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return true, false
	}
	return false, false
}

// until gives a context that also ends when the channel is closed.
func until(ctx context.Context, over <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-over:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Do applies any act but Claims, from any node, within Timings.Decide. The
// leader fills in the time and the fitness of the nodes. The outcome's own
// refusal is given as the error too. A Move is tried once: repeating it could
// report a conflict with itself; use Cluster.Move, which asks the owner first.
func (c *proposals) Do(ctx context.Context, act ownership.Act) (*ownership.Outcome, error) {
	safe := anytime
	switch act.(type) {
	case ownership.Claims:
		return nil, errors.New("applying an act: claims go through Claim")
	case ownership.Move:
		safe = whenUnsent
	}
	var out *ownership.Outcome
	err := c.persist(ctx, fmt.Sprintf("applying %T", act), safe, func(ctx context.Context, leader ownership.NodeID, addr string) (err error) {
		switch {
		case c.isRecord(act):
			out, err = c.record(ctx, leader, act)
		case leader == c.self:
			out, err = c.proposeHere(ctx, act)
		default:
			out, err = c.forwardAct(ctx, leader, addr, act)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if out.Err != nil {
		return out, fmt.Errorf("applying %T: %w", act, out.Err)
	}
	return out, nil
}

// proposeHere writes one act to the log, if this node leads.
func (c *proposals) proposeHere(ctx context.Context, act ownership.Act) (*ownership.Outcome, error) {
	r := c.reign.Load()
	if r == nil {
		return nil, ownership.ErrNotLeader
	}
	if err := r.waitReady(ctx); err != nil {
		return nil, err
	}
	switch a := act.(type) {
	case ownership.Move:
		m, err := r.direct(a)
		if err != nil {
			return nil, err
		}
		act = m
	case ownership.SetLease:
		return r.setLength(ctx, a)
	}
	return r.propose(ctx, act)
}

// propose writes an act to the log and gives what applying it here gave.
func (r *reign) propose(ctx context.Context, act ownership.Act) (*ownership.Outcome, error) {
	b, err := store.EncodeAct(r.stamp(act), r.c.tb.Format())
	if err != nil {
		return nil, err
	}
	limit := r.c.cfg.Timings.Decide
	if d, ok := ctx.Deadline(); ok {
		limit = max(time.Until(d), time.Millisecond)
	}
	type outcome struct {
		out any
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		f := r.c.raft.Apply(b, limit)
		if err := f.Error(); err != nil {
			done <- outcome{err: err}
			return
		}
		done <- outcome{out: f.Response()}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, raftRefusal(o.err)
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
func (r *reign) stamp(act ownership.Act) ownership.Act {
	now := time.Now()
	at := func(t *time.Time) {
		if t.IsZero() {
			*t = now.UTC()
		}
	}
	switch a := act.(type) {
	case ownership.Claims:
		a.At, a.Fitness = now.UTC(), r.leases.Fitness(now)
		return a
	case ownership.Records:
		at(&a.At)
		acts := make([]ownership.Act, len(a.Acts))
		for i := range a.Acts {
			acts[i] = r.stamp(a.Acts[i])
		}
		a.Acts = acts
		return a
	case ownership.Depart:
		at(&a.At)
		if a.Fitness == nil {
			a.Fitness = r.leases.Fitness(now)
		}
		return a
	case ownership.Failover:
		at(&a.At)
		a.Fitness = r.leases.Fitness(now)
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

// ReadBarrier waits until this node's table holds everything that was
// acknowledged anywhere in the region before the call: a read after it is
// linearizable. The error is ErrNoLeader, or ErrStopped.
func (c *proposals) ReadBarrier(ctx context.Context) error {
	const doing = "waiting for the table to be up to date"
	var index uint64
	bounded, cancel := context.WithTimeout(ctx, c.cfg.Timings.Decide)
	defer cancel()
	err := c.persistWithin(ctx, bounded, doing, anytime, func(ctx context.Context, _ ownership.NodeID, _ string) (err error) {
		index, err = c.barriers.Do(ctx, struct{}{})
		return err
	})
	if err != nil {
		return err
	}
	if err := c.waitApplied(bounded, index); err != nil {
		return fmt.Errorf("%s: %w: %w", doing, ownership.ErrNoLeader, err)
	}
	return nil
}

// askBarrier asks the leader once for all reads that wait.
func (c *proposals) askBarrier(asks []struct{}) []batch.Result[uint64] {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Timings.Decide)
	defer cancel()
	leader, addr, changed := c.leader.now()
	if leader == "" {
		return batch.FailAll[uint64](len(asks), ownership.ErrNotLeader)
	}
	ctx, end := until(ctx, changed)
	defer end()
	index, err := c.barrierAt(ctx, leader, addr)
	out := batch.FailAll[uint64](len(asks), err)
	for i := range out {
		out[i].Val = index
	}
	return out
}

// waitApplied waits until the local table has applied an index.
func (c *standing) waitApplied(ctx context.Context, index uint64) error {
	for {
		next := c.applied.next()
		if c.tb.Applied() >= index {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ctx.Done():
			return ErrStopped
		}
	}
}
