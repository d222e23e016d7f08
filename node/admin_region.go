package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem/admin"
	"tandem/cluster"
	"tandem/ownership"
	"tandem/store"
)

// adminJournal shows the store's history in the admin door's words.
type adminJournal struct{ table *store.Table }

func adminEvents(list []store.Event, err error) ([]admin.Event, error) {
	if err != nil {
		return nil, fmt.Errorf("reading the event history: %w", err)
	}
	out := make([]admin.Event, len(list))
	for i, e := range list {
		out[i] = admin.Event{
			ID: e.ID, Index: e.Index, At: e.At, Kind: string(e.Kind), Call: e.Call,
			Partition: e.Partition, Node: e.Node, Epoch: e.Epoch, Text: e.Text, Candidates: e.Candidates,
		}
	}
	return out, nil
}

func (j adminJournal) Events(after uint64, limit int) ([]admin.Event, uint64, error) {
	first, err := j.table.Events(0, 1)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the event history: %w", err)
	}
	var oldest uint64
	if len(first) == 1 {
		oldest = first[0].ID
	}
	events, err := adminEvents(j.table.Events(after, limit))
	return events, oldest, err
}

func (j adminJournal) Latest(limit int) ([]admin.Event, error) {
	return adminEvents(j.table.Latest(limit))
}

func (j adminJournal) Timeline(id ownership.CallID) ([]admin.Event, error) {
	return adminEvents(j.table.Timeline(id))
}

func (j adminJournal) Wait(ctx context.Context, after uint64) error {
	w := j.table.Watch(after)
	defer w.Close()
	_, _, err := w.Next(ctx)
	return err
}

// adminCluster shows the region in the admin door's words.
type adminCluster struct {
	*cluster.Cluster
	table  *store.Table
	secure bool // the cluster port speaks mTLS
}

func (c adminCluster) Peers() []admin.Peer {
	var all []admin.Peer
	here := c.Cluster.Status()
	for _, p := range here.Peers {
		// Only the leader hears from everybody.
		peer := admin.Peer{
			ID: p.ID, Address: p.Addr, Voter: p.Voter, Leader: p.Leader,
			Known: here.State == "leader" || p.Self, Healthy: p.Leased || p.Self && here.Leased,
		}
		if p.HeardAgo > 0 {
			peer.LastContact = p.HeardAgo.Round(time.Millisecond).String()
		}
		all = append(all, peer)
	}
	return all
}

func (c adminCluster) Status() admin.ClusterStatus {
	s := c.Cluster.Status()
	out := admin.ClusterStatus{
		State: s.State, Term: s.Term, Leader: s.Leader, LeaderAddr: s.LeaderAddr,
		Applied: s.Applied, Commit: s.Commit, LastContact: since(s.LastContact), LeaseUntil: s.LeaseUntil,
		Durable: c.table.Durable(), Secure: c.secure, Stalled: stalled(s),
	}
	for _, p := range s.Peers {
		if p.Voter {
			out.Voters++
		}
	}
	return out
}

// Meet brings two nodes into one region.
func (c adminCluster) Meet(ctx context.Context, addr string, expected ownership.NodeID, token string) (ownership.Node, error) {
	n, err := c.Cluster.Meet(ctx, addr, expected, token)
	return n, doorError(err)
}

// doorError gives the region's errors the kinds that the admin door knows.
func doorError(err error) error {
	switch {
	case errors.Is(err, ownership.ErrUnreachable), errors.Is(err, cluster.ErrBusy):
		return passing{err}
	case errors.Is(err, ownership.ErrGone):
		return fmt.Errorf("%w: %w", ownership.ErrConflict, err)
	}
	return err
}

// passing is an error that is answered like a missing leader: come back soon.
type passing struct{ error }

// Is implements what errors.Is asks for.
func (passing) Is(target error) bool { return target == ownership.ErrNoLeader }

// Unwrap gives the error itself.
func (p passing) Unwrap() error { return p.error }
