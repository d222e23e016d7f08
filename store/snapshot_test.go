package store

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"tandem/ownership"
	"tandem/store/files"
)

// memorySink is a raft.SnapshotSink in memory.
type memorySink struct {
	bytes.Buffer
	closed, cancelled bool
}

func (s *memorySink) ID() string    { return "memory" }
func (s *memorySink) Close() error  { s.closed = true; return nil }
func (s *memorySink) Cancel() error { s.cancelled = true; return nil }

// snapshotBytes takes a snapshot as raft does.
func (r *rig) snapshotBytes() []byte {
	r.Helper()
	snap, err := r.table.Snapshot()
	if err != nil {
		r.Fatal(err)
	}
	defer snap.Release()
	var sink memorySink
	if err := snap.Persist(&sink); err != nil {
		r.Fatal(err)
	}
	if !sink.closed || sink.cancelled {
		r.Fatalf("the sink is closed: %v, cancelled: %v", sink.closed, sink.cancelled)
	}
	return sink.Bytes()
}

// passSnapshot takes a snapshot and goes on with an empty store that restored
// it, as a node that fell far behind does.
func (r *rig) passSnapshot() {
	r.Helper()
	b := r.snapshotBytes()
	info, err := Inspect(bytes.NewReader(b))
	if err != nil {
		r.Fatal(err)
	}
	fresh := newRig(r.TB, func(o *Options) { *o = r.opt })
	if err := fresh.table.Restore(io.NopCloser(bytes.NewReader(b))); err != nil {
		r.Fatal(err)
	}
	// The raft snapshot and the log that go with it.
	sink, err := fresh.store.Snapshots().Create(raft.SnapshotVersionMax, info.Applied, info.Term, raft.Configuration{}, 1, nil)
	if err != nil {
		r.Fatal(err)
	}
	if _, err := sink.Write(b); err != nil {
		r.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		r.Fatal(err)
	}
	r.close()
	r.store, r.table, r.dir = fresh.store, fresh.table, fresh.dir
	fresh.store = nil
}

// filled returns a rig with a bit of everything.
func filled(t testing.TB, change ...func(*Options)) *rig {
	r := newRig(t, change...)
	r.join("a", "b")
	for i := range 40 {
		r.claimOn(i, fit("a", "b"), claim(callID(i+1), func(c *ownership.Claim) {
			c.Pinned = i%3 == 0
			c.Groups = []ownership.GroupKey{ownership.GroupKey("thread:" + string(rune('a'+i%7)))}
		}))
	}
	r.claimOn(41, fit("a"), claim("oddid"))
	for i := range 20 {
		r.must(ownership.Answered{At: at(50), Call: callID(i + 1), Epoch: 1})
	}
	for i := range 5 {
		r.must(ownership.Release{At: at(60), Call: callID(i + 30), Epoch: 1, Why: "over"})
	}
	r.must(ownership.Failover{At: at(70), Node: "a", Fitness: fit("b")})
	return r
}

