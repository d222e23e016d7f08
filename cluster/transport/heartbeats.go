package transport

import (
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// heartbeats keeps a leader from giving up on a silent peer. Raft waits longer
// after each failed message, up to ten seconds (its failureWait and
// maxFailureScale), and does not hear that the peer is back; its heartbeats,
// which never pause for long, do. So while heartbeats to a peer fail, its log
// entries and snapshots are held back, and go out with the first heartbeat that
// is answered: a peer that returns, be it at another address, has its table at
// once.
type heartbeats struct {
	limit time.Duration // of one message; raft then counts a failure
	done  chan struct{} // closed when nobody waits any longer

	once   sync.Once
	mu     sync.Mutex
	silent map[raft.ServerID]chan struct{} // closed at the next answered heartbeat
}

// heldBackFor bounds how long one message is held back: a leader that steps
// down leaves the goroutine that sends it waiting.
const heldBackFor = 30 * time.Second

func newHeartbeats(limit time.Duration) *heartbeats {
	return &heartbeats{limit: limit, done: make(chan struct{}), silent: map[raft.ServerID]chan struct{}{}}
}

// heard notes how a heartbeat went.
func (h *heartbeats) heard(from raft.ServerID, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	back, silent := h.silent[from]
	switch {
	case err == nil && silent:
		close(back)
		delete(h.silent, from)
	case err != nil && !silent:
		h.silent[from] = make(chan struct{})
	}
}

// await returns at once for a peer that answers, else when it does again, the
// limit is reached, or end was called.
func (h *heartbeats) await(peer raft.ServerID) {
	h.mu.Lock()
	back, silent := h.silent[peer]
	h.mu.Unlock()
	if !silent {
		return
	}
	limit := time.NewTimer(h.limit)
	defer limit.Stop()
	select {
	case <-back:
	case <-limit.C:
	case <-h.done:
	}
}

// end lets everybody go who waits, for good.
func (h *heartbeats) end() { h.once.Do(func() { close(h.done) }) }

// isHeartbeat knows raft's heartbeats as its own transport does
// (NetworkTransport.handleCommand).
func isHeartbeat(r *raft.AppendEntriesRequest) bool {
	return r.Term != 0 && r.PrevLogEntry == 0 && r.PrevLogTerm == 0 && len(r.Entries) == 0 && r.LeaderCommitIndex == 0
}

// AppendEntries implements raft.Transport.
func (t *Raft) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(args) {
		err := t.NetworkTransport.AppendEntries(id, target, args, resp)
		t.beats.heard(id, err)
		return err
	}
	t.beats.await(id)
	return t.NetworkTransport.AppendEntries(id, target, args, resp)
}

// InstallSnapshot implements raft.Transport.
func (t *Raft) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	t.beats.await(id)
	return t.NetworkTransport.InstallSnapshot(id, target, args, resp, data)
}
