package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

const testSegment = 1 << 14

// deafMeta is a wal-meta.db that takes nothing any more once two segments are
// known: as if the process had ended before.
type deafMeta struct {
	metadb.BoltMetaDB
	once    sync.Once
	refused chan struct{}
}

func (m *deafMeta) CommitState(s types.PersistentState) error {
	if len(s.Segments) < 2 {
		return m.BoltMetaDB.CommitState(s)
	}
	m.once.Do(func() { close(m.refused) })
	return errors.New("the process has ended")
}

func fullEntry(i uint64) *raft.Log {
	return &raft.Log{Index: i, Term: 1, Data: bytes.Repeat([]byte{byte(i)}, 500)}
}

// sealedTail makes a log whose last segment is sealed and has no follower, and
// gives the index of its last entry.
func sealedTail(t *testing.T, dir string) uint64 {
	t.Helper()
	m := &deafMeta{refused: make(chan struct{})}
	w, err := wal.Open(dir, wal.WithMetaStore(m), wal.WithSegmentSize(testSegment), wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for !done(m.refused) {
		if err := (Log{w}).StoreLog(fullEntry(last + 1)); err != nil {
			if !errors.Is(err, ErrStuck) {
				t.Fatal(err)
			}
			break // the one after the seal; it waited for the rotation
		}
		last++
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return last
}

func done(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// goesOn proves that a log holds entries 1 to last, and takes a thousand more,
// which go over several segments.
func goesOn(t *testing.T, dir string, last uint64) {
	t.Helper()
	for range 2 { // written by one process, read by the next
		if err := finishRotation(dir, testSegment); err != nil {
			t.Fatal(err)
		}
		w, err := wal.Open(dir, wal.WithSegmentSize(testSegment), wal.WithLogger(hclog.NewNullLogger()))
		if err != nil {
			t.Fatal(err)
		}
		l := Log{w}
		if got, err := l.LastIndex(); err != nil || got != last {
			t.Fatalf("the log ends at %d (%v), want %d", got, err, last)
		}
		for range 1000 {
			if err := l.StoreLog(fullEntry(last + 1)); err != nil {
				t.Fatalf("entry %d: %v", last+1, err)
			}
			last++
		}
		if err := l.Check(1, last); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestF03_KilledAtTheEndOfASegment: the process ends after the append that has
// filled a segment and before the next segment is known. The node must go on
// writing where it was: it could never lead or follow again.
func TestF03_KilledAtTheEndOfASegment(t *testing.T) {
	dir := t.TempDir()
	goesOn(t, dir, sealedTail(t, dir))
}

// TestF05_PowerLossAtTheEndOfASegment: of the append that has filled the segment
// only a part reached the disk, each time another one. Its entry was never
// acknowledged and is gone; all others stay.
func TestF05_PowerLossAtTheEndOfASegment(t *testing.T) {
	for _, part := range []string{"entry", "index", "commit"} {
		t.Run(part, func(t *testing.T) {
			dir := t.TempDir()
			last := sealedTail(t, dir)
			lose(t, dir, part)
			goesOn(t, dir, last-1)
		})
	}
}

// lose overwrites a part of a sealed tail's last append with zeros.
func lose(t *testing.T, dir, part string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(data, "\x00"))
	at := map[string]int{"entry": bytes.LastIndex(data, fullEntry(tailEntry(t, dir)).Data) + 100, "index": end - 30, "commit": end - 4}[part]
	n := map[string]int{"entry": 64, "index": 8, "commit": 4}[part]
	if bytes.Equal(data[at:at+n], make([]byte, n)) {
		t.Fatalf("nothing stands at %d of %s", at, files[0])
	}
	copy(data[at:], make([]byte, n))
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// tailEntry is the index of the last entry in the only segment.
func tailEntry(t *testing.T, dir string) (last uint64) {
	t.Helper()
	db := &metadb.BoltMetaDB{}
	state, err := db.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := state.Segments[0]
	err = segment.NewFiler(dir, walfs.New()).DumpSegment(s.BaseIndex, s.ID, 0, 0, func(_ types.SegmentInfo, e types.LogEntry) (bool, error) {
		last = e.Index
		return true, nil
	})
	if err != nil {
		t.Fatal(fmt.Errorf("reading the segment: %w", err))
	}
	return last
}
