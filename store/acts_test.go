package store

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

func TestJoin(t *testing.T) {
	r := newRig(t)
	r.join("a")
	if got := r.table.PartitionsOf("a"); len(got) != 2 || got[0].ID != 1 || got[1].ID != 2 || got[0].Epoch != 1 {
		t.Fatalf("the partitions born on a are %+v", got)
	}
	n, _ := r.table.Node("a")
	if n.State != ownership.NodeActive || !n.JoinedAt.Equal(at(0)) {
		t.Errorf("the node's record is %+v", n)
	}

	again := node("a")
	again.Version = "1.1"
	r.must(ownership.Join{At: at(9), Node: again, Partitions: 2})
	n, _ = r.table.Node("a")
	if n.Version != "1.1" || !n.JoinedAt.Equal(at(0)) || len(r.table.Partitions()) != 2 {
		t.Errorf("joining again with the same incarnation gave %+v and %d partitions", n, len(r.table.Partitions()))
	}
	want := []history.Kind{history.Joined, history.Born, history.Born, history.Updated}
	if got := r.kinds(0); !slices.Equal(got, want) {
		t.Errorf("the history is %v, want %v", got, want)
	}
}

func TestJoinRefused(t *testing.T) {
	change := func(f func(*ownership.Node)) ownership.Join {
		n := node("b")
		f(&n)
		return ownership.Join{At: at(1), Node: n, Partitions: 2}
	}
	cases := []struct {
		name string
		act  ownership.Join
		says string
	}{
		{"no id", change(func(n *ownership.Node) { n.ID = "" }), "1 to 255 bytes"},
		{"no incarnation", change(func(n *ownership.Node) { n.Incarnation = "" }), "names no incarnation"},
		{"F29 another region", change(func(n *ownership.Node) { n.Region = "apac" }), `belongs to region "apac"`},
		{"F26 too old for the region's format", change(func(n *ownership.Node) { n.Format = 0 }), "upgrade it first"},
		{"F27 the address of another node", change(func(n *ownership.Node) { n.ClusterAddr = "a.example:7400" }), "already has the address"},
		{"F28 wiped node under its old id", change(func(n *ownership.Node) { n.ID, n.ClusterAddr, n.Incarnation = "a", "a.example:7400", "other" }),
			"remove the node, then join it anew"},
		{"too many partitions", ownership.Join{At: at(1), Node: node("b"), Partitions: 5000}, "at most 4096"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.join("a")
			sum, _ := r.table.Hash()
			r.TB = t
			r.refused(c.act, ownership.ErrConflict, c.says)
			if now, _ := r.table.Hash(); now != sum {
				t.Error("the refused join changed the table")
			}
		})
	}
}

// TestF28_WipedNode tells the whole story: refused under its old id, accepted
// once the old one was removed, and the removed one never again.
func TestF28_WipedNode(t *testing.T) {
	r := newRig(t)
	r.join("a", "b")
	wiped := node("a")
	wiped.Incarnation = "new disk"
	r.refused(ownership.Join{At: at(1), Node: wiped, Partitions: 2}, ownership.ErrConflict, "its disk was lost or swapped")

	r.must(ownership.Depart{At: at(2), Node: "a", Fitness: fit("b")})
	r.refused(ownership.Join{At: at(3), Node: node("a"), Partitions: 2}, ownership.ErrConflict, "was removed from the region")
	r.must(ownership.Join{At: at(4), Node: wiped, Partitions: 2})
	got := r.table.PartitionsOf("a")
	if len(got) != 2 || got[0].ID != 5 || got[1].ID != 6 {
		t.Errorf("the new incarnation got %+v, want the fresh partitions 5 and 6", got)
	}
	if n, _ := r.table.Node("a"); n.State != ownership.NodeActive || !n.JoinedAt.Equal(at(4)) {
		t.Errorf("the node's record is %+v", n)
	}
}

