package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/raft"

	"tandem/store/files"
	"tandem/store/raftlog"
)

// Log is the raft log, with raft's few own values, under guard. Raft itself only steps down when an
// append fails, and tries again later: after a failed fsync it would then
// acknowledge entries that the disk does not hold, for the kernel has dropped
// the pages that it could not write ("fsyncgate", 2018; PostgreSQL has ended the
// process there since).
type Log struct {
	raft.LogStore
	stable raft.StableStore
	disk   *Watchdog
	failed func(error)            // a write failed in a way that never heals
	lack   atomic.Pointer[string] // why the last append failed for want of space; nil: it did not
}

// NewLog guards a log. failed is called once a write has failed in a way that never
// heals.
func NewLog(log raft.LogStore, stable raft.StableStore, w *Watchdog, failed func(error)) *Log {
	return &Log{LogStore: log, stable: stable, disk: w, failed: failed}
}

// StoreLog implements raft.LogStore.
func (l *Log) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (l *Log) StoreLogs(entries []*raft.Log) error {
	return l.note("appending to the raft log", l.disk.appending(func() error { return l.LogStore.StoreLogs(entries) }))
}

// DeleteRange implements raft.LogStore.
func (l *Log) DeleteRange(first, last uint64) error {
	return l.note("cutting the raft log", l.LogStore.DeleteRange(first, last))
}

// Set implements raft.StableStore. Raft goes on after a vote that it could not
// keep.
func (l *Log) Set(key, value []byte) error {
	return l.note("keeping raft's vote", l.stable.Set(key, value))
}

// SetUint64 implements raft.StableStore.
func (l *Log) SetUint64(key []byte, value uint64) error {
	return l.note("keeping raft's term", l.stable.SetUint64(key, value))
}

// Get implements raft.StableStore.
func (l *Log) Get(key []byte) ([]byte, error) { return l.stable.Get(key) }

// GetUint64 implements raft.StableStore.
func (l *Log) GetUint64(key []byte) (uint64, error) { return l.stable.GetUint64(key) }

// IsMonotonic implements raft.MonotonicLogStore for the log below.
func (l *Log) IsMonotonic() bool {
	m, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

func (l *Log) note(doing string, err error) error {
	var ofFile *fs.PathError
	var ofKernel syscall.Errno
	switch {
	case err == nil:
		l.lack.Store(nil)
	case files.LacksSpace(err): // raft steps down, and comes back when there is space again
		text := doing + ": " + err.Error()
		l.lack.Store(&text)
	case errors.Is(err, raftlog.ErrStuck):
		l.failed(fmt.Errorf("%s: %w", doing, err))
	case errors.Is(err, fs.ErrClosed): // the store was closed under a stop that took too long
	case errors.As(err, &ofFile), errors.As(err, &ofKernel):
		l.failed(fmt.Errorf("%s: %w (what a failed write lost is unknown, so it is never tried again)", doing, err))
	}
	return err
}

// Trouble says why the disk took no bytes at the last try of the watchdog or
// of raft; empty: it did. It passes when there is space again: raft has stepped
// down meanwhile, and nothing that was acknowledged is lost.
func (l *Log) Trouble() string {
	for _, t := range []*string{l.disk.lack.Load(), l.lack.Load()} {
		if t != nil {
			return *t
		}
	}
	return ""
}
