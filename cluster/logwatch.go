package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/raft"
)

// watchedLog is the raft log under guard. Raft itself only steps down when an
// append fails, and tries again later: after a failed fsync it would then
// acknowledge entries that the disk does not hold, for the kernel has dropped
// the pages that it could not write ("fsyncgate", 2018; PostgreSQL has ended the
// process there since).
type watchedLog struct {
	raft.LogStore
	failed func(error)            // an append failed in a way that never heals
	lack   atomic.Pointer[string] // why the last append failed for want of space; nil: it did not
}

// StoreLog implements raft.LogStore.
func (l *watchedLog) StoreLog(entry *raft.Log) error { return l.note(l.LogStore.StoreLog(entry)) }

// StoreLogs implements raft.LogStore.
func (l *watchedLog) StoreLogs(entries []*raft.Log) error {
	return l.note(l.LogStore.StoreLogs(entries))
}

// IsMonotonic implements raft.MonotonicLogStore for the log below.
func (l *watchedLog) IsMonotonic() bool {
	m, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

func (l *watchedLog) note(err error) error {
	var ofFile *fs.PathError
	var ofKernel syscall.Errno
	switch {
	case err == nil:
		l.lack.Store(nil)
	case full(err):
		text := "appending to the raft log: " + err.Error()
		l.lack.Store(&text)
	case errors.Is(err, fs.ErrClosed): // the store was closed under a stop that took too long
	case errors.As(err, &ofFile), errors.As(err, &ofKernel):
		l.failed(fmt.Errorf("appending to the raft log: %w (what a failed write lost is unknown, so it is never tried again)", err))
	}
	return err
}

// diskRefusal says why the disk took no bytes at the last try of the watchdog or
// of raft; empty: it did. It passes when there is space again: raft has stepped
// down meanwhile, and nothing that was acknowledged is lost.
func (c *Cluster) diskRefusal() string {
	for _, t := range []*string{c.disk.lack.Load(), c.wal.lack.Load()} {
		if t != nil {
			return *t
		}
	}
	return ""
}
