package cluster

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"tandem/ownership"
	"tandem/store"
	"tandem/store/files"
)

func TestSnapshotSaveAndRestore(t *testing.T) {
	long(t)
	r := newRegion(t, calm)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	placed := make(map[int]ownership.Placement)
	for i := range 30 {
		placed[i] = claim(t, nodes[i%3], i)
	}
	follower := without(nodes, ldr)[0]
	if err := follower.ReadBarrier(soon(t)); err != nil {
		t.Fatal(err)
	}
	var saved bytes.Buffer
	if err := follower.SaveSnapshot(soon(t), &saved); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := follower.SaveSnapshot(soon(t), &again); err != nil || again.Len() == 0 {
		t.Errorf("saving with nothing new gave %d bytes, %v", again.Len(), err)
	}
	info, err := store.Inspect(bytes.NewReader(saved.Bytes()))
	if err != nil || info.Calls != 30 {
		t.Fatalf("the snapshot holds %+v, %v", info, err)
	}
	claim(t, ldr, 100)
	cut := saved.Bytes()[:saved.Len()/2]
	for _, n := range []*testNode{ldr, follower} {
		if err := n.RestoreSnapshot(soon(t), bytes.NewReader(saved.Bytes()), ownership.RestoreTerms{}); !errors.Is(err, ownership.ErrConflict) {
			t.Errorf("B107: an older snapshot was restored with %v", err)
		}
		if err := n.RestoreSnapshot(soon(t), bytes.NewReader(cut), ownership.RestoreTerms{}); !errors.Is(err, files.ErrDamaged) {
			t.Errorf("B107: a truncated snapshot was restored with %v", err)
		}
	}

	l, given := ldr.leading.Load(), errors.New("given up")
	err = l.Restore(soon(t), func() error {
		if _, err := l.Renew(soon(t), ldr.renewal()); !errors.Is(err, ownership.ErrFenced) {
			t.Errorf("a lease was granted while the table is being replaced: %v", err)
		}
		return given
	})
	if !errors.Is(err, given) {
		t.Errorf("a restore that was given up ended with %v", err)
	}

	// All disks are lost; new nodes of the old names restore the region, one
	// through a follower.
	foreign := newRegion(t, func(c *Config) { c.Region = "amer"; c.TLS = nil })
	stranger := foreign.form(1)[0]
	if err := stranger.RestoreSnapshot(soon(t), bytes.NewReader(saved.Bytes()), ownership.RestoreTerms{}); !errors.Is(err, store.ErrForeign) {
		t.Errorf("B107: a foreign snapshot was restored with %v", err)
	}
	r2 := newRegion(t, nil)
	fresh := r2.form(2)
	ldr2 := leaderOf(t, fresh...)
	if err := restore(t, without(fresh, ldr2)[0], saved.Bytes(), ownership.RestoreTerms{}); err != nil {
		t.Fatal(err)
	}
	for _, n := range fresh {
		for i, p := range placed {
			eventually(t, "the restored calls are known everywhere", func() bool {
				k, ok := n.tb.Known(claimOf(i).Call)
				return ok && k.Partition == p.Partition
			})
		}
		eventually(t, "the nodes of today are in the restored table and act", func() bool {
			rec, ok := n.tb.Node(n.id)
			ps := n.tb.PartitionsOf(n.id)
			return ok && rec.Incarnation == n.cfg.Node.Incarnation && len(ps) > 0 && n.HoldsPartition(ps[0].ID, ps[0].Epoch)
		})
		claim(t, n, 200)
		if f := n.fatals(); len(f) > 0 {
			t.Errorf("%s ended: %v", n.id, f)
		}
	}
	eventually(t, "the partitions of the lost node c have an owner of today", func() bool {
		return len(fresh[0].tb.PartitionsOf("c")) == 0
	})
}

// TestF63_ARestoreOutlivesItsLeader: the leader that restores a snapshot into a region
// of another founding loses the lead before it has put the nodes of today into that
// table. The next leader does it; else every node is a stranger to the table, for good.
func TestF63_ARestoreOutlivesItsLeader(t *testing.T) {
	long(t)
	old := newRegion(t, nil)
	was := old.form(1)[0]
	placed := claim(t, was, 1)
	for i := range 300 { // the table of before must have come further than the new one
		claim(t, was, 10+i)
	}
	var saved bytes.Buffer
	if err := was.SaveSnapshot(soon(t), &saved); err != nil {
		t.Fatal(err)
	}
	info, err := store.Inspect(bytes.NewReader(saved.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	r := newRegion(t, calm)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	err = ldr.leading.Load().Restore(soon(t), func() error { // the lead is lost in the middle of it
		meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: info.Applied, Term: info.Term, Size: info.Bytes}
		if err := ldr.raft.Restore(meta, bytes.NewReader(saved.Bytes()), patience); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all nodes have the restored table", func() bool {
			return !slices.ContainsFunc(nodes, func(n *testNode) bool { return n.tb.Identity() != was.tb.Identity() })
		})
		return ldr.raft.LeadershipTransfer().Error()
	})
	if !errors.Is(err, ownership.ErrNotLeader) && !errors.Is(err, ownership.ErrNoLeader) {
		t.Fatalf("the restore ended with %v", err)
	}
	for _, n := range nodes {
		eventually(t, "the nodes of today are in the restored table and act", func() bool {
			rec, ok := n.tb.Node(n.id)
			ps := n.tb.PartitionsOf(n.id)
			return ok && rec.Incarnation == n.cfg.Node.Incarnation && len(ps) > 0 && n.HoldsPartition(ps[0].ID, ps[0].Epoch)
		})
		if k, ok := n.tb.Known(claimOf(1).Call); !ok || k.Partition != placed.Partition {
			t.Errorf("call 1 is %+v, %v", k, ok)
		}
		if f := n.fatals(); len(f) > 0 {
			t.Errorf("%s ended: %v", n.id, f)
		}
	}
	claim(t, nodes[0], 1000)
}

