package transport

import (
	"context"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// remindEvery is how often a leader says again that a node does not answer.
const remindEvery = time.Minute

// WatchPeers tells of the nodes that this leader's heartbeats do not reach: a line
// when one goes, one when it returns, and a reminder a minute. It returns when ctx ends.
func WatchPeers(ctx context.Context, r *raft.Raft, log *slog.Logger) {
	seen := make(chan raft.Observation, 64)
	o := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation, raft.RaftState:
			return true
		}
		return false
	})
	r.RegisterObserver(o)
	defer r.DeregisterObserver(o)
	told := map[raft.ServerID]time.Time{}
	for {
		select {
		case one := <-seen:
			tellOfPeer(log, told, one.Data, time.Now())
		case <-ctx.Done():
			return
		}
	}
}

// tellOfPeer logs what is worth a line; told is when each silent node was told of.
func tellOfPeer(log *slog.Logger, told map[raft.ServerID]time.Time, what any, now time.Time) {
	switch what := what.(type) {
	case raft.RaftState:
		clear(told) // a leader of now tells anew
	case raft.ResumedHeartbeatObservation:
		if _, ok := told[what.PeerID]; ok {
			delete(told, what.PeerID)
			log.Info("a node answers again", "peer", what.PeerID)
		}
	case raft.FailedHeartbeatObservation:
		last, again := told[what.PeerID]
		if again && now.Sub(last) < remindEvery {
			return
		}
		told[what.PeerID] = now
		text := "a node does not answer"
		if again {
			text = "a node still does not answer"
		}
		log.Warn(text, "peer", what.PeerID, "last_contact", what.LastContact)
	}
}
