package store

import (
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"tandem/store/files"
	"tandem/store/record"
	"tandem/store/tablepb"
)

// lockWait bounds the wait for bbolt's own lock on the file. The directory's
// lock comes first, so that only a foreign program can hold it.
const lockWait = time.Second

func boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout: lockWait, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true, InitialMmapSize: files.MapSize,
	}
}

// openFile opens a file that pages.Walk has proved, or a new one.
func openFile(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, boltOptions())
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("opening %s: %w", path, files.ErrInUse)
	case err != nil:
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return db, nil
}

// makeFile makes an empty file with its first record. It appears under its name
// only when it is whole: a crash while bbolt writes its first pages leaves a
// file that nothing can open.
func makeFile(path string, meta *tablepb.Meta) error {
	tmp := path + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	db, err := openFile(tmp)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range allBuckets {
			if _, err := tx.CreateBucket(b); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(metaKey, record.Seal(metaKey, meta))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("making %s: %w", tmp, err)
	}
	return files.Publish(tmp, path)
}

func checkFile(db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		var first error
		for err := range tx.Check() { // to the end, or its goroutine stays
			if first == nil {
				first = err
			}
		}
		if first != nil {
			return files.Damage("bbolt's check of %s says: %w", db.Path(), first)
		}
		return nil
	})
}
