//go:build !windows

package raftlog

import (
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
)

// vfs is the log's file system.
var vfs = walfs.New()

// metaStore is the file that says which segments there are.
type metaStore = metadb.BoltMetaDB
