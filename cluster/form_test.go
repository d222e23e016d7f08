package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tandem/cluster/leader"
	"tandem/cluster/peerpb"
	"tandem/ownership"
)

func TestThreeNodesFormByJoin(t *testing.T) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	leaderOf(t, nodes...)
	for _, n := range nodes {
		eventually(t, "eight partitions for each node, known everywhere", func() bool {
			for _, o := range nodes {
				if len(n.tb.PartitionsOf(o.id)) != births {
					return false
				}
			}
			return true
		})
		if s := n.Status(); !s.Joined || !s.Voter || len(s.Peers) != 3 || !s.Leased || s.LeaseLeft <= 0 {
			t.Errorf("status of %s: %+v", n.id, s)
		}
		eventually(t, "the first change tells of the partitions born here", func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			got := 0
			for _, ch := range n.moved {
				got += len(ch.Got)
			}
			return got == births
		})
	}
}

func TestBootstrapExpectFoundsOneRegion(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	var nodes []*testNode
	for _, id := range []ownership.NodeID{"a", "b", "c"} {
		n := &testNode{r: r, id: id, dir: r.dir + "/" + string(id)}
		r.nodes[id] = n
		nodes = append(nodes, n)
	}
	// Fixed addresses, for each names the others before they run.
	addrs := freeAddrs(t, 3)
	for i, n := range nodes {
		n.up(func(c *Config) { c.Listen, c.Join, c.BootstrapExpect = addrs[i], addrs, 3 })
	}
	for _, n := range nodes {
		n.ready()
	}
	leaderOf(t, nodes...)
	for _, n := range nodes {
		eventually(t, "all three vote", func() bool { return len(n.votersHere()) == 3 })
	}
}

func TestANodeThatHasJustJoinedGetsALeaseToRenew(t *testing.T) {
	long(t)
	r := newRegion(t, calm)
	ldr := r.form(1)[0]
	leases := ldr.leading.Load().Leases
	eventually(t, "the leader is long in office", func() bool { return time.Now().After(leases.Over("b")) })
	b := &testNode{r: r, id: "b", dir: r.dir + "/b"}
	r.nodes["b"] = b
	resume := b.pause() // it has joined, and has yet to renew
	b.up(func(c *Config) { c.Join = []string{ldr.Addr()} })
	eventually(t, "partitions are born on it", func() bool { return len(ldr.tb.PartitionsOf("b")) > 0 })
	if !time.Now().Before(leases.Over("b")) {
		t.Error("the lease of a node that has just joined counts as over")
	}
	resume()
	b.ready()
	if ps := b.tb.PartitionsOf("b"); len(ps) != births || ps[0].Epoch != ownership.FirstEpoch {
		t.Errorf("it owns %+v, want the partitions that were born on it", ps)
	}
}

func TestGrantIsGivenOnce(t *testing.T) {
	var f founding
	now := time.Unix(100, 0)
	if !f.grant("a", now) || !f.grant("a", now.Add(time.Second)) {
		t.Error("the first founder did not get the word, or not twice")
	}
	if f.grant("b", now.Add(2*time.Second)) {
		t.Error("a second founder got the word while the first may still found")
	}
	if !f.grant("b", now.Add(time.Second+wordLasts+1)) {
		t.Error("the word was kept for ever")
	}
}

