package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
)

// copyTo copies the data directory of a node that does not run.
func (n *testNode) copyTo(dir string) *testNode {
	n.r.t.Helper()
	if err := os.CopyFS(dir, os.DirFS(n.dir)); err != nil {
		n.r.t.Fatal(err)
	}
	c := &testNode{r: n.r, id: n.id, dir: dir}
	n.r.t.Cleanup(c.stop)
	return c
}

func joining(nodes ...*testNode) func(*Config) {
	return func(c *Config) {
		for _, n := range nodes {
			c.Join = append(c.Join, n.Addr())
		}
	}
}

// TestO1_OneOfTwoProcessesOnCopiedDataActs: the data of a stopped node are copied
// and both are started, at addresses of their own. Never do both act, one of them
// ends and says where the other one is.
func TestO1_OneOfTwoProcessesOnCopiedDataActs(t *testing.T) {
	long(t)
	for _, order := range []string{"the copy after", "both at once"} {
		t.Run(order, func(t *testing.T) {
			r := newRegion(t, nil)
			nodes := r.form(3)
			ldr := leaderOf(t, nodes...)
			n := without(nodes, ldr)[0]
			rest := without(nodes, n)
			theirs := n.tb.PartitionsOf(n.id)
			n.stop()
			twin := n.copyTo(filepath.Join(r.dir, "copy"))
			n.up(joining(rest...))
			if order == "the copy after" {
				n.ready()
			}
			twin.up(joining(rest...))
			eventually(t, "one of the two ends, and never do both act", func() bool {
				for _, p := range theirs {
					if n.HoldsPartition(p.ID, p.Epoch) && twin.HoldsPartition(p.ID, p.Epoch) {
						t.Fatalf("I5: both act on partition %s", p.ID)
					}
				}
				return len(n.fatals())+len(twin.fatals()) > 0
			})
			lives, ends := n, twin
			if len(n.fatals()) > 0 {
				lives, ends = twin, n
			}
			if order == "the copy after" && lives != n {
				t.Error("the process that acted had to end")
			}
			err := ends.fatals()[0]
			if !errors.Is(err, ownership.ErrTwin) || !strings.Contains(err.Error(), "another process with the data of "+string(n.id)) {
				t.Errorf("it ended with %v", err)
			}
			lives.ready()
			if len(lives.fatals()) > 0 {
				t.Errorf("the other one ended too: %v", lives.fatals())
			}
			if !ends.trans.NotAdmitted.Load() {
				t.Error("the process that ended took part in raft: two votes under one id")
			}
		})
	}
}

// TestO1_ACopyOfALivingNodeEnds: the copy was taken from a snapshot of the disk, so
// that it descends from the process that acts. Its question is answered by the
// renewals of that one.
func TestO1_ACopyOfALivingNodeEnds(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	n := without(nodes, leaderOf(t, nodes...))[0]
	rest := without(nodes, n)
	twin := n.copyTo(filepath.Join(r.dir, "copy"))
	twin.up(joining(rest...))
	eventually(t, "the copy ends", func() bool { return len(twin.fatals()) > 0 })
	if err := twin.fatals()[0]; !errors.Is(err, ownership.ErrTwin) {
		t.Errorf("it ended with %v", err)
	}
	if !twin.trans.NotAdmitted.Load() || len(n.fatals()) > 0 || !n.lease.Valid(time.Now()) {
		t.Errorf("the copy was admitted, or the living one suffered: %v", n.fatals())
	}
}

// TestACopyOfTheLeaderEnds: the leader has let its lease run out, as one does that is
// about to leave, and still no other process becomes that node while it leads.
func TestACopyOfTheLeaderEnds(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	ldr.lease.Drop()
	eventually(t, "its lease is over", func() bool {
		l, err := ldr.leads()
		return err == nil && !l.Leases.Leased(ldr.id, time.Now())
	})
	twin := ldr.copyTo(filepath.Join(r.dir, "copy"))
	twin.up(joining(nodes...))
	eventually(t, "the copy ends", func() bool { return len(twin.fatals()) > 0 })
	if err := twin.fatals()[0]; !errors.Is(err, ownership.ErrTwin) {
		t.Errorf("it ended with %v", err)
	}
	if n, _ := ldr.tb.Node(ldr.id); n.Process != ldr.process || len(ldr.fatals()) > 0 {
		t.Errorf("process %s is the leader's node, and %s leads: %v", n.Process, ldr.process, ldr.fatals())
	}
}

