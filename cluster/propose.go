package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"tandem/cluster/batch"
	"tandem/cluster/leader"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// proposals is how acts reach the table, from any node: claims and records in
// batches, the others one by one, all by the leader.
type proposals struct {
	*standing
	links   *transport.Links
	leading atomic.Pointer[leader.Leadership] // set while this node leads
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

// persist tries something at the leader until it is done, refused for good, or the
// limit is over. An attempt ends when the leader changes.
func (pr *proposals) persist(ctx context.Context, limit time.Duration, doing string, safe safety, attempt func(ctx context.Context, at ownership.NodeID, addr string) error) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for {
		if pr.stopping.Load() {
			return fmt.Errorf("%s: %w", doing, ErrStopped)
		}
		leader, addr, changed := pr.leader.now()
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
		case <-pr.ctx.Done():
		case <-bounded.Done():
			if why := cmp.Or(ctx.Err(), last); why != nil {
				return fmt.Errorf("%s: %w: %w", doing, ownership.ErrNoLeader, why)
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

// until returns a context that also ends when the channel is closed.
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
func (pr *proposals) Do(ctx context.Context, act ownership.Act) (*ownership.Outcome, error) {
	safe := anytime
	switch act.(type) {
	case ownership.Claims:
		return nil, errors.New("applying an act: claims go through Claim")
	case ownership.Move:
		safe = whenUnsent
	}
	var out *ownership.Outcome
	err := pr.persist(ctx, pr.cfg.Timings.Decide, ownership.Doing(act), safe, func(ctx context.Context, at ownership.NodeID, addr string) (err error) {
		if pr.isRecord(act) {
			out, err = pr.record(ctx, at, act)
		} else {
			out, err = pr.proposeAt(ctx, at, addr, act)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if out.Err != nil {
		return out, out.Err // the table names the act itself
	}
	return out, nil
}

// proposeAt has the leader write one act to the log.
func (pr *proposals) proposeAt(ctx context.Context, at ownership.NodeID, addr string, act ownership.Act) (*ownership.Outcome, error) {
	if at == pr.self {
		return pr.proposeHere(ctx, act)
	}
	return pr.forwardAct(ctx, pr.links.To(at, addr), act)
}

// proposeHere writes one act to the log, if this node leads.
func (pr *proposals) proposeHere(ctx context.Context, act ownership.Act) (*ownership.Outcome, error) {
	l, err := pr.leads()
	if err != nil {
		return nil, err
	}
	return l.Do(ctx, act)
}

// ReadBarrier waits until this node's table holds everything that was
// acknowledged anywhere in the region before the call: a read after it is
// linearizable. The error is ErrNoLeader, or ErrStopped.
func (pr *proposals) ReadBarrier(ctx context.Context) error {
	const doing = "waiting for the table to be up to date"
	var index uint64
	bounded, cancel := context.WithTimeout(ctx, pr.cfg.Timings.Decide)
	defer cancel()
	err := pr.persist(ctx, pr.cfg.Timings.Decide, doing, anytime, func(ctx context.Context, _ ownership.NodeID, _ string) (err error) {
		index, err = pr.barriers.Do(ctx, struct{}{})
		return err
	})
	if err != nil {
		return err
	}
	if err := pr.waitApplied(bounded, index); err != nil {
		return fmt.Errorf("%s: %w: %w", doing, ownership.ErrNoLeader, err)
	}
	return nil
}

// askBarrier asks the leader once for all reads that wait.
func (pr *proposals) askBarrier(asks []struct{}) []batch.Result[uint64] {
	ctx, cancel := context.WithTimeout(pr.ctx, pr.cfg.Timings.Decide)
	defer cancel()
	leader, addr, changed := pr.leader.now()
	if leader == "" {
		return batch.FailAll[uint64](len(asks), ownership.ErrNotLeader)
	}
	ctx, end := until(ctx, changed)
	defer end()
	index, err := pr.barrierAt(ctx, leader, addr)
	out := batch.FailAll[uint64](len(asks), err)
	for i := range out {
		out[i].Val = index
	}
	return out
}

func (st *standing) waitApplied(ctx context.Context, index uint64) error {
	for {
		next := st.applied.next()
		if st.tb.Applied() >= index {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		case <-st.ctx.Done():
			return ErrStopped
		}
	}
}
