package raftlog

import (
	"errors"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"tandem/store/files"
)

// A follower checks what the leader sealed.
func TestLogRefusesAnEntryThatChangedOnItsWay(t *testing.T) {
	log, err := Open(t.TempDir(), testSegment, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	l := &raft.Log{Index: 1, Term: 1, Type: raft.LogCommand, Data: []byte("act")}
	l.Extensions = entrySeal(l)
	l.Data = []byte("acT")
	if err := log.StoreLog(l); !errors.Is(err, files.ErrDamaged) {
		t.Errorf("%v, want files.ErrDamaged", err)
	}
	l.Data = []byte("act")
	if err := log.StoreLog(l); err != nil {
		t.Error(err)
	}
}
