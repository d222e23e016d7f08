package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/hashicorp/raft"

	"tandem/cluster/clocks"
	"tandem/cluster/leader"
	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store"
)

// Recover gives a region that lost its quorum for good a new set of voters, on
// the store of one survivor that is not running: itself alone, at that cluster
// address. What was not known to be committed counts as committed afterwards.
//
// Run it on one survivor only, the one with the furthest Last; then close the store
// and start the node. Empty the data directories of the others and join them anew.
// Two survivors recovered each by itself are two regions; Running tells of others.
func Recover(st *store.Store, addr string, logger *slog.Logger) error {
	self := st.Stamp().Node
	fail := func(err error) error { return fmt.Errorf("recovering the region on node %s: %w", self, err) }
	has, err := st.HasState()
	if err != nil {
		return fail(err)
	}
	if !has {
		return fail(fmt.Errorf("its store holds no region: %w", ownership.ErrUnknown))
	}
	alone := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(self), Address: raft.ServerAddress(addr), Suffrage: raft.Voter}}}
	_, trans := raft.NewInmemTransport("")
	err = raft.RecoverCluster(raftConfig(self, clocks.Shipped, store.RaftLogger(cmp.Or(logger, slog.Default()))), recoveryFSM{st.Table()}, st.Log(), st.Stable(), st.Snapshots(), trans, alone)
	if err = errors.Join(err, trans.Close()); err != nil {
		return fail(err)
	}
	// Nobody knows better any more than this disk.
	if err := errors.Join(st.MarkSetBack(""), st.Settle()); err != nil {
		return fail(err)
	}
	return nil
}

// Last returns the term and index of the last raft entry in a store, by which
// survivors are compared: the higher term is further, then the higher index.
func Last(st *store.Store) (term, index uint64, err error) {
	fail := func(err error) (uint64, uint64, error) {
		return 0, 0, fmt.Errorf("reading the last raft entry of node %s: %w", st.Stamp().Node, err)
	}
	snapshots, err := st.Snapshots().List() // the newest first
	if err != nil {
		return fail(err)
	}
	if len(snapshots) > 0 {
		term, index = snapshots[0].Term, snapshots[0].Index
	}
	last, err := st.Log().LastIndex()
	if err != nil {
		return fail(err)
	}
	if last > index {
		var entry raft.Log
		if err := st.Log().GetLog(last, &entry); err != nil {
			return fail(err)
		}
		term, index = entry.Term, last
	}
	return term, index, nil
}

// Running asks at the addresses of Join whether a node of the region with state
// runs there, and gives those that answer, by id. Of cfg it needs who this node
// is, and TLS.
func Running(ctx context.Context, cfg Config) (map[ownership.NodeID]string, error) {
	me := cfg.identity()
	var creds *transport.Credentials
	if cfg.TLS != nil {
		var err error
		if creds, err = transport.Load(*cfg.TLS, me); err != nil {
			return nil, fmt.Errorf("asking whether others of the region run: %w", err)
		}
	}
	d := transport.NewDialer(creds, leader.HelloLimit)
	defer d.CloseAll()
	found := make(map[ownership.NodeID]string)
	met, _, _ := greetAt(ctx, transport.NewLinks(d, me), cfg.Join, &peerpb.HelloRequest{})
	for id, h := range met {
		if h.GetHasState() {
			found[id] = h.addr
		}
	}
	return found, nil
}

// recoveryFSM is the table for raft.RecoverCluster, which takes a snapshot and
// never releases it (raft 1.8.0): the store could not be closed afterwards.
type recoveryFSM struct{ *store.Table }

// Snapshot implements raft.FSM.
func (f recoveryFSM) Snapshot() (raft.FSMSnapshot, error) {
	s, err := f.Table.Snapshot()
	if err != nil {
		return nil, err
	}
	return onceSnapshot{s}, nil
}

// onceSnapshot releases itself once it is written.
type onceSnapshot struct{ raft.FSMSnapshot }

// Persist implements raft.FSMSnapshot.
func (s onceSnapshot) Persist(sink raft.SnapshotSink) error {
	defer s.Release()
	return s.FSMSnapshot.Persist(sink)
}
