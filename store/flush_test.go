package store

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/record"
)

// TestWriteBehind: a change reaches the file FlushEvery later by itself, or at
// once when many wait.
func TestWriteBehind(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"in time":  func(o *Options) { o.FlushEvery = time.Millisecond },
		"by count": func(o *Options) { o.FlushEvery, o.FlushAt = time.Hour, 3 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, change)
			r.join("a")
			for range 50 { // until then it may take a while, but not for ever
				again := r.nextFlush()
				if r.table.Durable() == r.index {
					return
				}
				select {
				case <-again:
				case <-time.After(10 * time.Second):
					t.Fatalf("entry %d did not reach the file by itself", r.index)
				}
			}
		})
	}
}

func (r *rig) nextFlush() <-chan struct{} {
	r.table.mu.RLock()
	defer r.table.mu.RUnlock()
	return r.table.flushed
}

// TestDurable: what Durable says is in the file, and nothing else is.
func TestDurable(t *testing.T) {
	r := newRig(t, func(o *Options) { o.FlushEvery = time.Hour })
	r.join("a")
	if r.table.Durable() != 0 || r.table.Applied() != 1 {
		t.Errorf("durable %d, applied %d before the flush", r.table.Durable(), r.table.Applied())
	}
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	r.claimOn(1, fit("a"), claim(callID(1)))
	if n := r.table.Counts(); n.Durable != 1 || n.Applied != 2 || n.Pending != 2 {
		t.Errorf("the counts are %+v", n)
	}
	st, meta, err := load(r.table.path)
	if err != nil {
		t.Fatal(err)
	}
	if st.applied != 1 || meta.GetTerm() != 3 || len(st.nodes) != 1 {
		t.Errorf("the file is at entry %d of term %d with %d nodes", st.applied, meta.GetTerm(), len(st.nodes))
	}
}

// TestSlowDisk: when too much waits for the disk, Apply waits too.
func TestSlowDisk(t *testing.T) {
	r := newRig(t, func(o *Options) { o.FlushEvery, o.MaxPending = time.Hour, 10 })
	r.table.flushMu.Lock() // the disk takes its time
	r.join("a", "b")       // six records and six events... as many as may wait
	applied := make(chan struct{})
	go func() {
		defer close(applied)
		r.table.Apply(&raft.Log{Index: 3, Term: 3, Type: raft.LogCommand, Data: mustEncode(t, ownership.Seen{At: at(1)})})
	}()
	select {
	case <-applied:
		t.Error("Apply went on although too much waited")
	case <-time.After(50 * time.Millisecond): // there is no event to wait for: it must not happen
	}
	r.table.flushMu.Unlock()
	<-applied
	if r.table.Applied() != 3 {
		t.Errorf("applied is %d", r.table.Applied())
	}
	r.index = 3
	if err := r.store.Log().StoreLog(&raft.Log{Index: 3, Term: 3, Type: raft.LogCommand, Data: mustEncode(t, ownership.Seen{At: at(1)})}); err != nil {
		t.Fatal(err)
	}
}

func mustEncode(t testing.TB, act ownership.Act) []byte {
	t.Helper()
	b, err := record.EncodeAct(act, record.Needs(act))
	if err != nil {
		t.Error(err)
	}
	return b
}

// TestF08_DiskFull fills a small file system under table.db: the table goes on
// from memory, says why it cannot write, and writes all of it once there is
// space.
func TestF08_DiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("SKIPPED F08: mounting a small file system needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	var fatal atomic.Pointer[error]
	table, err := openTable(filepath.Join(dir, fileTable), testStamp, Options{
		Logger: quiet(), FlushEvery: time.Hour, OnFatal: func(err error) { fatal.Store(&err) },
	}.withDefaults(), false)
	if err != nil {
		t.Fatal(err)
	}
	table.running.Go(table.writeBehind)
	index := uint64(0)
	apply := func(act ownership.Act) {
		index++
		table.Apply(&raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: mustEncode(t, act)})
	}
	n := node("a")
	n.Capacity = 100000
	apply(ownership.Join{At: at(0), Node: n, Partitions: 2})
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := fill(ballast); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		c := ownership.Claims{At: at(1), Fitness: fit("a")}
		for j := range 100 {
			c.Claims = append(c.Claims, claim(callID(1000*i+j)))
		}
		apply(c)
	}
	if err := table.Flush(); !files.LacksSpace(err) {
		t.Fatalf("on a full disk Flush gave %v", err)
	}
	if err := table.Err(); !files.LacksSpace(err) {
		t.Errorf("on a full disk the table says %v", err)
	}
	if _, ok := table.Call(callID(199099)); !ok || table.Durable() != 1 {
		t.Errorf("on a full disk the call is there: %v, durable %d", ok, table.Durable())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(15 * time.Second); table.Durable() != index; {
		if time.Now().After(deadline) {
			t.Fatalf("with space again the file is at %d of %d: %v", table.Durable(), index, table.Err())
		}
		table.mu.RLock()
		again := table.flushed
		table.mu.RUnlock()
		select {
		case <-again:
		case <-time.After(time.Second):
		}
	}
	if err := table.Err(); err != nil {
		t.Errorf("with space again the table says %v", err)
	}
	if f := fatal.Load(); f != nil {
		t.Errorf("a full disk stopped the node: %v", *f)
	}
	if err := table.close(); err != nil {
		t.Error(err)
	}
	if _, _, err := load(table.path); err != nil {
		t.Error(err)
	}
}

// fill writes until the file system is full.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for size := 1 << 20; size >= 512; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return f.Close()
}

// TestF09_FailedWrite: any failure but a lack of space stops the node; it must
// not try again.
func TestF09_FailedWrite(t *testing.T) {
	r := newRig(t, func(o *Options) { o.FlushEvery = time.Hour })
	told := make(chan error, 10)
	r.table.opt.OnFatal = func(err error) { told <- err }
	r.join("a")
	if err := r.table.db.Close(); err != nil { // no write can succeed now
		t.Fatal(err)
	}
	if err := r.table.Flush(); err == nil {
		t.Error("Flush says that all is well")
	}
	<-told
	if r.table.Durable() != 0 || r.table.Err() == nil {
		t.Errorf("durable is %d, the table says %v", r.table.Durable(), r.table.Err())
	}
	if err := r.store.Close(); err == nil {
		t.Error("Close after a failed write says that all is well")
	}
	r.store = nil
	if !files.Exists(filepath.Join(r.dir, fileRunning)) {
		t.Error("the next start would take this for a clean stop")
	}
}
