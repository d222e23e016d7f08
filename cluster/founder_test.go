package cluster

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"tandem/ownership"
	"tandem/store"
)

// TestAWipedFounderFoundsNothing: the node that founded the region lost its disk and
// is started with the very configuration of its first day, which names nobody. The
// leader is down, the third node lags: with the founder's empty vote it would lead
// without an acknowledged claim.
func TestAWipedFounderFoundsNothing(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	founder := nodes[0]
	for leaderOf(t, nodes...) == founder {
		_ = founder.TransferLeader(soon(t), "b") // under load it may come back
	}
	ldr := leaderOf(t, nodes...)
	behind := without(without(nodes, founder), ldr)[0]
	behind.stop()
	claim(t, ldr, 1)
	founder.stop()
	ldr.stop()
	back := func(n *testNode, join ...*testNode) {
		n.up(func(c *Config) {
			c.Listen = n.Addr()
			joining(join...)(c)
		})
	}
	founder.dir += "-new"
	back(behind, founder, ldr)
	back(founder)
	elections := time.NewTimer(8 * fast.Election)
	defer elections.Stop()
	for waiting := true; waiting; {
		select {
		case <-elections.C:
			waiting = false
		case <-time.After(pollEvery):
			if s := behind.Status(); s.State == "leader" {
				t.Fatalf("%s leads by the vote of an empty disk", behind.id)
			}
			if s := founder.Status(); s.Term != 0 || s.State == "leader" {
				t.Fatalf("the wiped founder is a %s at term %d", s.State, s.Term)
			}
		}
	}
	back(ldr, founder, behind)
	for _, n := range []*testNode{ldr, behind} {
		n.ready()
		eventually(t, "I3: the acknowledged claim is known", func() bool {
			_, known := n.Find(claimOf(1).Call)
			return known
		})
	}
	converge(t, []*testNode{ldr, behind})
	// Asked to found, it is told what to do.
	if err := founder.Found(soon(t)); err == nil {
		t.Error("it founded the region a second time")
	}
}

func TestFoundingIsRefusedOverARegion(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(1)
	if err := nodes[0].Found(soon(t)); !errors.Is(err, ownership.ErrConflict) || !strings.Contains(err.Error(), "has data of a region already") {
		t.Errorf("a node of a region founded one with %v", err)
	}
	if id := nodes[0].tb.Identity(); len(id) < 20 || nodes[0].Status().Identity != id {
		t.Errorf("the region's identity is %q, its status says %q", id, nodes[0].Status().Identity)
	}
	b := &testNode{r: r, id: "b", dir: r.dir + "/b"}
	r.nodes["b"] = b
	b.up(joining(nodes[0]))
	if err := b.Found(soon(t)); !errors.Is(err, ownership.ErrConflict) {
		t.Errorf("a node that joins founded a region with %v", err)
	}
	b.ready()
	if got := b.st.Lineage().Identity; got != nodes[0].tb.Identity() {
		t.Errorf("the newcomer's data are of region %q, want %q", got, nodes[0].tb.Identity())
	}
}

// TestANodeOfAnotherRegionOfTheSameNameIsRefused: two regions were founded under one
// name. Whoever comes over with its data ends, and is told how to heal that.
func TestANodeOfAnotherRegionOfTheSameNameIsRefused(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(1)
	b := &testNode{r: r, id: "b", dir: r.dir + "/b"}
	r.nodes["b"] = b
	b.up()
	if err := b.Found(soon(t)); err != nil {
		t.Fatal(err)
	}
	c := &testNode{r: r, id: "c", dir: r.dir + "/c"}
	r.nodes["c"] = c
	c.up(joining(b))
	c.ready()
	c.stop()
	b.stop()
	c.up(joining(nodes[0]))
	eventually(t, "it ends", func() bool { return len(c.fatals()) > 0 })
	if err := c.fatals()[0]; !errors.Is(err, ownership.ErrForeign) || !strings.Contains(err.Error(), "empty its data directory") {
		t.Errorf("it ended with %v", err)
	}
	if len(nodes[0].servers()) != 1 {
		t.Errorf("raft knows %v", nodes[0].servers())
	}
}

// TestANewcomerStandsForNoElectionBeforeItHasCaughtUp: the log that comes to it begins
// with the founder as the only voter. Where a node of the founder's id joins anew, and what
// comes ends there, raft would elect it by its own vote.
func TestANewcomerStandsForNoElectionBeforeItHasCaughtUp(t *testing.T) {
	r := newRegion(t, nil)
	waits := func(n *testNode) bool { return n.raft.ReloadableConfig().ElectionTimeout == never }
	nodes := r.form(3)
	n := &testNode{r: r, id: "n", dir: filepath.Join(r.dir, "n")}
	r.nodes["n"] = n
	n.up()
	if !waits(n) || !n.st.Lineage().Newcomer {
		t.Error("an empty node stands for election")
	}
	// What came so far is the founder's first entry.
	if err := n.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(n.id), Address: raft.ServerAddress(n.Addr())}}}).Error(); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n.up()
	if !waits(n) || !n.st.Lineage().Newcomer {
		t.Error("an end before it has caught up makes it stand for election")
	}
	n.admitted()
	if (candidate{n.entry}).Stands() {
		t.Error("it stands where a leader's process has ended")
	}
	n.stop()
	// An operator who recovers a region on such a disk says that it is to lead.
	st, err := store.Open(n.dir, store.Stamp{Deployment: testDeployment, Region: "emea", Node: n.id}, store.Options{Logger: testLogger()})
	if err != nil {
		t.Fatal(err)
	}
	if err := Recover(st, n.Addr(), testLogger()); err != nil || st.Lineage().Newcomer {
		t.Errorf("after a recovery it stands for no election: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		eventually(t, string(n.id)+" has caught up", func() bool { return !waits(n) && !n.st.Lineage().Newcomer })
		if got := n.raft.ReloadableConfig(); got.ElectionTimeout != n.cfg.Timings.Election || got.HeartbeatTimeout != n.cfg.Timings.Heartbeat {
			t.Errorf("%s waits %v for an election", n.id, got.ElectionTimeout)
		}
	}
}
