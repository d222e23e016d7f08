package transport

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// Entries for a silent peer are held back until it answers a heartbeat.
func TestPatienceWithASilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peer = raft.ServerID("b")
		p := newHeartbeats(30 * time.Second)
		waited := func() (took time.Duration) {
			begun := time.Now()
			p.await(peer)
			return time.Since(begun)
		}
		if took := waited(); took != 0 {
			t.Errorf("a peer that nobody called silent was waited for, %s", took)
		}
		p.heard(peer, errors.New("connection refused"))
		p.heard(peer, errors.New("connection refused"))
		time.AfterFunc(7*time.Second, func() { p.heard(peer, nil) })
		if took := waited(); took != 7*time.Second {
			t.Errorf("waited %s for a peer that was back after 7 s", took)
		}
		if took := waited(); took != 0 {
			t.Errorf("a peer that is back was waited for, %s", took)
		}
		p.heard(peer, errors.New("connection refused"))
		if took := waited(); took != 30*time.Second {
			t.Errorf("waited %s for a peer that stays silent, want the limit", took)
		}
		if took := func() time.Duration { begun := time.Now(); p.await("c"); return time.Since(begun) }(); took != 0 {
			t.Errorf("one peer's silence held another's entries back for %s", took)
		}
		time.AfterFunc(time.Second, p.end)
		if took := waited(); took != time.Second {
			t.Errorf("waited %s although the transport ended after 1 s", took)
		}
		p.end()
	})
}

func TestHeartbeatsAreKnown(t *testing.T) {
	if !isHeartbeat(&raft.AppendEntriesRequest{Term: 3}) {
		t.Error("a heartbeat is not known as one")
	}
	for name, r := range map[string]*raft.AppendEntriesRequest{
		"entries": {Term: 3, Entries: []*raft.Log{{}}}, "probe": {Term: 3, PrevLogEntry: 7}, "commit": {Term: 3, LeaderCommitIndex: 9},
	} {
		if isHeartbeat(r) {
			t.Errorf("%s counts as a heartbeat", name)
		}
	}
}