func TestSnapshotRoundTrip(t *testing.T) {
	r := filled(t)
	sum, index := r.table.Hash()
	want, err := r.table.Events(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := r.snapshotBytes()
	info, err := Inspect(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	expect := SnapshotInfo{
		Deployment: "prod", Region: "emea", Applied: index, Term: 3, Format: 1, MadeAt: t0, MadeBy: "emea-1",
		Nodes: 2, Partitions: 4, Calls: 41, Live: info.Live, Events: len(want), Bytes: int64(len(b)), Hash: sum,
		NodeIDs: []ownership.NodeID{"a", "b"},
	}
	if live := r.live(); info.Live != live || live == 0 {
		t.Errorf("it says that %d calls are live, of %d", info.Live, live)
	}
	if diff := cmp.Diff(expect, info); diff != "" {
		t.Errorf("Inspect (-want +got):\n%s", diff)
	}

	fresh := newRig(t)
	fresh.join("z")
	fresh.index = 0
	if err := fresh.table.Restore(io.NopCloser(bytes.NewReader(b))); err != nil {
		t.Fatal(err)
	}
	if got, at := fresh.table.Hash(); got != sum || at != index || fresh.table.Durable() != index {
		t.Errorf("the restored table has hash %s at %d, want %s at %d", got, at, sum, index)
	}
	got, err := fresh.table.Events(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the restored history (-want +got):\n%s", diff)
	}
	if _, ok := fresh.table.Node("z"); ok {
		t.Error("the restored table still has what it held before")
	}
	if !bytes.Equal(fresh.snapshotBytes(), b) {
		t.Error("the snapshot of the restored table differs from the one it was restored from")
	}
	if err := fresh.store.Log().DeleteRange(1, 1); err != nil { // as raft does after a snapshot
		t.Fatal(err)
	}
	fresh.index = index
	fresh.claimOn(90, fit("b"), claim(callID(99)))
	if n := fresh.table.Counts(); n.Calls != 42 {
		t.Errorf("the restored table counts %+v", n)
	}
}

// TestSnapshotIsExact proves that a snapshot holds what the table held when it
// was asked for, whatever was applied before it is written.
func TestSnapshotIsExact(t *testing.T) {
	r := newRig(t, func(o *Options) { o.FlushEvery = time.Hour })
	r.join("a")
	r.claimOn(1, fit("a"), claim(callID(1)))
	r.table.flushMu.Lock() // the writer comes only later
	snap, err := r.table.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	want := r.table.Applied()
	r.claimOn(2, fit("a"), claim(callID(2)))
	r.table.flushMu.Unlock()
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	var sink memorySink
	if err := snap.Persist(&sink); err != nil {
		t.Fatal(err)
	}
	info, err := Inspect(&sink.Buffer)
	if err != nil {
		t.Fatal(err)
	}
	if info.Applied != want || info.Calls != 1 {
		t.Errorf("the snapshot holds %d calls at %d, want 1 at %d", info.Calls, info.Applied, want)
	}
}

func TestSnapshotReleased(t *testing.T) {
	r := filled(t)
	for i := range 6 {
		snap, err := r.table.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // once it is ready
			if err := r.table.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		snap.Release()
	}
	r.join("more")
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	r.table.mu.RLock()
	defer r.table.mu.RUnlock()
	if n := r.table.db.Stats().OpenTxN; n != 0 {
		t.Errorf("%d views of the file are still open", n)
	}
}

func TestSnapshotFullDisk(t *testing.T) {
	r := filled(t)
	snap, err := r.table.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	sink := &brokenSink{}
	if err := snap.Persist(sink); !errors.Is(err, errFull) || !sink.cancelled {
		t.Errorf("F08: a sink that is full gave %v, cancelled: %v", err, sink.cancelled)
	}
}

var errFull = errors.New("no space left")

type brokenSink struct{ memorySink }

func (*brokenSink) Write([]byte) (int, error) { return 0, errFull }

// TestF29_ForeignSnapshot also covers the other half of F28: stamps travel with
// snapshots.
func TestF29_ForeignSnapshot(t *testing.T) {
	b := filled(t).snapshotBytes()
	for name, change := range map[string]func(*Table){
		"another region":     func(x *Table) { x.region = "apac" },
		"another deployment": func(x *Table) { x.deployment = "test" },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.join("a")
			change(r.table)
			sum, _ := r.table.Hash()
			err := r.table.Restore(io.NopCloser(bytes.NewReader(b)))
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `it is of deployment "prod", region "emea"`) {
				t.Errorf("Restore gave %v", err)
			}
			if now, _ := r.table.Hash(); now != sum {
				t.Error("the refused snapshot changed the table")
			}
		})
	}
}

