package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"tandem/ownership"
)

// HandingOff says which of its partitions a node hands over to others.
type HandingOff struct {
	Ringing bool // also those in which a call still rings; its new owner answers it
	Empty   bool // also those without a live call
}

// HandedOff counts what became of them.
type HandedOff struct {
	Moved   int // have another owner now
	Pinned  int // stay: a live call has its media on this node
	Ringing int // stay for now: a call rings
	Failed  int // stay: nobody can take them, or nobody decides now
}

// HandOff hands the partitions of this node over to the active nodes that carry
// least, one after the other: for each, this node stops acting on it, and only
// then its epoch grows. A partition with an answered call whose media are on
// this node stays whole, its movable calls with it: a call never leaves its
// partition, so the partition is what moves. What could not be moved is counted
// and this node goes on acting on it; the error is ctx's, or the last one that
// kept a partition here.
func (mv *moves) HandOff(ctx context.Context, what HandingOff) (HandedOff, error) {
	var out HandedOff
	var last error
	failed := make(map[ownership.NodeID]bool)
	for _, p := range mv.tb.PartitionsOf(mv.self) {
		if err := ctx.Err(); err != nil {
			return out, fmt.Errorf("giving this node's partitions away: %w", err)
		}
		if p.Live == 0 && !what.Empty {
			continue
		}
		pinned, ringing, err := mv.stuck(p)
		switch {
		case err != nil:
			return out, fmt.Errorf("giving this node's partitions away: %w", err)
		case pinned:
			out.Pinned++
			continue
		case ringing && !what.Ringing:
			out.Ringing++
			continue
		}
		// No target: the leader knows who is fit to take it, but for those that this
		// node has just tried in vain.
		_, to, err := mv.yield(ctx, p.ID, p.Epoch, "", slices.Collect(maps.Keys(failed))...)
		if err != nil {
			if to != "" && (errors.Is(err, ownership.ErrUnreachable) || errors.Is(err, ownership.ErrBehind)) {
				failed[to] = true
			}
			out.Failed++
			last = fmt.Errorf("giving partition %s away: %w", p.ID, err)
			if errors.Is(err, ownership.ErrFull) || errors.Is(err, ownership.ErrNoBot) || errors.Is(err, ownership.ErrNoLeader) || errors.Is(err, ErrStopped) {
				return out, last // the next one would fare no better
			}
			continue
		}
		out.Moved++
	}
	return out, last
}

// stuck says what speaks against moving a partition now: an answered call with
// its media here, or a call that rings and is about to be answered here.
func (st *standing) stuck(p ownership.Partition) (pinned, ringing bool, err error) {
	if p.Live == 0 {
		return false, false, nil
	}
	now := time.Now()
	for _, state := range []ownership.CallState{ownership.CallAnswered, ownership.CallClaimed} {
		for k, err := range st.tb.Each(ownership.CallFilter{Partition: p.ID, State: state}) {
			if err != nil {
				return false, false, err
			}
			// What is reserved for another stays that one's, wherever the partition goes.
			pinned = pinned || state == ownership.CallAnswered && k.Pinned && k.Owner == st.self
			ringing = ringing || state == ownership.CallClaimed && now.Before(k.Deadline)
			if pinned {
				break
			}
		}
	}
	return pinned, ringing, nil
}

// keepDrain ends this node's own drain when its time is up: what can be moved is
// handed over. The owner does it, for it alone can stop first; where the owner
// is dead, the failover has done it. The time in the table is by the clock of
// whoever asked: a clock that is wrong moves calls early or late, and breaks
// nothing.
func (mv *moves) keepDrain() {
	tick := time.NewTicker(mv.cfg.Timings.Renew)
	defer tick.Stop()
	var told HandedOff
	for {
		select {
		case <-tick.C:
		case <-mv.ctx.Done():
			return
		}
		n, ok := mv.tb.Node(mv.self)
		if !ok || n.State != ownership.NodeDraining || n.DrainBy.IsZero() || time.Now().Before(n.DrainBy) {
			told = HandedOff{}
			continue
		}
		given, err := mv.HandOff(mv.ctx, HandingOff{Ringing: true})
		if given != told && given != (HandedOff{}) {
			mv.log.Info("the drain's time is up: calls that can be moved are handed over", "partitions_moved", given.Moved,
				"partitions_kept_for_pinned_calls", given.Pinned, "partitions_not_moved", given.Failed, "err", err)
		}
		told = given
	}
}
