package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"tandem/store/files"
)

// indexFrameHead is how many bytes of a segment stand before its index: the
// frame's kind and length (raft-wal's README, "Index Frame").
const indexFrameHead = 8

// finishRotation ends what raft-wal v0.4.1 leaves undone when its process ends
// between two steps. A full segment is sealed with the append that fills it, and
// a goroutine then writes into wal-meta.db that the segment is sealed and which
// one follows. A process killed or closed in between finds a sealed tail that
// nobody follows, and each append fails with "segment is sealed" for ever. Call
// it before the log is opened, with the size of its segments in bytes.
func finishRotation(dir string, size int) (err error) {
	if !files.Exists(filepath.Join(dir, MetaFile)) {
		return nil
	}
	db := &metaStore{}
	defer func() { err = errors.Join(err, db.Close()) }()
	state, err := db.Load(dir)
	if err != nil {
		return err
	}
	if len(state.Segments) == 0 {
		return nil
	}
	tail := &state.Segments[len(state.Segments)-1]
	if !tail.SealTime.IsZero() {
		return nil
	}
	filer := segment.NewFiler(dir, vfs)
	w, err := filer.RecoverTail(*tail)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the log makes it
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	sealed, start, err := w.Sealed()
	if err != nil || !sealed {
		return err
	}
	path := filepath.Join(dir, segment.FileName(*tail))
	if w.LastIndex() < tail.BaseIndex || !indexHolds(filer, w, *tail, start) {
		// The append that sealed it did not reach the disk whole: it was never
		// acknowledged, and raft-wal has taken back its entries, but not the seal.
		return eraseFrom(path, int64(start)-indexFrameHead)
	}
	if err := syncFile(path); err != nil { // a killed process leaves it to the kernel
		return err
	}
	*tail = sealedAs(*tail, w.LastIndex(), start)
	state.Segments = append(state.Segments, types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: tail.MaxIndex + 1, MinIndex: tail.MaxIndex + 1,
		SizeLimit: uint32(size), Codec: tail.Codec, CreateTime: time.Now(),
	})
	state.NextSegmentID++
	return db.CommitState(state)
}

// sealedAs is the segment as wal-meta.db tells of it once it is sealed.
func sealedAs(s types.SegmentInfo, last, indexStart uint64) types.SegmentInfo {
	s.SealTime, s.MaxIndex, s.IndexStart = time.Now(), last, indexStart
	return s
}

// indexHolds reports whether the index of a segment leads to each of its
// entries: to the same bytes that a reading from the front has found.
func indexHolds(filer *segment.Filer, found types.SegmentWriter, s types.SegmentInfo, indexStart uint64) bool {
	s.MinIndex = s.BaseIndex
	r, err := filer.Open(sealedAs(s, found.LastIndex(), indexStart))
	if err != nil {
		return false
	}
	defer func() { _ = r.Close() }() // only read
	for i := s.BaseIndex; i <= found.LastIndex(); i++ {
		if !sameEntry(found, r, i) {
			return false
		}
	}
	return true
}

func sameEntry(a, b types.SegmentReader, index uint64) bool {
	x, err := a.GetLog(index)
	if err != nil {
		// Below the segment's first index that counts: nobody asks for it.
		return errors.Is(err, types.ErrNotFound)
	}
	defer func() { _ = x.Close() }() // gives the buffer back
	y, err := b.GetLog(index)
	if err != nil {
		return false
	}
	defer func() { _ = y.Close() }()
	return bytes.Equal(x.Bs, y.Bs)
}

func syncFile(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}

// eraseFrom overwrites a segment's file with zeros from an offset on: there it
// ends when it is read again.
func eraseFrom(path string, from int64) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<16)
	for at := from; at < info.Size(); at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), info.Size()-at)], at); err != nil {
			return fmt.Errorf("taking back the seal of %s: %w", path, err)
		}
	}
	return f.Sync()
}