func TestJoinAfterFailoverBearsPartitions(t *testing.T) {
	r := newRig(t)
	r.join("a", "b")
	r.claimOn(1, fit("a"), claim(callID(1)))
	r.must(ownership.Failover{At: at(2), Node: "a", Fitness: fit("b")})
	if got := r.table.PartitionsOf("a"); len(got) != 0 {
		t.Fatalf("after its failover a still owns %+v", got)
	}
	r.must(ownership.Join{At: at(3), Node: node("a"), Partitions: 2})
	if got := r.table.PartitionsOf("a"); len(got) != 2 || got[0].ID != 5 {
		t.Errorf("a came back and owns %+v, want two fresh partitions", got)
	}

	// What a lost is retired as it becomes empty: partition 1 or 2 holds the
	// call, the other one goes at once.
	r.must(ownership.Forget{At: at(4), Before: at(0)})
	if got := len(r.table.PartitionsOf("b")); got != 3 {
		t.Errorf("b owns %d partitions, want its own 2 and the one with the call", got)
	}
	r.must(ownership.Release{At: at(5), Call: callID(1)})
	r.must(ownership.Forget{At: at(9), Before: at(8)})
	if got := len(r.table.PartitionsOf("b")); got != 2 {
		t.Errorf("b owns %d partitions, want its own 2", got)
	}
}

func TestForgetRetiresPartitions(t *testing.T) {
	r := newRig(t)
	r.join("a", "b")
	r.claimOn(1, fit("a"), claim(callID(1)))
	r.must(ownership.Depart{At: at(2), Node: "a", Fitness: fit("b")})
	r.must(ownership.Forget{At: at(3), Before: at(3)})
	held := r.call(callID(1)).Partition
	for _, p := range r.table.Partitions() {
		if want := p.BornOn == "a" && p.ID != held; p.Retired != want {
			t.Errorf("partition %+v, retired should be %v", p, want)
		}
	}
	r.must(ownership.Release{At: at(4), Call: callID(1)})
	r.must(ownership.Forget{At: at(5), Before: at(5)})
	if got := len(r.table.PartitionsOf("b")); got != 2 {
		t.Errorf("b owns %d partitions, want its own 2", got)
	}
	r.refused(ownership.Move{At: at(6), Partition: held, Epoch: 2, To: "b"}, ownership.ErrConflict, "it is retired")
	r.reopen()
	r.must(ownership.Join{At: at(7), Node: node("c"), Partitions: 1})
	if got := r.table.PartitionsOf("c"); len(got) != 1 || got[0].ID != 5 {
		t.Errorf("the next partition is %+v, want number 5: numbers are never used again", got)
	}
}

func TestDrain(t *testing.T) {
	r := newRig(t)
	r.join("a", "b")
	r.refused(ownership.Drain{At: at(1), Node: "x"}, ownership.ErrUnknown, "draining")
	r.must(ownership.Drain{At: at(1), Node: "a", Until: at(60)})
	r.must(ownership.Drain{At: at(2), Node: "a", Until: at(60)})
	if n, _ := r.table.Node("a"); n.State != ownership.NodeDraining || !n.DrainBy.Equal(at(60)) {
		t.Errorf("the draining node is %+v", n)
	}
	if out := r.claimOn(3, fit("a", "b"), claim(callID(1))); out.Placements[0].Owner != "b" {
		t.Errorf("a new call went to %s", out.Placements[0].Owner)
	}
	update := node("a")
	update.Version = "2.0"
	r.must(ownership.Join{At: at(4), Node: update})
	if n, _ := r.table.Node("a"); n.State != ownership.NodeDraining || n.Version != "2.0" {
		t.Errorf("after a restart the draining node is %+v", n)
	}
	r.must(ownership.Undrain{At: at(5), Node: "a"})
	r.must(ownership.Undrain{At: at(6), Node: "a"})
	if n, _ := r.table.Node("a"); n.State != ownership.NodeActive || !n.DrainBy.IsZero() {
		t.Errorf("the undrained node is %+v", n)
	}
	r.must(ownership.Depart{At: at(7), Node: "a", Fitness: fit("b")})
	r.refused(ownership.Drain{At: at(8), Node: "a"}, ownership.ErrConflict, "was removed")
	r.refused(ownership.Undrain{At: at(8), Node: "a"}, ownership.ErrConflict, "was removed")
	want := []history.Kind{history.Draining, history.Claimed, history.Updated, history.Undrained, history.Moved, history.Moved, history.Gone}
	if got := r.kinds(0)[6:]; !slices.Equal(got, want) {
		t.Errorf("the history is %v, want %v", got, want)
	}
}

