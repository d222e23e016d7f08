package regionsim

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// disk makes the raft log and the table of one process slow. The files are real;
// they lie in memory where the machine has such a place.
type disk struct {
	slow  atomic.Int64 // how long a write of the log takes
	apply atomic.Int64 // how long the table takes for an entry
	held  atomic.Bool  // nothing is written or applied
	under atomic.Int64 // writes of the log under way
}

// free waits as long as the disk is held.
func (d *disk) free() {
	for d.held.Load() {
		time.Sleep(5 * time.Millisecond)
	}
}

// let ends all that the disk suffers from.
func (d *disk) let() {
	d.slow.Store(0)
	d.apply.Store(0)
	d.held.Store(false)
}

// Table is cluster.Ground's.
func (d *disk) Table(table raft.FSM) raft.FSM { return slowTable{table, d} }

type slowTable struct {
	raft.FSM
	disk *disk
}

// Apply implements raft.FSM.
func (t slowTable) Apply(e *raft.Log) any {
	if slow := time.Duration(t.disk.apply.Load()); slow > 0 {
		time.Sleep(slow)
	}
	t.disk.free()
	return t.FSM.Apply(e)
}

// Log is cluster.Ground's.
func (d *disk) Log(log raft.LogStore) raft.LogStore { return slowLog{log, d} }

type slowLog struct {
	raft.LogStore
	disk *disk
}

// IsMonotonic implements raft.MonotonicLogStore for the log below: without it raft
// leaves a gap after a snapshot, which the log refuses.
func (l slowLog) IsMonotonic() bool {
	m, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// StoreLog implements raft.LogStore.
func (l slowLog) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs implements raft.LogStore. Half of the wait comes before the write, half
// after it: a crash meets both, an entry that is lost and one that is kept and
// that nobody heard of.
func (l slowLog) StoreLogs(entries []*raft.Log) error {
	l.disk.under.Add(1)
	defer l.disk.under.Add(-1)
	slow := time.Duration(l.disk.slow.Load())
	if slow > 0 {
		time.Sleep(slow / 2)
	}
	l.disk.free()
	err := l.LogStore.StoreLogs(entries)
	if slow > 0 {
		time.Sleep(slow / 2)
	}
	return err
}

// shelf returns a place for the data of a simulation.
func shelf() (string, error) {
	for _, in := range []string{"/dev/shm", ""} {
		if dir, err := os.MkdirTemp(in, "regionsim"); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("making a directory for the data of the nodes in %s failed", os.TempDir())
}

// lockFile is taken by the process that has the directory open; a copy has its own.
const lockFile = "lock"

// copyDisk copies a data directory as it is at this moment.
func copyDisk(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if d.Name() == lockFile {
			return nil
		}
		return copyFile(path, filepath.Join(to, rel))
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
