// Package disk watches the disk that carries the raft log: a canary, raft's own
// appends, and what a failed write means.
package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"tandem/store/files"
)

// Watchdog writes and syncs a canary on the disk that carries the raft log, and
// watches how long raft's own appends take.
// Raft's heartbeats never touch the disk: a leader whose disk stalls stays
// leader for ever and commits nothing (hashicorp/raft issues 503, 612, 614,
// 666).
type Watchdog struct {
	every  time.Duration
	limit  time.Duration
	write  func() error // blocks as long as the disk does
	failed func(error)
	since  atomic.Int64           // when the write under way began, from base; 0: none
	append atomic.Int64           // the same of raft's append
	last   atomic.Int64           // when the last write ended, from base
	took   atomic.Int64           // how long the last write and its sync took
	lack   atomic.Pointer[string] // why the last write failed, of a kind that passes; nil: it did not
	base   time.Time
}

// canaryFile is the file that the watchdog writes beside the raft log.
const canaryFile = "canary"

// NewWatchdog watches the disk of a directory: it writes every so often, and calls
// failed when a write fails for good, or has lasted for longer than limit.
func NewWatchdog(dir string, every, limit time.Duration, failed func(error)) *Watchdog {
	return &Watchdog{
		every: every, limit: limit, failed: failed, base: time.Now(),
		write: func() error { return writeCanary(filepath.Join(dir, canaryFile)) },
	}
}

// writeCanary writes a few bytes and waits until they are on the disk.
func writeCanary(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, time.Now().UnixNano()); err != nil {
		_ = f.Close()
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Start writes in one goroutine and watches it in another. The writing one is
// not waited for: it may hang in the kernel until the process ends.
func (w *Watchdog) Start(ctx context.Context, wg *sync.WaitGroup) {
	w.last.Store(int64(time.Since(w.base)))
	failures := make(chan error, 1)
	go w.writeOn(ctx, failures)
	wg.Go(func() { w.watch(ctx, failures) })
}

func (w *Watchdog) writeOn(ctx context.Context, failures chan<- error) {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		began := w.now()
		w.since.Store(began)
		err := w.write()
		w.since.Store(0)
		w.took.Store(w.now() - began)
		if err != nil && !files.LacksSpace(err) {
			failures <- err
			return
		}
		if err != nil {
			text := "writing the canary: " + err.Error()
			w.lack.Store(&text)
		} else {
			w.lack.Store(nil)
			w.last.Store(int64(time.Since(w.base)))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// appending times one append of raft, of which there is one at a time. A canary
// may still go through where an append hangs: another file, another lock.
func (w *Watchdog) appending(f func() error) error {
	w.append.Store(w.now())
	defer w.append.Store(0)
	return f()
}

// now is the time from base, never 0.
func (w *Watchdog) now() int64 { return max(1, int64(time.Since(w.base))) }

func (w *Watchdog) watch(ctx context.Context, failures <-chan error) {
	tick := time.NewTicker(max(min(w.every, w.limit)/4, time.Millisecond))
	defer tick.Stop()
	awake := standstill{last: time.Since(w.base)}
	for {
		select {
		case err := <-failures:
			w.failed(fmt.Errorf("writing to the data directory: %w (an fsync that failed is never tried again: what it lost is unknown)", err))
			return
		case <-tick.C:
			if w.hangs(&awake, time.Since(w.base)) {
				w.failed(fmt.Errorf("writing to the data directory: the disk has not answered for %v", w.limit))
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// standstill remembers when this process, or its whole machine, last stood still. A
// write that was under way then is no older than that: it stood still, too.
type standstill struct {
	last time.Duration // tick, from base
	woke time.Duration
}

// hangs reports whether a write has lasted for too long by now.
func (w *Watchdog) hangs(awake *standstill, now time.Duration) bool {
	if now-awake.last > w.limit/2 {
		awake.woke = now
	}
	awake.last = now
	for _, began := range []int64{w.since.Load(), w.append.Load()} {
		if began != 0 && now-max(time.Duration(began), awake.woke) > w.limit {
			return true
		}
	}
	return false
}

// Took is how long the last write took to reach the disk.
func (w *Watchdog) Took() time.Duration { return time.Duration(w.took.Load()) }

// Age is how long ago a write last reached the disk.
func (w *Watchdog) Age() time.Duration {
	return time.Since(w.base) - time.Duration(w.last.Load())
}
