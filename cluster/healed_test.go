package cluster

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"tandem/ownership"
	"tandem/store"
)

// TestO23_TroubleEndsWhenItHeals: a node that lost its quorum says so, and no longer
// once the quorum is back.
func TestO23_TroubleEndsWhenItHeals(t *testing.T) {
	long(t)
	r := newRegion(t, func(c *Config) { c.Timings.DeadVoter = time.Hour }) // or the second stop finds a region of one vote
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	others := without(nodes, ldr)
	for _, n := range others {
		n.stop()
	}
	eventually(t, "the node without a quorum says what is wrong", func() bool { return ldr.Status().Trouble != "" })
	for _, n := range others {
		n.up()
	}
	leaderOf(t, nodes...)
	for _, n := range nodes {
		eventually(t, "nothing is wrong any more", func() bool { return n.Status().Trouble == "" })
	}
}

// TestO24_SnapshotOfAnIdleRegion: right after a change of membership, with no claim
// since, every node can save the table; raft itself would refuse to.
func TestO24_SnapshotOfAnIdleRegion(t *testing.T) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	gone := without(nodes, ldr)[0]
	if err := ldr.raft.RemoveServer(raft.ServerID(gone.id), 0, 0).Error(); err != nil {
		t.Fatal(err)
	}
	if err := ldr.raft.Snapshot().Error(); err == nil {
		t.Log("raft takes snapshots behind its configuration now")
	}
	var saved bytes.Buffer
	if err := ldr.SaveSnapshot(soon(t), &saved); err != nil {
		t.Fatal(err)
	}
	if info, err := store.Inspect(&saved); err != nil || info.Nodes != 3 {
		t.Errorf("it holds %+v, %v", info, err)
	}
}

// TestO36_IndexesOfTwoHistoriesSayNothing: a region that was founded anew and took
// calls refuses a snapshot of before, whichever index is higher, until an operator
// says that its calls may go.
func TestO36_IndexesOfTwoHistoriesSayNothing(t *testing.T) {
	long(t)
	before := newRegion(t, nil)
	old := before.form(1)[0]
	claim(t, old, 1)
	var saved bytes.Buffer
	if err := old.SaveSnapshot(soon(t), &saved); err != nil {
		t.Fatal(err)
	}
	anew := newRegion(t, nil)
	nodes := anew.form(2)
	ldr := leaderOf(t, nodes...)
	for i := range 40 { // its index is higher than the snapshot's
		claim(t, ldr, 100+i)
	}
	follower := without(nodes, ldr)[0]
	for _, n := range []*testNode{ldr, follower} {
		err := n.RestoreSnapshot(soon(t), bytes.NewReader(saved.Bytes()), ownership.RestoreTerms{})
		if !errors.Is(err, ownership.ErrConflict) || !strings.Contains(err.Error(), "--yes") {
			t.Errorf("without a word of an operator: %v", err)
		}
	}
	if err := restore(t, follower, saved.Bytes(), ownership.RestoreTerms{Anyhow: true}); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		eventually(t, "the table of before is everywhere", func() bool {
			_, lost := n.tb.Known(claimOf(100).Call)
			_, back := n.tb.Known(claimOf(1).Call)
			return back && !lost
		})
	}
	claim(t, ldr, 500)
}

// TestO20_RaftsLinesOfASilentNode: raft's own, several a second, are not shown.
func TestO20_RaftsLinesOfASilentNode(t *testing.T) {
	var log bytes.Buffer
	l := store.RaftLogger(slog.New(slog.NewTextHandler(&log, nil)).With("node", "a"))
	l.Error("failed to heartbeat to", "peer", "10.0.0.1:8471", "error", io.EOF)
	l.Warn("failed to contact", "server-id", "b", "time", time.Second)
	if log.Len() > 0 {
		t.Errorf("raft repeats itself:\n%s", &log)
	}
	l.Error("something else", "node", "b", "time", time.Second, "msg", "x", "peer", "c")
	for _, key := range []string{"node=", "time=", "msg=", "level="} {
		if n := strings.Count(" "+log.String(), " "+key); n != 1 {
			t.Errorf("%s stands %d times in %s", key, n, &log)
		}
	}
	if !strings.Contains(log.String(), "raft_node=b") {
		t.Errorf("what raft says is lost: %s", &log)
	}
}
