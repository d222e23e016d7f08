package cluster

import (
	"errors"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

// brokenLog is a raft log on a disk that answers as it is told.
type brokenLog struct {
	raft.LogStore
	err atomic.Pointer[error]
}

func (b *brokenLog) StoreLogs(l []*raft.Log) error {
	if err := b.err.Load(); err != nil {
		return *err
	}
	return b.LogStore.StoreLogs(l)
}

// onBrokenDisk starts a region of one node, and returns what makes its next append
// fail.
func onBrokenDisk(t *testing.T) (n *testNode, fail func(error)) {
	t.Helper()
	log := &brokenLog{}
	r := newRegion(t, func(c *Config) {
		c.Ground.Log = func(below raft.LogStore) raft.LogStore { log.LogStore = below; return log }
	})
	n = r.form(1)[0]
	return n, func(err error) {
		log.err.Store(&err)
		defer log.err.Store(nil)
		if got := n.wal.StoreLogs([]*raft.Log{{}}); !errors.Is(got, err) {
			t.Fatalf("the append gave %v", got)
		}
	}
}

// TestF09_AFailedAppendEndsTheNode: raft alone would step down and go on over a
// disk that has lost what it acknowledged.
func TestF09_AFailedAppendEndsTheNode(t *testing.T) {
	long(t)
	n, fail := onBrokenDisk(t)
	fail(&fs.PathError{Op: "sync", Path: "raft/0001.wal", Err: syscall.EIO})
	eventually(t, "the node ends", func() bool { return len(n.fatals()) == 1 })
	if err := n.fatals()[0]; !errors.Is(err, syscall.EIO) {
		t.Errorf("it ended with %v", err)
	}
	if n.Status().Leased {
		t.Error("it still acts as an owner")
	}
}

// TestF08_AFullDiskIsTold: the operator reads why, and it passes.
func TestF08_AFullDiskIsTold(t *testing.T) {
	long(t)
	n, fail := onBrokenDisk(t)
	fail(&fs.PathError{Op: "write", Path: "raft/0001.wal", Err: syscall.ENOSPC})
	if got := n.Status().DiskTrouble; !strings.Contains(got, "no space left") {
		t.Errorf("the status says %q", got)
	}
	claim(t, n, 1)
	if got := n.Status().DiskTrouble; got != "" || len(n.fatals()) != 0 {
		t.Errorf("after a write that went well it says %q, and the node ended with %v", got, n.fatals())
	}
}