func TestRestartKeepsPartitionsAndUpdatesTheAddress(t *testing.T) {
	long(t)
	r := newRegion(t, func(c *Config) { c.Timings.Lease, c.Timings.Drift = 20*time.Second, time.Second })
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	n := without(nodes, ldr)[0]
	before := n.tb.PartitionsOf(n.id)
	old := n.Addr()
	n.restart(func(c *Config) { c.Listen = "127.0.0.1:0" })
	n.ready()
	if n.Addr() == old {
		t.Fatal("the node came back at its old address; the test needs another")
	}
	for _, o := range nodes {
		eventually(t, "the new address in the table, and at the others", func() bool {
			rec, _ := o.tb.Node(n.id)
			return rec.ClusterAddr == n.Addr() && o.where(n.id)[0] == n.Addr()
		})
	}
	for _, p := range before {
		if !n.HoldsPartition(p.ID, p.Epoch) {
			t.Errorf("partition %s at epoch %s was lost over a restart", p.ID, p.Epoch)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := n.moved[len(n.moved)-1]; len(last.Got) != len(before) || last.Got[0].From != n.id {
		t.Errorf("the change after a restart is %+v, want all partitions resumed", last)
	}
}

func TestF28_WipedNodeIsRefusedUntilRemoved(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	n := without(nodes, ldr)[0]
	n.stop()
	n.dir += "-new"
	rejoin := func(c *Config) { c.Join = []string{ldr.Addr()} }
	n.up(rejoin)
	eventually(t, "the wiped node ends", func() bool { return len(n.fatals()) == 1 })
	if err := n.fatals()[0]; !errors.Is(err, ownership.ErrConflict) {
		t.Errorf("the wiped node ended with %v", err)
	}
	n.stop()
	if err := ldr.Remove(soon(t), n.id); err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.fatal = nil
	n.mu.Unlock()
	n.up(rejoin)
	n.ready()
	if len(n.tb.PartitionsOf(n.id)) == 0 {
		t.Error("the new incarnation got no partitions")
	}
}

// TestF28_AWipedNodeGivesNoVote: with the leader down, a node that lost its disk
// and one that lags behind are two of three. Raft alone would let them elect a
// leader, and what only the leader and the lost disk held would be gone.
func TestF28_AWipedNodeGivesNoVote(t *testing.T) {
	long(t)
	t.Run("empty", func(t *testing.T) { wipedNodeGivesNoVote(t, false) })
	t.Run("all gone but its stamp", func(t *testing.T) { wipedNodeGivesNoVote(t, true) })
}

func wipedNodeGivesNoVote(t *testing.T, stamped bool) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	wiped, behind := without(nodes, ldr)[0], without(nodes, ldr)[1]
	behind.stop()
	claim(t, ldr, 1) // on the disks of the leader and of the node to be wiped
	wiped.stop()
	ldr.stop()
	addrs := map[*testNode]string{}
	for _, n := range nodes {
		addrs[n] = n.Addr()
	}
	again := func(n *testNode) {
		n.up(func(c *Config) {
			c.Listen = addrs[n]
			for _, o := range without(nodes, n) {
				c.Join = append(c.Join, addrs[o])
			}
		})
	}
	if stamped {
		stamp, err := os.ReadFile(filepath.Join(wiped.dir, "stamp.json"))
		if err := errors.Join(err, os.Mkdir(wiped.dir+"-new", 0o700), os.WriteFile(filepath.Join(wiped.dir+"-new", "stamp.json"), stamp, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	wiped.dir += "-new"
	again(wiped)
	again(behind)
	p := behind.links.To(wiped.self, wiped.Addr())
	if res, err := p.Term(t.Context(), &peerpb.TermRequest{}); err == nil {
		t.Errorf("the wiped node confirms leaders up to term %d", res.GetTerm())
	}
	eventually(t, "the node with data asks for votes in vain", func() bool { return behind.Status().State == "candidate" })
	elections := time.NewTimer(5 * fast.Election)
	defer elections.Stop()
	for waiting := true; waiting; {
		select {
		case <-elections.C:
			waiting = false
		case <-time.After(pollEvery):
			if s := behind.Status(); s.State == "leader" || s.Leader != "" {
				t.Fatalf("F28: %s leads by the vote of a node that lost its disk", s.Leader)
			}
		}
	}
	again(ldr)
	eventually(t, "the region goes on with what was acknowledged", func() bool {
		_, known := behind.Find(claimOf(1).Call)
		return known
	})
	eventually(t, "the wiped node ends", func() bool { return len(wiped.fatals()) == 1 })
}

func (n *testNode) fatals() []error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]error(nil), n.fatal...)
}

func TestB101_F29_ForeignJoinIsRefused(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(2)
	ldr := leaderOf(t, nodes...)
	other := nodes[1]
	good := leader.JoinRequest{Node: ldr.cfg.Node, Stamp: ldr.st.Stamp()}
	good.Node.ID, good.Stamp.Node = "x", "x"
	good.Node.Incarnation, good.Stamp.Incarnation = "inc", "inc"
	good.Node.ClusterAddr = "127.0.0.1:1"
	for _, tc := range []struct {
		name   string
		change func(*leader.JoinRequest)
		want   error
	}{
		{"B101 other deployment", func(q *leader.JoinRequest) { q.Stamp.Deployment = "fabrikam" }, ownership.ErrForeign},
		{"B101 other region", func(q *leader.JoinRequest) { q.Stamp.Region = "amer" }, ownership.ErrForeign},
		{"B101 record of another region", func(q *leader.JoinRequest) { q.Node.Region = "amer" }, ownership.ErrForeign},
		{"B101 record and stamp differ", func(q *leader.JoinRequest) { q.Stamp.Node = "y" }, ownership.ErrConflict},
		{"B101 own id with another incarnation", func(q *leader.JoinRequest) { q.Node.ID, q.Stamp.Node = ldr.id, ldr.id }, ownership.ErrConflict},
		{"B101 known id with another incarnation", func(q *leader.JoinRequest) { q.Node.ID, q.Stamp.Node = other.id, other.id }, ownership.ErrConflict},
		{"B101 address of another node", func(q *leader.JoinRequest) { q.Node.ClusterAddr = other.Addr() }, ownership.ErrUnreachable},
		{"B101 nobody at the address", func(*leader.JoinRequest) {}, ownership.ErrUnreachable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, n := range nodes { // by the leader itself, and forwarded
				req := good
				tc.change(&req)
				ctx := soon(t)
				if tc.want == ownership.ErrUnreachable { // it is tried again until the bound
					r := ldr.leading.Load()
					if _, err := r.Admit(ctx, req); !errors.Is(err, tc.want) {
						t.Errorf("admitted with %v, want %v", err, tc.want)
					}
					continue
				}
				if _, err := n.Join(ctx, req); !errors.Is(err, tc.want) {
					t.Errorf("on %s: joined with %v, want %v", n.id, err, tc.want)
				}
			}
		})
	}
	if got := len(ldr.servers()); got != 2 {
		t.Errorf("raft has %d servers after refused joins, want 2", got)
	}
}

func TestF29_StoreOfAnotherNodeIsRefused(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	n := r.form(1)[0]
	n.stop()
	n.dir, n.id = r.dir+"/z", "z"
	n.up()
	st := n.st
	cfg := n.config()
	cfg.Node.ID = "y"
	if _, err := Start(soon(t), cfg, st, Deps{}); !errors.Is(err, ownership.ErrForeign) {
		t.Errorf("started over another node's store with %v", err)
	}
}
