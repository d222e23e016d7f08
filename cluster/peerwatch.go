package cluster

import (
	"time"

	"github.com/hashicorp/raft"
)

// remindEvery is how often a leader says again that a node does not answer.
const remindEvery = time.Minute

// watchPeers tells of the nodes that this leader's heartbeats do not reach: a line
// when one goes, one when it returns, and a reminder a minute.
func (c *Cluster) watchPeers() {
	seen := make(chan raft.Observation, 64)
	o := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation, raft.RaftState:
			return true
		}
		return false
	})
	c.raft.RegisterObserver(o)
	defer c.raft.DeregisterObserver(o)
	told := map[raft.ServerID]time.Time{}
	for {
		select {
		case one := <-seen:
			c.tellOfPeer(told, one.Data, time.Now())
		case <-c.ctx.Done():
			return
		}
	}
}

// tellOfPeer logs what is worth a line; told is when each silent node was told of.
func (c *Cluster) tellOfPeer(told map[raft.ServerID]time.Time, what any, now time.Time) {
	switch what := what.(type) {
	case raft.RaftState:
		clear(told) // a leader of now tells anew
	case raft.ResumedHeartbeatObservation:
		if _, ok := told[what.PeerID]; ok {
			delete(told, what.PeerID)
			c.log.Info("a node answers again", "peer", what.PeerID)
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
		c.log.Warn(text, "peer", what.PeerID, "last_contact", what.LastContact)
	}
}
