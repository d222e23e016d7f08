package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"tandem/ownership"
)

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
		l := ldr.leading.Load()
		return l != nil && l.MayDismiss(soon(t), healthy.id) != nil
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