func TestDepart(t *testing.T) {
	r := newRig(t)
	r.join("a", "b")
	r.refused(ownership.Depart{At: at(1), Node: "x"}, ownership.ErrUnknown, "removing node")
	out := r.must(ownership.Depart{At: at(1), Node: "a"}) // nobody can take its partitions
	if len(out.Moves) != 0 || len(r.table.PartitionsOf("a")) != 2 {
		t.Errorf("without a survivor the moves are %+v", out.Moves)
	}
	out = r.must(ownership.Depart{At: at(2), Node: "a", Fitness: fit("b")})
	if len(out.Moves) != 2 || len(r.table.PartitionsOf("b")) != 4 {
		t.Errorf("asked again with a survivor the moves are %+v", out.Moves)
	}
}

func TestFailover(t *testing.T) {
	r := newRig(t)
	r.join("a", "b", "c")
	r.claimOn(1, fit("a"), claim(callID(1)), claim(callID(2)), claim(callID(3), pinned), claim(callID(4), pinned), claim(callID(5)))
	r.must(ownership.Answered{At: at(2), Call: callID(2), Epoch: 1})
	r.must(ownership.Answered{At: at(2), Call: callID(3), Epoch: 1})
	r.must(ownership.Release{At: at(2), Call: callID(5), Epoch: 1})
	r.refused(ownership.Failover{At: at(3), Node: "x"}, ownership.ErrUnknown, "moving the partitions")

	last := r.lastEvent()
	out := r.must(ownership.Failover{At: at(3), Node: "a", Fitness: fit("b", "c")})
	if len(out.Moves) != 2 || out.Moves[0].Epoch != 2 || out.Moves[0].From != "a" {
		t.Fatalf("the moves are %+v", out.Moves)
	}
	cases := []struct {
		id    ownership.CallID
		what  string
		state ownership.CallState
		epoch ownership.Epoch
	}{
		{callID(1), "ringing", ownership.CallClaimed, 2},
		{callID(2), "answered and movable", ownership.CallAnswered, 2},
		{callID(3), "answered with media of its own", ownership.CallOrphaned, 2},
		{callID(4), "ringing, media not yet there", ownership.CallClaimed, 2},
		{callID(5), "ended", ownership.CallEnded, 2},
	}
	for range 2 {
		for _, c := range cases {
			k, _ := r.table.Known(c.id)
			rec := r.call(c.id)
			if k.State != c.state || k.Epoch != c.epoch || rec.State != c.state || rec.Epoch != c.epoch {
				t.Errorf("the call that was %s is %+v, its record %s at epoch %d", c.what, k, rec.State, rec.Epoch)
			}
		}
		if n := r.table.Counts(); n.Live != 3 || r.table.Live("a") != 0 || r.table.Live("b")+r.table.Live("c") != 3 {
			t.Errorf("live calls: %d in all, %d on a", n.Live, r.table.Live("a"))
		}
		r.reopen()
	}
	adopted, orphaned := 0, 0
	events, err := r.table.Events(last, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		switch e.Kind {
		case history.Adopted:
			adopted++
		case history.Orphaned:
			orphaned++
			if e.Call != callID(3) || e.From != "a" || e.Node == "a" {
				t.Errorf("the event of the orphan is %+v", e)
			}
		}
	}
	if adopted != 3 || orphaned != 1 {
		t.Errorf("the history tells of %d adopted and %d orphaned calls", adopted, orphaned)
	}
	r.refused(ownership.Answered{At: at(5), Call: callID(3), Epoch: 2}, ownership.ErrConflict, "it is orphaned")
	if n, _ := r.table.Node("a"); n.State != ownership.NodeActive {
		t.Errorf("the node's record must stay, it is %s", n.State)
	}
	r.must(ownership.Release{At: at(6), Call: callID(3), Epoch: 2, Why: "rejoined"})
}

