package faultrig

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"tandem/faultrig/claims"
	"tandem/faultrig/fleet"
	"tandem/ownership"
)

// change is a planned change of owner.
type change struct {
	name string
	do   func(context.Context, *Stage, *fleet.Node, []ownership.CallID) error
}

func planned() []change {
	return []change{{"a move", moveAll}, {"a restart", restartOf}, {"a drain", drainOf}, {"an upgrade", upgradeOf}, {"a hand-back", handBack}}
}

// plannedChange: the first notification and a later one, sent again after the
// change with the same id, reach no bot a second time; and the owner that gives
// up acts no more, however hard it is pressed.
func plannedChange(ctx context.Context, s *Stage) error {
	all := planned()
	return s.changed(ctx, all[s.Round%len(all)])
}

// restartOfPinned: no partition moves, and what the node handled is known to it
// when it is back.
func restartOfPinned(ctx context.Context, s *Stage) error {
	return s.changed(ctx, change{"a restart with media", restartOf})
}

func (s *Stage) changed(ctx context.Context, c change) error {
	victim := s.Nodes[s.Round%len(s.Nodes)]
	calls, err := s.talkAt(ctx, victim, movedEach)
	if err != nil {
		return err
	}
	for _, id := range calls {
		if err := s.notify(ctx, victim, id, "established", "later"); err != nil {
			return err
		}
	}
	if err := c.do(ctx, s, victim, calls); err != nil {
		return err
	}
	if err := s.AwaitAll(ctx, fleet.HealWithin); err != nil {
		s.Break("after %s: %v", c.name, err)
		return nil
	}
	for j, id := range calls {
		s.repeat(ctx, s.Nodes[j%len(s.Nodes)], id, c.name)
	}
	s.repeats[c.name] = append(s.repeats[c.name], len(calls))
	return s.endAll(ctx, s.Nodes[0], calls)
}

// tellRepeats counts what was repeated, kind by kind.
func tellRepeats(_ context.Context, s *Stage) {
	for _, name := range slices.Sorted(maps.Keys(s.repeats)) {
		n := 0
		for _, calls := range s.repeats[name] {
			n += calls
		}
		s.Note("after %s: %d rounds, %d calls, the first and a later notification of each repeated: second answers and hand-overs %d",
			name, len(s.repeats[name]), n, s.again[name])
	}
}

// repeat posts the first notification of a call and a later one once more.
func (s *Stage) repeat(ctx context.Context, n *fleet.Node, id ownership.CallID, after string) {
	res, err := s.Load.First(ctx, n, id)
	if err == nil {
		_ = res.Body.Close() // the desk tells what came of it
		if res.StatusCode == http.StatusFound {
			res, err = s.Load.Post(ctx, claims.PlainCall, "", res.Header.Get("Location"), claims.PlainCall.Incoming(id))
			if err == nil {
				_ = res.Body.Close() // likewise
			}
		}
	}
	if err := s.notify(ctx, n, id, "established", "later"); err != nil {
		s.Break("repeating a notification after %s: %v", after, err)
	}
	if got := len(s.events(id, ownership.EventIncoming)); got != 1 {
		s.again[after]++
		s.Break("handled again: after %s call %s was rung %d times", after, id, got)
	}
	if got, _ := s.toldOf(id, "later"); got != 1 {
		s.again[after]++
		s.Break("handled again: after %s the later notification of call %s was handed over %d times", after, id, got)
	}
}

// moveAll moves the partitions of the calls one by one while they are hammered.
func moveAll(ctx context.Context, s *Stage, from *fleet.Node, calls []ownership.CallID) error {
	to := s.Others(from)[0]
	stop := s.hammer(ctx, from, calls)
	defer stop()
	moved := map[ownership.PartitionID]bool{}
	for _, id := range calls {
		told := s.Desk.Of(id)
		p := told[0].Partition
		if moved[p] {
			continue
		}
		moved[p] = true
		if err := to.API.Move(ctx, p, to.ID); err != nil {
			s.Note("moving partition %d: %v", p, err)
		}
		fleet.Pause(ctx, 100*time.Millisecond)
	}
	return nil
}

// handBack moves the partitions away and at once back.
func handBack(ctx context.Context, s *Stage, from *fleet.Node, calls []ownership.CallID) error {
	to := s.Others(from)[0]
	moved := map[ownership.PartitionID]bool{}
	for _, id := range calls {
		p := s.Desk.Of(id)[0].Partition
		if moved[p] {
			continue
		}
		moved[p] = true
		for _, n := range []*fleet.Node{to, from} {
			if err := to.API.Move(ctx, p, n.ID); err != nil {
				s.Note("moving partition %d to %s: %v", p, n.ID, err)
			}
		}
	}
	return nil
}

func restartOf(_ context.Context, s *Stage, n *fleet.Node, _ []ownership.CallID) error {
	if err := n.Stop(stopsWithin); err != nil {
		s.Break("%v", err)
	}
	return n.Start()
}

// upgradeOf is what `tandem upgrade run` does with a node.
func upgradeOf(ctx context.Context, s *Stage, n *fleet.Node, calls []ownership.CallID) error {
	if err := s.drained(ctx, n, calls); err != nil {
		return err
	}
	if err := restartOf(ctx, s, n, calls); err != nil {
		return err
	}
	if err := n.Ready(ctx, fleet.HealWithin); err != nil {
		return err
	}
	return fleet.Insist(ctx, func() error { return s.Others(n)[0].API.Undrain(ctx, n.ID) })
}

func drainOf(ctx context.Context, s *Stage, n *fleet.Node, calls []ownership.CallID) error {
	if err := s.drained(ctx, n, calls); err != nil {
		return err
	}
	return fleet.Insist(ctx, func() error { return s.Others(n)[0].API.Undrain(ctx, n.ID) })
}

// drained drains a node until none of the calls is in a partition of it.
func (s *Stage) drained(ctx context.Context, n *fleet.Node, calls []ownership.CallID) error {
	by := s.Others(n)[0]
	if err := fleet.Insist(ctx, func() error { return by.API.Drain(ctx, n.ID, time.Now().Add(time.Second)) }); err != nil {
		return fmt.Errorf("draining %s: %w", n.ID, err)
	}
	if !fleet.Until(ctx, drainFor, 100*time.Millisecond, func() bool {
		mine, err := partitionsOf(ctx, by, n.ID)
		if err != nil {
			return false
		}
		for _, p := range mine {
			for _, id := range calls {
				if s.Desk.Of(id)[0].Partition == p.ID {
					return false
				}
			}
		}
		return true
	}) {
		s.Break("%s after the end of its drain, %s still has partitions with calls that can move", drainFor, n.ID)
	}
	return nil
}
