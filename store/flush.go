package store

import (
	"fmt"
	"slices"
	"time"

	"tandem/store/files"
)

// retryFlush is how long a flush waits after the disk refused to take bytes.
const retryFlush = 500 * time.Millisecond

// writeBehind writes what has changed, FlushEvery after the first change or
// earlier when asked.
func (t *Table) writeBehind() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		select {
		case <-t.stop:
			return
		case <-t.urgent:
		case <-t.dirtied:
			timer.Reset(t.opt.FlushEvery)
			select {
			case <-t.stop:
				return
			case <-t.urgent:
				timer.Stop()
			case <-timer.C:
			}
		}
		for t.flushOnce() != nil {
			if t.stopped.Load() != nil {
				return
			}
			timer.Reset(retryFlush)
			select {
			case <-t.stop:
				return
			case <-timer.C:
			}
		}
	}
}

func (t *Table) wake() {
	poke(t.dirtied)
	t.mu.RLock()
	hurry := t.pending() >= t.opt.FlushAt
	t.mu.RUnlock()
	if hurry {
		poke(t.urgent)
	}
	t.pokeWatchers()
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pending counts the records that wait for the file; the lock is held.
func (t *Table) pending() int {
	n := t.dirty.size()
	for _, b := range t.sealed {
		n += b.size()
	}
	return n
}

// awaitRoom makes Apply wait while too much waits for the disk.
func (t *Table) awaitRoom() {
	for {
		t.mu.RLock()
		full, closed, again := t.pending() >= t.opt.MaxPending, t.closed, t.flushed
		t.mu.RUnlock()
		if !full || closed || t.stopped.Load() != nil {
			return
		}
		poke(t.urgent)
		select {
		case <-again:
		case <-t.dead:
		}
	}
}

// sealDirty closes the batch of changes; the lock is held.
func (t *Table) sealDirty() *batch {
	b := t.dirty
	b.seal(t.st)
	t.sealed = append(t.sealed, b)
	t.dirty = newBatch()
	return b
}

// flushOnce writes all that waits. A disk that is full or out of quota gives an
// error and may be tried again; any other failure stops the node, for after a
// failed fsync nobody knows what the disk holds.
func (t *Table) flushOnce() error {
	t.flushMu.Lock()
	defer t.flushMu.Unlock()
	if stop := t.stopped.Load(); stop != nil {
		return *stop // the last act may be half done
	}
	t.mu.Lock()
	if t.dirty.applied != 0 {
		t.sealDirty()
	}
	db, disk := t.db, t.disk
	t.mu.Unlock()
	for {
		t.mu.RLock()
		var b *batch
		if len(t.sealed) > 0 {
			b = t.sealed[0]
		}
		t.mu.RUnlock()
		if b == nil {
			return nil
		}
		now, err := t.write(db, b, disk)
		if err != nil {
			err = fmt.Errorf("writing the ownership table to %s: %w", t.path, err)
			if !files.LacksSpace(err) {
				t.fatal(err)
			}
			t.noteFlush(disk, err)
			return err
		}
		disk = now
		for _, s := range b.snapshots {
			s.deliver(db.Begin(false))
		}
		t.noteFlush(disk, nil)
	}
}

// noteFlush publishes the result of writing the oldest sealed batch.
func (t *Table) noteFlush(disk diskState, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.sealed = slices.Delete(t.sealed, 0, 1) // which lets go of the batch, as slicing would not
	} else {
		t.opt.Logger.Error("the ownership table could not be written", "err", err)
	}
	t.disk, t.flushErr = disk, err
	close(t.flushed)
	t.flushed = make(chan struct{})
}

func (t *Table) close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	close(t.stop)
	t.running.Wait()
	err := t.flushOnce()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.sealed {
		b.abandon(ErrClosed)
	}
	close(t.flushed)
	t.flushed = make(chan struct{})
	t.pokeWatchers()
	if cerr := t.db.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("closing %s: %w", t.path, cerr)
	}
	return err
}