func TestMove(t *testing.T) {
	r := newRig(t)
	r.join("a", "b")
	out := r.claimOn(1, fit("a"), claim(callID(1)), claim(callID(2), pinned))
	movable, stuck := out.Placements[0].Partition, out.Placements[1].Partition
	r.must(ownership.Answered{At: at(2), Call: callID(2), Epoch: 1})
	r.refused(ownership.Move{At: at(2), Partition: 99, Epoch: 1, To: "b"}, ownership.ErrUnknown, "moving partition 99")
	r.refused(ownership.Move{At: at(2), Partition: movable, Epoch: 0, To: "b"}, ownership.ErrStaleEpoch, "epoch 0")
	r.refused(ownership.Move{At: at(2), Partition: movable, Epoch: 2, To: "b"}, ownership.ErrFutureEpoch, "epoch 2")
	r.refused(ownership.Move{At: at(2), Partition: movable, Epoch: 1, To: "x"}, ownership.ErrUnknown, `node "x"`)
	r.refused(ownership.Move{At: at(2), Partition: movable, Epoch: 1, To: "a"}, ownership.ErrConflict, "already owns it")
	r.refused(ownership.Move{At: at(2), Partition: stuck, Epoch: 1, To: "b"}, ownership.ErrConflict, "cannot move")
	done := r.must(ownership.Move{At: at(3), Partition: movable, Epoch: 1, To: "b"})
	want := []ownership.Reassignment{{Partition: movable, From: "a", To: "b", Epoch: 2}}
	if diff := cmp.Diff(want, done.Moves); diff != "" {
		t.Error(diff)
	}
	if k, _ := r.table.Known(callID(1)); k.Epoch != 2 || r.table.Live("b") != 1 {
		t.Errorf("the moved call is %+v, b has %d live calls", k, r.table.Live("b"))
	}
	r.must(ownership.Depart{At: at(4), Node: "a"})
	r.refused(ownership.Move{At: at(5), Partition: movable, Epoch: 2, To: "a"}, ownership.ErrConflict, "was removed")
}

// TestSkipsWhatItHolds: raft replays from its snapshot, the table passes over
// what table.db holds, to the very last entry of it.
func TestSkipsWhatItHolds(t *testing.T) {
	r := newRig(t, func(o *Options) { o.FlushEvery = time.Hour })
	r.join("a")
	r.claimOn(1, fit("a"), claim(callID(1)))
	r.reopen() // entries 1 and 2 are in the file
	var l raft.Log
	if err := r.store.Log().GetLog(2, &l); err != nil {
		t.Fatal(err)
	}
	if out := r.table.Apply(&l).(*ownership.Outcome); out.Placements != nil || out.Index != 2 || out.Err != nil {
		t.Errorf("an entry that the table holds was applied again: %+v", out)
	}
	if out := r.table.Apply(&raft.Log{Index: 3, Term: 3, Type: raft.LogNoop}); out != nil {
		t.Errorf("raft's own entry gave %+v", out)
	}
	r.claimOn(2, fit("a"), claim(callID(2)))
}

func TestSetFormat(t *testing.T) {
	const next = record.CommandFormat + 1
	r := newRig(t)
	old := node("a")
	old.Format = 1
	r.must(ownership.Join{At: at(0), Node: old, Partitions: 2})
	r.refused(ownership.SetFormat{At: at(1), Format: 2}, ownership.ErrConflict, "node a reads only up to 1")
	r.refused(ownership.SetFormat{At: at(1), Format: 0}, ownership.ErrConflict, "already writes 1")
	r.must(ownership.SetFormat{At: at(1), Format: 1})
	newer := node("a")
	newer.Format = next
	r.must(ownership.Join{At: at(2), Node: newer})
	r.must(ownership.SetFormat{At: at(3), Format: next})
	if got := r.table.Format(); got != next {
		t.Errorf("the region writes format %d", got)
	}
	r.close()
	if _, err := Open(r.dir, testStamp, r.opt); !errors.Is(err, ErrNewerLayout) {
		t.Errorf("F26: a region that writes format %d was opened by software that reads %d: %v", next, record.CommandFormat, err)
	}
}
