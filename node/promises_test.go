package node

import (
	"strings"
	"testing"
	"time"

	"tandem/cluster"
	"tandem/ownership"
)

// What a node promises is no more than it can know: the leader who renewed, the
// others that the leader runs. The table says "active" of the dead too.
func TestPromisesAreWhatTheNodeCanKnow(t *testing.T) {
	t.Parallel()
	world := func(leader ownership.NodeID) (cluster.Status, []ownership.Node) {
		s := cluster.Status{Node: "a", Leader: leader, Leased: true}
		var nodes []ownership.Node
		for _, id := range []ownership.NodeID{"a", "b", "c"} {
			known := leader == "a"
			s.Peers = append(s.Peers, cluster.Peer{ID: id, Voter: true, Self: id == "a", Leader: id == leader, Leased: known, Bot: known})
			nodes = append(nodes, ownership.Node{ID: id, State: ownership.NodeActive})
		}
		return s, nodes
	}
	for _, tc := range []struct {
		name          string
		leader        ownership.NodeID
		change        func(*cluster.Status, []ownership.Node)
		claims, calls string // a part of the trouble; empty: the promise holds
	}{
		{"a leader of three", "a", func(*cluster.Status, []ownership.Node) {}, "", ""},
		{"a follower of three", "b", func(*cluster.Status, []ownership.Node) {}, "", ""},
		{"no leader", "", func(*cluster.Status, []ownership.Node) {}, "no leader", "no leader"},
		{"the named leader is silent", "b", func(s *cluster.Status, _ []ownership.Node) { s.Leased = false }, "no valid lease", "no valid lease"},
		{"the leader has no lease itself", "a", func(s *cluster.Status, _ []ownership.Node) { s.Leased = false }, "no valid lease", "no valid lease"},
		{"the leader's disk stalls", "a", func(s *cluster.Status, _ []ownership.Node) { s.DiskAge = 2 * time.Second }, "the disk has not answered", "the disk has not answered"},
		{"the leader's disk is full", "a", func(s *cluster.Status, _ []ownership.Node) { s.DiskTrouble = "no space" }, "no space", "no space"},
		{"a follower's disk stalls", "b", func(s *cluster.Status, _ []ownership.Node) { s.DiskAge = 2 * time.Second }, "", ""},
		{"one of the others is silent", "a", func(s *cluster.Status, _ []ownership.Node) { s.Peers[1].Leased = false }, "", "1 of 3 voters are left"},
		{"the others' bots are sick", "a", func(s *cluster.Status, _ []ownership.Node) { s.Peers[1].Bot, s.Peers[2].Bot = false, false }, "", "healthy bot"},
		{"one bot is well", "a", func(s *cluster.Status, _ []ownership.Node) { s.Peers[1].Bot = false }, "", ""},
		{"the others drain", "a", func(_ *cluster.Status, n []ownership.Node) {
			n[1].State, n[2].State = ownership.NodeDraining, ownership.NodeDraining
		}, "", "no other active node"},
		{"the leader drains", "b", func(_ *cluster.Status, n []ownership.Node) { n[1].State = ownership.NodeDraining }, "", "only it knows"},
		{"two voters", "b", func(s *cluster.Status, _ []ownership.Node) { s.Peers = s.Peers[:2] }, "", "1 of 2 voters are left"},
		{"alone", "a", func(s *cluster.Status, _ []ownership.Node) { s.Peers = s.Peers[:1] }, "", "0 of 1 voters are left"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, nodes := world(tc.leader)
			tc.change(&s, nodes)
			p := survives(s, nodes)
			calls, why := "", ""
			if p.Holds {
				why = p.Why
			} else {
				calls = p.Why
			}
			if p.Unknown != strings.Contains(p.Why, "and only it knows") {
				t.Errorf("unknown: %t, because of %q", p.Unknown, p.Why)
			}
			for what, got := range map[string][2]string{"claims": {stalled(s), tc.claims}, "calls-survive-their-node": {calls, tc.calls}} {
				if (got[0] == "") != (got[1] == "") || !strings.Contains(got[0], got[1]) {
					t.Errorf("%s: the trouble is %q, want %q", what, got[0], got[1])
				}
			}
			if (calls == "") != (why != "") {
				t.Errorf("it is in trouble with %q and well because of %q", calls, why)
			}
		})
	}
}
