package cluster

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"tandem/ownership"
)

// snapshotOfAnother returns a snapshot of a region of the same name with calls.
func snapshotOfAnother(t *testing.T, calls int) []byte {
	t.Helper()
	r := newRegion(t, nil)
	nodes := r.form(3)
	for i := range calls {
		claim(t, nodes[0], i)
	}
	var saved bytes.Buffer
	if err := nodes[0].SaveSnapshot(soon(t), &saved); err != nil {
		t.Fatal(err)
	}
	return saved.Bytes()
}

// TestARestoreWaitsUntilNobodyActsByTheTableOfBefore: one node hears nothing of the
// restore for as long as its lease lasts. Until it acts no more, nobody acts by the
// restored table: the two may name different owners of a partition.
func TestARestoreWaitsUntilNobodyActsByTheTableOfBefore(t *testing.T) {
	long(t)
	saved := snapshotOfAnother(t, 200)
	r := newRegion(t, func(c *Config) {
		c.Timings.Lease = 2 * time.Second
		// The lead is to stay, on a busy machine too.
		c.Timings.Heartbeat, c.Timings.Election, c.Timings.LeaderLease = time.Second, time.Second, 900*time.Millisecond
	})
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	mine := ldr.tb.Identity()
	deaf := without(nodes, ldr)[0]
	eventually(t, "all act", func() bool { return ldr.Leased() && deaf.Leased() })
	deaf.cut()
	ctx, cancel := context.WithCancel(t.Context())
	var both atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		look := time.NewTicker(time.Millisecond)
		defer look.Stop()
		for ctx.Err() == nil {
			<-look.C
			if old := deaf.tb.Identity() == mine && deaf.Leased(); old {
				for _, n := range without(nodes, deaf) {
					if n.tb.Identity() != mine && n.Leased() {
						both.Add(1)
					}
				}
			}
		}
	}()
	term := ldr.raft.CurrentTerm()
	err := ldr.RestoreSnapshot(soon(t), bytes.NewReader(saved), ownership.RestoreTerms{Anyhow: true})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the others act again", func() bool {
		for _, n := range without(nodes, deaf) {
			if n.tb.Identity() == mine || !n.Leased() {
				return false
			}
		}
		return true
	})
	cancel()
	<-done
	if n := both.Load(); n > 0 {
		t.Errorf("%d times a look showed one node that acted by the table of before and another by the restored one", n)
	}
	if now := ldr.raft.CurrentTerm(); now != term || ldr.leading.Load() == nil {
		t.Errorf("the lead changed in term %d, now %d", term, now)
	}
}

// TestO34_AfterARestoreTheNodesShareThePartitions: each node of today has as many as
// it should have, and what was on the machines of before is spread over all.
func TestO34_AfterARestoreTheNodesShareThePartitions(t *testing.T) {
	long(t)
	saved := snapshotOfAnother(t, 60)
	r := newRegion(t, nil)
	nodes := r.form(3)
	if err := restore(t, leaderOf(t, nodes...), saved, ownership.RestoreTerms{Anyhow: true}); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		eventually(t, string(n.id)+" acts by the restored table", func() bool {
			ps := n.tb.PartitionsOf(n.id)
			return len(ps) > 0 && n.HoldsPartition(ps[0].ID, ps[0].Epoch)
		})
	}
	tb := nodes[0].tb
	own, left := make(map[ownership.NodeID]int), make(map[ownership.NodeID]int)
	for _, p := range tb.Partitions() {
		switch {
		case p.Retired:
		case p.Live > 0:
			left[p.Owner]++
		default:
			own[p.Owner]++
		}
	}
	for _, n := range nodes {
		if own[n.id]+left[n.id] < births || left[n.id] == 0 {
			t.Errorf("node %s has %d partitions of its own and %d of those before, want %d in all, and some of each; all: %v, %v",
				n.id, own[n.id], left[n.id], births, own, left)
		}
	}
}