// TestARestartIsTheSameNode: after a stop in order the next process is admitted at
// once, after a kill when the lease of the one before is over; nobody takes its
// partitions meanwhile.
func TestARestartIsTheSameNode(t *testing.T) {
	long(t)
	r := newRegion(t, func(c *Config) { c.Timings.Lease, c.Timings.Drift = 4*time.Second, 100*time.Millisecond })
	nodes := r.form(3)
	n := without(nodes, leaderOf(t, nodes...))[0]
	theirs := n.tb.PartitionsOf(n.id)
	first := n.process
	begun := time.Now()
	n.restart()
	n.ready()
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("after a stop in order it took %v, so it waited for a lease", took)
	}
	if n.process == first {
		t.Error("the process has the id of the one before")
	}
	if l := n.st.Lineage(); slices.Contains(l.Ancestors, first) {
		eventually(t, "the ancestors are forgotten once the table names the process", func() bool {
			return len(n.st.Lineage().Ancestors) == 1
		})
	}
	last, heard := leaderOf(t, nodes...).leading.Load().Leases.Last(n.id)
	if last.Process != n.process || heard.IsZero() {
		t.Errorf("the leader heard process %q last, want %q", last.Process, n.process)
	}
	n.kill()
	n.up(func(c *Config) {
		joining(without(nodes, n)...)(c)
	})
	n.ready()
	for _, p := range theirs {
		if got, ok := n.tb.Partition(p.ID); !ok || got.Owner != n.id || got.Epoch != p.Epoch {
			t.Errorf("partition %s is %+v after a restart, want it as it was at epoch %s", p.ID, got, p.Epoch)
		}
	}
}

// TestARegionOfTwoKeepsItsLeaderOverARestart: the leader can decide nothing without
// the other vote, so not even to admit the process that is to give it.
func TestARegionOfTwoKeepsItsLeaderOverARestart(t *testing.T) {
	long(t)
	r := newRegion(t, func(c *Config) {
		c.Timings.Heartbeat, c.Timings.Election, c.Timings.LeaderLease = 2*time.Second, 2*time.Second, 1800*time.Millisecond
		c.Timings.Lease, c.Timings.Decide = 4*time.Second, 10*time.Second
	})
	nodes := r.form(2)
	ldr := leaderOf(t, nodes...)
	term := ldr.raft.CurrentTerm()
	n := without(nodes, ldr)[0]
	n.restart()
	n.ready()
	claim(t, n, 1)
	if now := ldr.raft.CurrentTerm(); now != term {
		t.Errorf("the region lost its leader: its term was %d and is %d", term, now)
	}
}

// kill stops the node as a kill -9 does: nothing says that it ended in order.
func (n *testNode) kill() {
	n.r.t.Helper()
	n.cut()
	before, err := os.ReadFile(filepath.Join(n.dir, "lineage.json"))
	if err != nil {
		n.r.t.Fatal(err)
	}
	n.stop()
	if err := os.WriteFile(filepath.Join(n.dir, "lineage.json"), before, 0o600); err != nil {
		n.r.t.Fatal(err)
	}
}

// TestAllNodesAreKilledAndComeBack: no leader is left that could admit anybody.
func TestAllNodesAreKilledAndComeBack(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	claim(t, nodes[0], 1)
	for _, n := range nodes {
		n.kill()
	}
	for _, n := range nodes {
		n.up(func(c *Config) {
			c.Listen = n.Addr()
			joining(without(nodes, n)...)(c)
		})
	}
	for _, n := range nodes {
		n.ready()
	}
	claim(t, nodes[1], 2)
}

// TestAncestorsAreKeptUntilTheTableIsOnDisk: a crash sets a table back to what is on
// disk, which may name the process of before. The node must know then that it descends
// from that one, or the others take it for a copy.
func TestAncestorsAreKeptUntilTheTableIsOnDisk(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	n := without(r.form(3), leaderOf(t, r.nodes["a"], r.nodes["b"], r.nodes["c"]))[0]
	former := n.process
	for range 5 {
		n.restart()
		var unnamed uint64 // the last index at which the table did not name the process
		eventually(t, "the ancestors are given up", func() bool {
			at := n.tb.Applied()
			if n.named(n.id) != n.process {
				unnamed = at
			}
			if slices.Contains(n.st.Lineage().Ancestors, former) {
				return false
			}
			if on := n.tb.Durable(); on <= unnamed {
				t.Errorf("given up at entry %d of the table on disk; at %d it did not name the process", on, unnamed)
			}
			return true
		})
		former = n.process
	}
}

// TestO1_AProcessIsAliveForAsLongAsTheRegionsLeasesLast, whatever its own file says:
// a word given earlier would let two processes of one node act.
func TestO1_AProcessIsAliveForAsLongAsTheRegionsLeasesLast(t *testing.T) {
	r := newRegion(t, nil)
	n := r.form(1)[0]
	n.ready()
	length := 4 * n.cfg.Timings.Lease
	if err := n.SetLease(soon(t), length); err != nil {
		t.Fatal(err)
	}
	if got := n.present.Alive(); got < length+n.cfg.Timings.Drift {
		t.Errorf("a process counts as alive for %v, its lease may last %v", got, length)
	}
}
