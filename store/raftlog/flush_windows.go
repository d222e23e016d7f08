package raftlog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/types"

	"tandem/store/files"
)

// raft-wal flushes directories, so that names last. Windows refuses that (access is
// denied), and NTFS writes names to its journal itself: here only files are flushed.

// vfs is the log's file system.
var vfs = namesLast{walfs.New()}

type namesLast struct{ *walfs.FS }

// Create implements types.VFS. The library's file would flush its directory with its first
// Sync; the file in it does not.
func (v namesLast) Create(dir, name string, size uint64) (types.WritableFile, error) {
	made, err := v.FS.Create(dir, name, size)
	if f, ok := made.(*walfs.File); ok && err == nil {
		return &f.File, nil
	}
	return made, err
}

// Delete implements types.VFS.
func (namesLast) Delete(dir, name string) error { return os.Remove(filepath.Join(dir, name)) }

// metaStore is the file that says which segments there are.
type metaStore struct{ metadb.BoltMetaDB }

// Load implements types.MetaStore. The library makes the file whole under its name, and
// then flushes the directory: what that is refused with is no fault of the file's.
func (m *metaStore) Load(dir string) (types.PersistentState, error) {
	made := !files.Exists(filepath.Join(dir, MetaFile))
	state, err := m.BoltMetaDB.Load(dir)
	if made && errors.Is(err, fs.ErrPermission) && files.Exists(filepath.Join(dir, MetaFile)) {
		return m.BoltMetaDB.Load(dir)
	}
	return state, err
}
