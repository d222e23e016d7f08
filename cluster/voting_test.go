package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"tandem/ownership"
)

func TestVoting(t *testing.T) {
	for _, tc := range []struct{ voters, dead, ready, promote, demote int }{
		{1, 0, 1, 1, 0},
		{3, 0, 0, 0, 0},
		{3, 1, 0, 0, 0}, // two would both be needed
		{3, 1, 1, 1, 0}, // promote first
		{4, 1, 0, 0, 1}, // then demote
		{4, 1, 1, 1, 0},
		{5, 0, 1, 0, 0},
		{5, 1, 0, 0, 0},
		{5, 1, 1, 1, 0},
		{6, 1, 0, 0, 1},
		{6, 1, 3, 0, 1},
		{5, 2, 0, 0, 2},
		{4, 2, 0, 0, 0}, // nobody could decide it, and the leader's log would say it all the same
		{3, 2, 0, 0, 0},
		{3, 2, 1, 0, 0},
		{2, 1, 1, 0, 0},
	} {
		if p, d := voting(tc.voters, tc.dead, tc.ready); p != tc.promote || d != tc.demote {
			t.Errorf("%d voters, %d dead, %d ready: promote %d and demote %d, want %d and %d", tc.voters, tc.dead, tc.ready, p, d, tc.promote, tc.demote)
		}
	}
}

// TestO2_VotesFollowTheLiving: three nodes are replaced one by one under new names.
// When the newcomer votes the dead one does not, so the next death stops nothing.
func TestO2_VotesFollowTheLiving(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	dead := without(nodes, leaderOf(t, nodes...))[0]
	dead.cut()
	fresh := r.start("d")
	fresh.ready()
	rest := append(without(nodes, dead), fresh)
	voters := func() (ids []string) {
		for _, s := range leaderOf(t, rest...).servers() {
			if s.Suffrage == raft.Voter {
				ids = append(ids, string(s.ID))
			}
		}
		slices.Sort(ids)
		return ids
	}
	eventually(t, "the newcomer votes instead of the dead one", func() bool {
		ids := voters()
		return len(ids) == 3 && slices.Contains(ids, "d") && !slices.Contains(ids, string(dead.id))
	})
	second := without(without(rest, fresh), leaderOf(t, rest...))[0]
	second.cut()
	claim(t, leaderOf(t, without(rest, second)...), 1)
}

// TestARemovalThatLeavesNoLivingQuorumIsRefused: of three nodes one is dead and the
// operator takes out the wrong one. Nothing could be decided any more after that.
func TestARemovalThatLeavesNoLivingQuorumIsRefused(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	healthy, dead := without(nodes, ldr)[0], without(nodes, ldr)[1]
	dead.kill()
	eventually(t, "the leader misses it", func() bool {
		r := ldr.reign.Load()
		return r != nil && r.quorumWithout(healthy.id) != nil
	})
	err := ldr.Remove(soon(t), healthy.id)
	if !errors.Is(err, ownership.ErrConflict) || !strings.Contains(err.Error(), "start "+string(dead.id)+" again or remove it first") {
		t.Errorf("removing the healthy node gave %v", err)
	}
	if err := healthy.Leave(soon(t)); !errors.Is(err, ownership.ErrConflict) {
		t.Errorf("the healthy node left with %v", err)
	}
	eventually(t, "the node that could not leave acts on", func() bool { return healthy.Status().Leased })
	claim(t, healthy, 1)
	if err := leaderOf(t, ldr, healthy).Remove(soon(t), dead.id); err != nil {
		t.Errorf("removing the dead node gave %v", err)
	}
	claim(t, healthy, 2)
}

// TestO17_GoneNodesLeaveRaftsConfiguration: a removal was cut short between the
// table and raft.
func TestO17_GoneNodesLeaveRaftsConfiguration(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	n := without(nodes, leaderOf(t, nodes...))[0]
	n.stop()
	rest := without(nodes, n)
	ldr := leaderOf(t, rest...)
	if _, err := ldr.Do(soon(t), ownership.Depart{Node: n.id}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "raft knows it no more", func() bool { return len(leaderOf(t, rest...).servers()) == 2 })
	claim(t, rest[0], 1)
}
