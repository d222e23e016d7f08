package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"tandem/store/tablepb"
)

// A snapshot is one stream:
//
//	"TANDEMSN"                               8 bytes
//	length of the head, big endian           4 bytes
//	head: tablepb.SnapshotHead
//	records: kind 1 byte, key length and value length as uvarints, key, value
//	meta: kind 255, then as a record         the last one
//	SHA-256 over everything before           32 bytes
//
// Records go in the order node, partition, call, event, token, each kind by key. They
// are the sealed values of table.db, not its pages: the file that Restore makes
// of them is compact, its pages are its own, and nothing that comes over the
// network is ever taken for a page.
const (
	snapshotMagic = "TANDEMSN"
	kindMeta      = 255
	maxHead       = 1 << 16
	maxKey        = 1 << 12
	maxValue      = 1 << 24
)

var snapshotBuckets = []struct {
	kind   byte
	bucket []byte
}{
	{kindNode, bucketNodes}, {kindPartition, bucketPartitions}, {kindCall, bucketCalls}, {kindEvent, bucketEvents}, {kindToken, bucketTokens},
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
	s := &snapshot{t: t, ready: make(chan struct{})}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return ErrClosed
	}
	b := t.sealDirty()
	b.snapshots = append(b.snapshots, s)
	poke(t.urgent)
	t.mu.Unlock()
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
	w := newSnapshotWriter(to)
	head, err := deterministic.Marshal(&tablepb.SnapshotHead{
		Layout: LayoutFormat, Deployment: t.deployment, Region: string(t.region), Applied: m.GetApplied(), Term: m.GetTerm(),
		Format: m.GetFormat(), MadeAt: t.opt.Now().UnixNano(), MadeBy: string(t.node),
		Identity: m.GetIdentity(), Lease: m.GetLease(), LeaseBefore: m.GetLeaseBefore(),
	})
	if err != nil {
		return err
	}
	w.bytes([]byte(snapshotMagic))
	w.bytes(binary.BigEndian.AppendUint32(nil, uint32(len(head))))
	w.bytes(head)
	for _, b := range snapshotBuckets {
		bucket := tx.Bucket(b.bucket)
		if bucket == nil {
			continue // no token was ever made
		}
		c := bucket.Cursor()
		for k, v := c.First(); k != nil && w.err == nil; k, v = c.Next() {
			if _, err := unseal(k, v); err != nil {
				return err // damage must not travel
			}
			w.record(b.kind, k, v)
		}
	}
	w.record(kindMeta, metaKey, sealed)
	_, err = w.end()
	return err
}

// snapshotWriter keeps the first failure.
type snapshotWriter struct {
	to  io.Writer
	w   *bufio.Writer
	sum hash.Hash
	n   int64
	buf []byte
	err error
}

func newSnapshotWriter(to io.Writer) *snapshotWriter {
	sum := sha256.New()
	return &snapshotWriter{to: to, sum: sum, w: bufio.NewWriterSize(io.MultiWriter(to, sum), 1<<16)}
}

func (w *snapshotWriter) bytes(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
		w.n += int64(len(b))
	}
}

// end writes the checksum and gives the length of the whole.
func (w *snapshotWriter) end() (int64, error) {
	if w.err == nil {
		w.err = w.w.Flush()
	}
	if w.err == nil {
		_, w.err = w.to.Write(w.sum.Sum(nil))
	}
	return w.n + sha256.Size, w.err
}

func (w *snapshotWriter) record(kind byte, key, value []byte) {
	w.buf = append(w.buf[:0], kind)
	w.buf = binary.AppendUvarint(w.buf, uint64(len(key)))
	w.buf = binary.AppendUvarint(w.buf, uint64(len(value)))
	w.bytes(w.buf)
	w.bytes(key)
	w.bytes(value)
}

// hashReader hashes what is read through it, up to the trailer.
type hashReader struct {
	r   *bufio.Reader
	sum hash.Hash
}

func (h *hashReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	_, _ = h.sum.Write(p[:n])
	return n, err
}

func (h *hashReader) ReadByte() (byte, error) {
	b, err := h.r.ReadByte()
	if err == nil {
		_, _ = h.sum.Write([]byte{b})
	}
	return b, err
}
