package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"tandem/store/raftlog"
)

// brokenLog is a raft log on a disk that answers as it is told.
type brokenLog struct {
	*raft.InmemStore
	err error
}

func (b *brokenLog) StoreLogs(l []*raft.Log) error {
	if b.err != nil {
		return b.err
	}
	return b.InmemStore.StoreLogs(l)
}

func (b *brokenLog) SetUint64(key []byte, v uint64) error {
	if b.err != nil {
		return b.err
	}
	return b.InmemStore.SetUint64(key, v)
}

func TestLog(t *testing.T) {
	onFile := func(op string, cause error) error {
		return fmt.Errorf("writing a segment: %w", &fs.PathError{Op: op, Path: "raft/0001.wal", Err: cause})
	}
	tests := []struct {
		name  string
		err   error
		fatal bool
		lack  string
	}{
		{"it takes the entries", nil, false, ""},
		{"F08 the disk is full", onFile("write", syscall.ENOSPC), false, "no space left"},
		{"F08 the quota is used up", onFile("write", syscall.EDQUOT), false, "quota"},
		{"F09 EIO at a write", onFile("write", syscall.EIO), true, ""},
		{"F09 EIO at an fsync", onFile("sync", syscall.EIO), true, ""},
		{"F09 no space at an fsync: what was lost is unknown", onFile("sync", syscall.ENOSPC), true, ""},
		{"F09 the bare error of the kernel", fmt.Errorf("syncing: %w", syscall.EIO), true, ""},
		{"F08 no room for the next segment", fmt.Errorf("%w: segment is sealed", raftlog.ErrStuck), true, ""},
		{"closed under a slow stop", onFile("write", fs.ErrClosed), false, ""},
		{"not the disk's fault", errors.New("non-monotonic log entries"), false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			disk := &brokenLog{InmemStore: raft.NewInmemStore(), err: tt.err}
			var failed error
			l := NewLog(disk, disk, NewWatchdog("", time.Second, time.Second, nil), func(err error) { failed = err })
			if err := l.StoreLogs([]*raft.Log{{Index: 1}}); !errors.Is(err, tt.err) {
				t.Errorf("raft was told %v", err)
			}
			if (failed != nil) != tt.fatal {
				t.Errorf("the node was ended with %v, want it ended: %v", failed, tt.fatal)
			}
			lack := ""
			if p := l.lack.Load(); p != nil {
				lack = *p
			}
			if !strings.Contains(lack, tt.lack) || tt.lack == "" && lack != "" {
				t.Errorf("it says that the disk lacks %q, want %q", lack, tt.lack)
			}
			failed = nil
			if err := l.SetUint64([]byte("CurrentTerm"), 7); !errors.Is(err, tt.err) || (failed != nil) != tt.fatal {
				t.Errorf("a term that could not be kept: raft was told %v, the node was ended with %v", err, failed)
			}
			disk.err = nil
			if err := l.StoreLogs([]*raft.Log{{Index: 1}}); err != nil || l.lack.Load() != nil {
				t.Errorf("with space again: %v", err)
			}
			if l.IsMonotonic() {
				t.Error("it promises for the log below what that does not")
			}
		})
	}
}

// TestF54_AMachineThatStoodStillHasNoStalledDisk: a write that was under way when the
// process was stopped takes as long as the stop. The node that is thawed goes on; if
// the disk still does not answer, it ends.
func TestF54_AMachineThatStoodStillHasNoStalledDisk(t *testing.T) {
	w := NewWatchdog(t.TempDir(), 500*time.Millisecond, 3*time.Second, nil)
	const step = 125 * time.Millisecond
	for name, under := range map[string]*atomic.Int64{"the canary": &w.since, "an append": &w.append} {
		var awake standstill
		now := time.Duration(0)
		runs := func(until time.Duration) (ended time.Duration) {
			for ; now <= until; now += step {
				if w.hangs(&awake, now) {
					return now
				}
			}
			return 0
		}
		runs(10 * time.Second)
		under.Store(int64(now))
		runs(now + step)
		now += 20 * time.Second // it is stopped
		thawed := now
		if at := runs(thawed + 2*time.Second); at != 0 {
			t.Errorf("%s: the node ends %v after a stop of 20s", name, at-thawed)
		}
		if at := runs(thawed + 10*time.Second); at-thawed < 3*time.Second || at-thawed > 4*time.Second {
			t.Errorf("%s: with a disk that stands still the node ends %v after the stop, want a little over 3s", name, at-thawed)
		}
		under.Store(0)
	}
}