func TestF30_RecoverFromPermanentQuorumLoss(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	leaderOf(t, nodes...)
	placed := make(map[int]ownership.Placement)
	for i := range 20 {
		placed[i] = claim(t, nodes[i%3], i)
	}
	converge(t, nodes)
	survivor := nodes[0]
	addr := survivor.Addr()
	for _, n := range nodes {
		n.stop()
	}
	st, err := store.Open(survivor.dir, store.Stamp{Deployment: testDeployment, Region: "emea", Node: survivor.id},
		store.Options{Logger: testLogger(), SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	// The operator's word is the newest: what others said of this disk is over.
	if err := st.MarkSetBack("node b said so"); err != nil {
		t.Fatal(err)
	}
	if err := Recover(st, addr, testLogger()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	survivor.up(func(c *Config) { c.Listen = addr })
	survivor.ready()
	for i, p := range placed {
		if k, ok := survivor.tb.Known(claimOf(i).Call); !ok || k.Partition != p.Partition {
			t.Errorf("I3: call %d is %+v, %v after the recovery", i, k, ok)
		}
	}
	claim(t, survivor, 100)
	for _, lost := range nodes[1:] {
		eventually(t, "the lost node "+string(lost.id)+" is taken out of the table", func() bool {
			n, _ := survivor.tb.Node(lost.id)
			return n.State == ownership.NodeGone && len(survivor.tb.PartitionsOf(lost.id)) == 0
		})
	}
	// The second survivor comes back with its data, which may have diverged.
	second := nodes[1]
	second.up(func(c *Config) { c.Listen, c.Join = second.Addr(), []string{addr} })
	eventually(t, "the second survivor is refused", func() bool { return len(second.fatals()) == 1 })
	if err := second.fatals()[0]; !errors.Is(err, ownership.ErrGone) || !strings.Contains(err.Error(), "empty its data directory") {
		t.Errorf("the second survivor ended with %v", err)
	}
	second.stop()
	second.dir += "-new"
	second.up(func(c *Config) { c.Join = []string{addr} })
	second.ready()
	converge(t, []*testNode{survivor, second})
	empty, err := store.Open(t.TempDir(), store.Stamp{Deployment: testDeployment, Region: "emea", Node: "z"}, store.Options{Logger: testLogger()})
	if err != nil {
		t.Fatal(err)
	}
	if err := Recover(empty, "", nil); !errors.Is(err, ownership.ErrUnknown) {
		t.Errorf("recovering an empty store gave %v", err)
	}
	if err := empty.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestARestoreAtANodeThatLeadsNoMoreSaysSo: a follower still believes in a leader that
// leads no more. Its caller is told that there is no leader, and may try again.
func TestARestoreAtANodeThatLeadsNoMoreSaysSo(t *testing.T) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	converge(t, nodes)
	var saved bytes.Buffer
	if err := ldr.SaveSnapshot(soon(t), &saved); err != nil {
		t.Fatal(err)
	}
	followers := without(nodes, ldr)
	followers[0].leader.set(followers[1].id, followers[1].Addr())
	err := followers[0].RestoreSnapshot(soon(t), &saved, ownership.RestoreTerms{})
	if !errors.Is(err, ownership.ErrNoLeader) {
		t.Errorf("a restore at a leader of before: %v", err)
	}
}

// restore restores a snapshot from a node, again where the region lost its leader
// meanwhile: a busy machine may. What was carried out without an answer is refused then,
// for it is in the table.
func restore(t *testing.T, n *testNode, saved []byte, terms ownership.RestoreTerms) (err error) {
	t.Helper()
	tries := 0
	eventually(t, "a restore with a leader to the end", func() bool {
		tries++
		err = n.RestoreSnapshot(soon(t), bytes.NewReader(saved), terms)
		return !errors.Is(err, ownership.ErrNoLeader)
	})
	if tries > 1 && errors.Is(err, ownership.ErrConflict) {
		return nil
	}
	return err
}