// TestF07_DamagedSnapshot flips bits and cuts the stream; the present table
// must stay.
func TestF07_DamagedSnapshot(t *testing.T) {
	b := filled(t).snapshotBytes()
	r := newRig(t)
	r.join("keep")
	sum, _ := r.table.Hash()
	try := func(what string, at int, damaged []byte) {
		if err := r.table.Restore(io.NopCloser(bytes.NewReader(damaged))); !errors.Is(err, files.ErrDamaged) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrNewerLayout) {
			t.Fatalf("%s at %d of %d: Restore gave %v", what, at, len(b), err)
		}
		if _, err := Inspect(bytes.NewReader(damaged)); err == nil {
			t.Fatalf("%s at %d: Inspect found nothing", what, at)
		}
	}
	step := len(b)/150 + 1
	for i := 0; i < len(b); i += step {
		damaged := bytes.Clone(b)
		damaged[i] ^= 1 << (i % 8)
		try("a flipped bit", i, damaged)
		try("the end", i, b[:i])
	}
	try("more bytes", len(b), append(bytes.Clone(b), 0))
	if now, _ := r.table.Hash(); now != sum || r.fatal != nil {
		t.Errorf("damaged snapshots changed the table, or stopped it: %v", r.fatal)
	}
	r.join("works") // and it goes on
	if err := r.table.Flush(); err != nil {
		t.Error(err)
	}
	r.reopen()
	if _, ok := r.table.Node("keep"); !ok {
		t.Error("the table lost what it held")
	}
	if left := r.table.path + ".restore"; files.Exists(left) {
		t.Errorf("%s was left behind", left)
	}
}

// TestRestoredUnderWrongIndex: raft would be at an index that the restored table
// has passed, and every act up to there would vanish without a word.
func TestRestoredUnderWrongIndex(t *testing.T) {
	b := filled(t).snapshotBytes()
	r := newRig(t)
	if err := r.table.Restore(io.NopCloser(bytes.NewReader(b))); err != nil {
		t.Fatal(err)
	}
	out := r.do(ownership.Seen{At: at(1)})
	if out.Err == nil || len(r.fatal) != 1 || !strings.Contains(out.Err.Error(), "older than the restored snapshot") {
		t.Errorf("an act below the restored index gave %v, fatal %v", out.Err, r.fatal)
	}
}

func TestSnapshotWhileReplaying(t *testing.T) {
	r := newRig(t)
	r.join("a", "b")
	r.close()
	r.open() // raft has yet to replay entries 1 and 2
	if _, err := r.table.Snapshot(); !errors.Is(err, ErrReplaying) {
		t.Errorf("a snapshot in the middle of the replay gave %v", err)
	}
	r.replay()
	r.snapshotBytes()
}

// TestF04_KilledWhileRestoring leaves what a crash leaves beside table.db.
func TestF04_KilledWhileRestoring(t *testing.T) {
	r := filled(t)
	sum, _ := r.table.Hash()
	r.close()
	for _, left := range []string{".restore", ".new"} {
		if err := os.WriteFile(r.table.path+left, []byte("half a file"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.open()
	if now, _ := r.table.Hash(); now != sum {
		t.Error("the table changed")
	}
	for _, left := range []string{".restore", ".new"} {
		if files.Exists(r.table.path + left) {
			t.Errorf("%s was not removed", left)
		}
	}
}

// TestD10_AnIndexThatNoRegionReachesIsRefused: raft counts on from a restored index,
// and past the end of its numbers it elects nobody and starts no more.
func TestD10_AnIndexThatNoRegionReachesIsRefused(t *testing.T) {
	taken := map[uint64]bool{1 << 40: true, maxIndex: true, maxIndex + 1: false, 1 << 63: false, math.MaxUint64 - 1: false, math.MaxUint64: false}
	for n, ok := range taken {
		for _, at := range []struct{ index, term uint64 }{{n, 3}, {1 << 20, n}} {
			r := filled(t)
			r.table.apply(at.index, at.term, ownership.Seen{At: t0})
			b := r.snapshotBytes()
			_, err := Inspect(bytes.NewReader(b))
			if ok && err != nil || !ok && !errors.Is(err, files.ErrDamaged) {
				t.Errorf("a snapshot at index %d of term %d: %v", at.index, at.term, err)
			}
			if err := newRig(t).table.Restore(io.NopCloser(bytes.NewReader(b))); (err == nil) != ok {
				t.Errorf("restoring a snapshot at index %d of term %d: %v", at.index, at.term, err)
			}
		}
	}
}
