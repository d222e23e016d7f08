package store

import (
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"

	"tandem/store/files"
	"tandem/store/record"
	"tandem/store/tablepb"
)

// restoreBatch is how many records one transaction of a restore writes.
const restoreBatch = 20_000

// Restore implements raft.FSM. The snapshot is written to a file beside
// table.db, verified (whose it is, its checksum, every record, the sum over
// all), and only then takes the table's place. A snapshot that is cut short,
// damaged or of another deployment or region is refused, and the present table
// stays as it is.
func (t *Table) Restore(from io.ReadCloser) error {
	defer func() { _ = from.Close() }() // only read
	tmp := t.path + ".restore"
	err := t.restore(from, tmp)
	if err != nil {
		return errors.Join(fmt.Errorf("restoring a snapshot: %w", err), os.RemoveAll(tmp))
	}
	t.restored, t.replayUntil = true, 0
	t.pokeWatchers()
	return nil
}

func (t *Table) restore(from io.Reader, tmp string) error {
	if err := t.unpack(from, tmp); err != nil {
		return err
	}
	st, meta, err := load(tmp) // bbolt wrote it, and still: what is served was read back
	if err != nil {
		return err
	}
	t.flushMu.Lock()
	defer t.flushMu.Unlock()
	if err := files.Publish(tmp, t.path); err != nil {
		return err
	}
	db, err := openFile(t.path)
	if err != nil {
		// The file has changed under the table that is served: not to be
		// continued.
		t.fatal(err)
		return err
	}
	t.mu.Lock()
	old, waiting := t.db, append(t.sealed, t.dirty)
	t.st, t.db, t.dirty, t.sealed = st, db, newBatch(), nil
	t.disk, t.flushErr = diskOf(meta), nil
	t.sums.clear()
	t.publish(t.st)
	close(t.flushed)
	t.flushed = make(chan struct{})
	t.mu.Unlock()
	for _, b := range waiting {
		b.abandon(errors.New("the table was restored from another snapshot"))
	}
	return old.Close() // waits for those who still read it
}

func (t *Table) unpack(from io.Reader, tmp string) (err error) {
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	opt := boltOptions()
	opt.NoSync = true // synced once, at the end
	db, err := bbolt.Open(tmp, 0o600, opt)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = db.Sync()
		}
		err = errors.Join(err, db.Close())
	}()
	u := unpacker{db: db}
	if err := u.begin(); err != nil {
		return err
	}
	defer u.rollback()
	for _, b := range allBuckets {
		if _, err := u.tx.CreateBucket(b); err != nil {
			return err
		}
	}
	_, meta, err := readSnapshot(from, func(h *tablepb.SnapshotHead) error { return t.ours("it", h) }, u.put)
	if err != nil {
		return err
	}
	if err := u.tx.Bucket(bucketMeta).Put(metaKey, record.Seal(metaKey, meta)); err != nil {
		return err
	}
	return u.commit()
}

// unpacker puts records in key order, a transaction at a time.
type unpacker struct {
	db *bbolt.DB
	tx *bbolt.Tx
	n  int
}

func (u *unpacker) begin() (err error) {
	u.tx, err = u.db.Begin(true)
	u.n = 0
	return err
}

func (u *unpacker) commit() error {
	tx := u.tx
	u.tx = nil
	return tx.Commit()
}

func (u *unpacker) rollback() {
	if u.tx != nil {
		_ = u.tx.Rollback() // the file is thrown away
	}
}

func (u *unpacker) put(kind byte, key, value []byte) error {
	if u.n++; u.n > restoreBatch {
		if err := u.commit(); err != nil {
			return err
		}
		if err := u.begin(); err != nil {
			return err
		}
	}
	b, err := u.tx.CreateBucketIfNotExists([]byte(bucketOf(kind)))
	if err != nil {
		return err
	}
	b.FillPercent = 0.9 // in order; calls will still come between
	return b.Put(append([]byte(nil), key...), append([]byte(nil), value...))
}
