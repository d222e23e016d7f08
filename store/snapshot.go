package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"tandem/store/record"
	"tandem/store/snapfile"
	"tandem/store/tablepb"
)

// snapshotBuckets are the buckets whose records a snapshot holds, in its order.
var snapshotBuckets = []struct {
	kind   byte
	bucket []byte
}{
	{record.KindNode, bucketNodes}, {record.KindPartition, bucketPartitions}, {record.KindCall, bucketCalls}, {record.KindEvent, bucketEvents}, {record.KindToken, bucketTokens},
	{record.KindRules, bucketRules}, {record.KindLedger, bucketLedger}, {record.KindDeposit, bucketDeposits},
}

func bucketOf(kind byte) string {
	for _, b := range snapshotBuckets {
		if b.kind == kind {
			return string(b.bucket)
		}
	}
	return "of kind " + fmt.Sprint(kind)
}

// snapshot is a raft.FSMSnapshot: the promise of a view of the file as it is
// when every act up to now has been written.
type snapshot struct {
	t     *Table
	ready chan struct{} // closed by deliver

	once sync.Once
	tx   *bbolt.Tx
	err  error
}

// Snapshot implements raft.FSM. It only marks the place: what waits is written
// behind as always, and the writer then opens a read transaction of bbolt
// before it writes anything newer. So Apply pauses for microseconds, and the
// snapshot holds exactly what raft thinks it holds.
//
// Raft may drop log entries once the snapshot is stored, and by then table.db
// holds them durably.
func (t *Table) Snapshot() (raft.FSMSnapshot, error) {
	if t.lastSeen < t.replayUntil {
		return nil, fmt.Errorf("taking a snapshot at entry %d, the table is at %d: %w", t.lastSeen, t.replayUntil, ErrReplaying)
	}
	s, err := t.mark()
	if err != nil {
		return nil, err
	}
	return s, nil
}

// mark promises a view of the table as it is now.
func (t *Table) mark() (*snapshot, error) {
	s := &snapshot{t: t, ready: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	b := t.sealDirty()
	b.snapshots = append(b.snapshots, s)
	poke(t.urgent)
	return s, nil
}

// Save writes a snapshot of the table as it is now. It may be called from any
// goroutine, and asks raft for nothing: raft refuses while a change of its
// configuration is its newest entry.
func (t *Table) Save(ctx context.Context, to io.Writer) error {
	s, err := t.mark()
	if err != nil {
		return err
	}
	defer s.Release()
	select {
	case <-s.ready:
	case <-t.dead:
		return *t.stopped.Load()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.err != nil {
		return s.err
	}
	return t.stream(s.tx, to)
}

// deliver hands over the view of the file, or why there is none.
func (s *snapshot) deliver(tx *bbolt.Tx, err error) {
	delivered := false
	s.once.Do(func() {
		s.tx, s.err, delivered = tx, err, true
		close(s.ready)
	})
	if !delivered && tx != nil {
		_ = tx.Rollback() // released before it came; a read transaction cannot fail here
	}
}

// abandon tells the snapshots of a batch that will not be written.
func (b *batch) abandon(err error) {
	for _, s := range b.snapshots {
		s.deliver(nil, err)
	}
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {
	s.deliver(nil, errors.New("the snapshot was released"))
	<-s.ready
	if s.tx != nil {
		_ = s.tx.Rollback() // of a read transaction: it cannot fail
		s.tx = nil
	}
}

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	select {
	case <-s.ready:
	case <-s.t.dead:
		s.deliver(nil, *s.t.stopped.Load())
		<-s.ready
	}
	err := s.err
	if err == nil {
		err = s.t.stream(s.tx, sink)
	}
	if err == nil {
		err = sink.Close()
	} else {
		err = errors.Join(err, sink.Cancel())
	}
	if err != nil {
		return fmt.Errorf("writing a snapshot: %w", err)
	}
	return nil
}

// stream writes the whole table as it stands in the transaction.
func (t *Table) stream(tx *bbolt.Tx, to io.Writer) error {
	sealed := tx.Bucket(bucketMeta).Get(metaKey)
	m, err := readMeta(sealed)
	if err != nil {
		return err
	}
	w := snapfile.NewWriter(to, &tablepb.SnapshotHead{
		Layout: LayoutFormat, Deployment: t.deployment, Region: string(t.region), Applied: m.GetApplied(), Term: m.GetTerm(),
		Format: m.GetFormat(), MadeAt: t.opt.Now().UnixNano(), MadeBy: string(t.node),
		Identity: m.GetIdentity(), Lease: m.GetLease(), LeaseBefore: m.GetLeaseBefore(),
	})
	for _, b := range snapshotBuckets {
		bucket := tx.Bucket(b.bucket)
		if bucket == nil {
			continue // no token was ever made, no rules set, nothing entered into the ledger
		}
		c := bucket.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if _, err := record.Unseal(k, v); err != nil {
				return err // damage must not travel
			}
			if err := w.Record(b.kind, k, v); err != nil {
				return err
			}
		}
	}
	_ = w.Record(snapfile.KindMeta, metaKey, sealed) // End tells
	_, err = w.End()
	return err
}
