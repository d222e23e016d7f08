package leader

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/batch"
	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// verifyRound makes sure of leadership, once for all who wait: it asks the
// voters for their raft term and wants a majority, this node counted, that has
// seen none newer. A leader of a newer term needs the vote of one of them, so it
// can only have been elected after the question was put.
//
// It does not use raft's VerifyLeader. That is content with any answer to a
// heartbeat that comes in after the call, also one that was sent long before:
// a leader that was paused for seconds and wakes up finds old answers in its
// sockets and believes itself leader, and would grant itself a lease although
// the others elected another and gave its partitions away. (raft 1.8.0,
// replication.go: heartbeat, notifyAll.) VerifyLeader also blocks for ever over
// a stalled disk.
func (l *Leadership) verifyRound(asks []struct{}) []batch.Result[struct{}] {
	ctx, cancel := context.WithTimeout(l.ctx, l.Timings.Lease/2)
	defer cancel()
	return batch.FailAll[struct{}](len(asks), l.majority(ctx))
}

func (l *Leadership) majority(ctx context.Context) error {
	voters := Voters(l.Raft)
	votes := make(chan vote, len(voters))
	need, here := len(voters)/2+1, false
	for _, s := range voters {
		if s.ID == raft.ServerID(l.Self.ID) {
			here = true
			continue
		}
		go func() {
			id, addr := ownership.NodeID(s.ID), string(s.Address)
			if where := l.Where(id); len(where) > 0 {
				addr = where[0]
			}
			p := l.Links.To(id, addr)
			res, err := p.Term(ctx, &peerpb.TermRequest{Process: l.Process})
			if err == nil && !l.Present.Hears(id, res.GetProcess(), time.Now()) {
				err = fmt.Errorf("asking node %s: %w", id, ownership.ErrTwin)
			}
			votes <- vote{res.GetTerm(), err}
		}()
	}
	asked := len(voters)
	if here {
		asked, need = asked-1, need-1
	}
	if err := count(ctx, votes, asked, need, l.Term); err != nil {
		return fmt.Errorf("making sure of leadership: %w", err)
	}
	if l.Raft.State() != raft.Leader || l.Raft.CurrentTerm() != l.Term {
		return fmt.Errorf("making sure of leadership: %w", ownership.ErrNotLeader)
	}
	return nil
}

// vote is one voter's answer.
type vote struct {
	term uint64
	err  error
}

// count waits for need answers that know no newer term, of the asked ones still
// to come.
func count(ctx context.Context, votes <-chan vote, asked, need int, term uint64) error {
	for need > 0 {
		if asked < need {
			return fmt.Errorf("too few voters answered: %w", ownership.ErrNoLeader)
		}
		select {
		case v := <-votes:
			asked--
			switch {
			case v.err != nil:
			case v.term > term:
				return fmt.Errorf("a voter is at term %d, this leadership has %d: %w", v.term, term, ownership.ErrNotLeader)
			default:
				need--
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ownership.ErrNoLeader, ctx.Err())
		}
	}
	return nil
}
