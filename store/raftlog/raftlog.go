// Package raftlog is the raft log on the disk: raft-wal, with a checksum on each entry,
// and with what raft-wal leaves undone when its process is killed.
package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"go.etcd.io/bbolt"

	"tandem/store/files"
)

// Log is the raft log with a checksum of its own on each entry. raft-wal
// looks at its checksums only at the end of the log, when it opens it: a bit
// that flips in an older entry would be applied, or sent to a follower, as it is.
//
// The checksum stands in Log.Extensions, which nothing else here uses and which
// raft copies to the followers: it is made once, by the leader.
type Log struct{ *wal.WAL }

// MetaFile is the file in a log's directory that raft-wal makes with the log.
const MetaFile = "wal-meta.db"

// Open opens the raft log in a directory that is there, with segments of that size
// in bytes. A file that bbolt or raft-wal falls over is files.ErrDamaged.
func Open(dir string, size int, logger hclog.Logger) (l Log, err error) {
	meta := &metaStore{}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fell := recover(); fell != nil {
			l, err = Log{}, errors.Join(files.Damage("%s cannot be read: %v", MetaFile, fell), meta.Close())
		}
	}()
	if err := tryMeta(filepath.Join(dir, MetaFile)); err != nil {
		return Log{}, err
	}
	if err := finishRotation(dir, size); err != nil {
		return Log{}, err
	}
	w, err := wal.Open(dir, wal.WithLogger(logger), wal.WithSegmentSize(size), wal.WithSegmentFiler(segment.NewFiler(dir, vfs)), wal.WithMetaStore(meta))
	return Log{w}, err
}

// tryMeta reads all of wal-meta.db and writes it once more. bbolt has no checksums over its
// pages: where a bit has flipped it may fall over them, and raft-wal over a bucket that is
// missing, the one with raft's term and vote. Better now than while the node runs.
func tryMeta(path string) (err error) {
	if !files.Exists(path) {
		return nil
	}
	db, err := bbolt.Open(path, 0o644, &bbolt.Options{Timeout: lockedFor})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	again := func(tx *bbolt.Tx) error {
		for _, name := range []string{metadb.MetaBucket, metadb.StableBucket} {
			b := tx.Bucket([]byte(name))
			if b == nil {
				return files.Damage("%s has no bucket %q", MetaFile, name)
			}
			all := map[string][]byte{}
			if err := b.ForEach(func(k, v []byte) error { all[string(k)] = bytes.Clone(v); return nil }); err != nil {
				return err
			}
			for k, v := range all {
				if err := b.Put([]byte(k), v); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := db.Update(again); err != nil {
		return err
	}
	return db.Update(again) // to pages that are free by the file's list of them
}

// lockedFor is how long another process may hold the file: none should.
const lockedFor = 5 * time.Second

// ErrStuck says that the log's last segment is full and the next one could not
// be begun. The log takes nothing more until it is opened anew.
var ErrStuck = errors.New("the raft log cannot begin its next segment; the next start tries it again")

const entrySealLen = 4

// entrySeal is the CRC-32C of all of an entry that counts.
func entrySeal(l *raft.Log) []byte {
	var head [17]byte
	binary.LittleEndian.PutUint64(head[:], l.Index)
	binary.LittleEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	sum := crc32.Update(crc32.Update(0, files.Castagnoli, head[:]), files.Castagnoli, l.Data)
	return binary.LittleEndian.AppendUint32(make([]byte, 0, entrySealLen), sum)
}

// StoreLog implements raft.LogStore.
func (s Log) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. An entry that came with a checksum from
// the leader must match it. ErrStuck where the segment after a full one could
// not be begun: only a new start goes on (finishRotation).
func (s Log) StoreLogs(logs []*raft.Log) error {
	for _, l := range logs {
		if len(l.Extensions) == 0 {
			l.Extensions = entrySeal(l)
		} else if err := checkEntry(l); err != nil {
			return err
		}
	}
	err := s.WAL.StoreLogs(logs)
	if errors.Is(err, types.ErrSealed) {
		return fmt.Errorf("%w: %w", ErrStuck, err)
	}
	return err
}

// GetLog implements raft.LogStore. A damaged entry is ErrDamaged.
func (s Log) GetLog(index uint64, l *raft.Log) error {
	if err := s.WAL.GetLog(index, l); err != nil {
		return err
	}
	if l.Index != index {
		return files.Damage("entry %d of the raft log says it is %d", index, l.Index)
	}
	return checkEntry(l)
}

// checkEntry passes entries without a checksum: logs written before there were
// any hold such.
func checkEntry(l *raft.Log) error {
	if len(l.Extensions) != 0 && string(l.Extensions) != string(entrySeal(l)) {
		return files.Damage("the checksum of entry %d of the raft log does not match", l.Index)
	}
	return nil
}

// Check reads the log from an entry on, as raft does when it starts: raft
// crashes where it meets an entry that cannot be read.
func (s Log) Check(from, last uint64) error {
	var l raft.Log
	for i := from; i <= last; i++ {
		if err := s.GetLog(i, &l); err != nil {
			return fmt.Errorf("reading entry %d: %w", i, err)
		}
	}
	return nil
}
