package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"tandem/store/files"
)

// TestF07_DamagedLog flips one bit at a time in the raft log. Each time the
// store must refuse to open with the way to heal it, or open, and then no entry
// may read as anything but what was written.
func TestF07_DamagedLog(t *testing.T) {
	r := filled(t)
	want := map[uint64]string{}
	var l raft.Log
	for i := uint64(1); i <= r.index; i++ {
		if err := r.store.Log().GetLog(i, &l); err != nil {
			t.Fatal(err)
		}
		want[i] = string(l.Data)
	}
	r.close()
	segments, err := filepath.Glob(filepath.Join(r.dir, dirLog, "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("looking for the log: %v, %v", segments, err)
	}
	whole, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	used := len(strings.TrimRight(string(whole), "\x00"))
	refused, opened := 0, 0
	for at := 0; at < used; at += max(1, used/60) {
		damaged := []byte(string(whole))
		damaged[at] ^= 1 << (at % 8)
		// A directory of its own: raft-wal keeps its lock when it refuses to open.
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(dir, os.DirFS(r.dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, dirLog, filepath.Base(segments[0])), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, testStamp, r.opt)
		if err != nil {
			if !strings.Contains(err.Error(), "to heal it") {
				t.Errorf("a bit at %d: refused without the way to heal it: %v", at, err)
			}
			refused++
			continue
		}
		opened++
		for i, data := range want {
			if err := s.Log().GetLog(i, &l); err == nil && string(l.Data) != data {
				t.Errorf("a bit at %d: entry %d reads as something else", at, i)
			}
		}
		if err := s.Close(); err != nil && !errors.Is(err, files.ErrDamaged) {
			t.Errorf("a bit at %d: closing: %v", at, err)
		}
	}
	t.Logf("%d bytes: refused %d times, opened %d times", used, refused, opened)
	if refused == 0 {
		t.Error("nothing was refused")
	}
}
