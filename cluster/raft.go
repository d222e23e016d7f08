package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"tandem/cluster/clocks"
	"tandem/cluster/election"
	"tandem/cluster/leader"
	"tandem/ownership"
	"tandem/store"
	"tandem/store/record"
)

// logCacheEntries is how much of the raft log's tail stays in memory, so that
// replication to a follower that keeps up never reads the disk.
const logCacheEntries = 1024

// maxAppendEntries is how many raft entries go into one message. 256 gave 5 to
// 10 % more commits a second than raft's 64.
const maxAppendEntries = 256

// raftConfig returns raft's settings. PreVote is on (raft's default): a node that
// comes back from behind a partition does not disturb a stable leader.
func raftConfig(id ownership.NodeID, t clocks.Timings, log hclog.Logger) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(id)
	rc.HeartbeatTimeout, rc.ElectionTimeout = t.Heartbeat, t.Election
	rc.LeaderLeaseTimeout, rc.CommitTimeout = t.LeaderLease, t.Commit
	rc.MaxAppendEntries = maxAppendEntries
	rc.SnapshotInterval = t.SnapshotEvery
	rc.NoLegacyTelemetry = true
	rc.Logger = log
	// A removed node keeps running until its process ends, and must not lead a
	// region of its own meanwhile.
	rc.ShutdownOnRemove = true
	return rc
}

func (c *Cluster) openRaft(log hclog.Logger) error {
	cache, err := raft.NewLogCache(logCacheEntries, c.wal)
	if err != nil {
		return fmt.Errorf("opening the raft log: %w", err)
	}
	restore, err := c.st.RestoreOnStart()
	if err != nil {
		return fmt.Errorf("opening raft: %w", err)
	}
	rc := raftConfig(c.self, c.cfg.Timings, log)
	if c.cfg.SnapshotAfter > 0 {
		rc.SnapshotThreshold = c.cfg.SnapshotAfter
	}
	if c.cfg.KeepLog > 0 {
		rc.TrailingLogs = c.cfg.KeepLog
		// A follower must not drop from its log what the leader may yet have to begin
		// with: raft would step back from there for ever (1.8.0, replicateTo). That is one
		// message, whose answer was lost.
		rc.MaxAppendEntries = max(1, min(maxAppendEntries, int(c.cfg.KeepLog/2)))
	}
	if c.st.Lineage().Newcomer {
		rc.HeartbeatTimeout, rc.ElectionTimeout = never, never // see stand
	}
	rc.NoSnapshotRestoreOnStart = !restore // table.db holds the table; only what came after is replayed
	c.raft, err = raft.NewRaft(rc, c.cfg.Ground.Table(&tableFSM{Table: c.tb, c: c}),
		cache, c.wal, c.st.Snapshots(), c.trans)
	if err != nil {
		return fmt.Errorf("opening raft: %w", err)
	}
	return nil
}

// tableFSM is the table as raft's state machine, telling those who wait when it
// has moved on.
type tableFSM struct {
	*store.Table
	c *Cluster
}

// Apply implements raft.FSM.
func (f *tableFSM) Apply(l *raft.Log) any {
	out := f.Table.Apply(l)
	o, ok := out.(*ownership.Outcome)
	if ok && len(o.Moves) > 0 {
		f.c.origins.note(o.Moves, f.c.self)
	}
	if ok && len(o.Look) > 0 {
		f.c.orphans.note(o.Look)
		f.c.shifts.Add(1)
	}
	if l.Type == raft.LogCommand && record.ShiftsOwners(l.Data) {
		f.c.shifts.Add(1)
	}
	f.c.applied.fire()
	return out
}

// Restore implements raft.FSM.
func (f *tableFSM) Restore(r io.ReadCloser) error {
	before, today := f.Table.Identity(), f.Table.Nodes()
	f.c.swaps.Add(1)
	err := f.c.present.Replace(func() error { return f.Table.Restore(r) })
	f.c.swaps.Add(1)
	f.c.shifts.Add(1)
	if now := f.Table.Identity(); before != "" && before != now {
		f.c.former.Store(&before)
		f.c.unseated.Store(&today)
	}
	f.c.applied.fire()
	return err
}

func (st *standing) servers() []raft.Server { return leader.Servers(st.raft) }

// notMember reports whether a node with a good certificate has no business with
// this region's raft: it was removed, or never joined. One message of a high term
// would be enough to depose the leader.
//
// Without a valid lease nobody is kept out: this node has then lost touch, and
// whoever leads meanwhile may have come after the last entry that is here.
func (st *standing) notMember(id ownership.NodeID) bool {
	if !st.lease.Valid(time.Now()) {
		return false
	}
	if n, ok := st.tb.Node(id); ok && n.State != ownership.NodeGone {
		return false
	}
	return !st.inRaft(id)
}

// beyond reports whether the table or the raft log of this node goes further than the
// entry of a term and an index, which it has.
func (c *Cluster) beyond(term, index uint64) bool {
	if c.tb.Applied() > index {
		return true
	}
	var e raft.Log
	return c.raft.LastIndex() > index && c.wal.GetLog(index, &e) == nil && e.Term == term
}

// outgrown returns a voter by raft's configuration as this node has it, if a log that ends
// with the entry of a term and an index goes further than this node's, and "" if not.
func (st *standing) outgrown(term, index uint64) raft.ServerID {
	voters := leader.Voters(st.raft)
	if len(voters) == 0 || !further(term, index, st.lastTerm(), st.raft.LastIndex()) {
		return ""
	}
	return voters[0].ID
}

func (st *standing) inRaft(id ownership.NodeID) bool {
	return leader.Placed(st.servers(), id)
}

// votersHere returns who votes by raft's configuration as this node has it.
func (st *standing) votersHere() (ids []string) {
	for _, s := range leader.Voters(st.raft) {
		ids = append(ids, string(s.ID))
	}
	return ids
}

// lastTerm returns the term of the last entry in this node's raft log, which raft tells as
// text only.
func (st *standing) lastTerm() uint64 {
	term, _ := strconv.ParseUint(st.raft.Stats()["last_log_term"], 10, 64)
	return term
}

// candidate is raft as the election room asks it.
type candidate struct{ *entry }

func (c candidate) Leader() ownership.NodeID {
	_, id := c.raft.LeaderWithID()
	return ownership.NodeID(id)
}

func (c candidate) Voters() []ownership.NodeID { return nodeIDs(c.votersHere()) }
func (c candidate) Term() uint64               { return c.raft.CurrentTerm() }

func (c candidate) Last() election.Last {
	return election.Last{Term: c.lastTerm(), Index: c.raft.LastIndex()}
}

// Stands keeps to what raft's own timers do: see stand, and RequestVote of the transport.
func (c candidate) Stands() bool {
	return c.raft.State() == raft.Follower && !c.trans.NotAdmitted.Load() && !c.st.Lineage().Newcomer && !c.stopping.Load() &&
		slices.Contains(c.Voters(), c.self)
}

func (c candidate) Elect() bool { return c.trans.Elect(raft.ServerID(c.self)) }

// refuses reports whether nobody listens where a node said that it is, by the word of the
// machine there.
func (en *entry) refuses(ctx context.Context, id ownership.NodeID) bool {
	where := en.where(id)
	if len(where) == 0 {
		return false
	}
	addrs := en.dial.Resolved(ctx, where[:1])
	for _, addr := range addrs {
		conn, err := en.dial.Dial(ctx, addr, false, id)
		if err == nil {
			_ = conn.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return false
		}
	}
	return len(addrs) > 0
}

// leaderView is who leads, as raft on this node sees it.
type leaderView struct {
	mu      sync.Mutex
	id      ownership.NodeID
	addr    string
	changed signal
	lost    time.Time // when there was a leader last; zero: there is one, or never was
}

// gone returns how long there has been no leader any more.
func (v *leaderView) gone(now time.Time) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lost.IsZero() {
		return 0
	}
	return now.Sub(v.lost)
}

// now returns the leader (empty: none) and a channel closed by the next change.
func (v *leaderView) now() (ownership.NodeID, string, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.id, v.addr, v.changed.next()
}

func (v *leaderView) set(id ownership.NodeID, addr string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.id == id && v.addr == addr {
		return false
	}
	switch {
	case id != "":
		v.lost = time.Time{}
	case v.id != "":
		v.lost = time.Now()
	}
	v.id, v.addr = id, addr
	v.changed.fire()
	return true
}

// observerBuffer is room for changes of leader that come while one is handled;
// each is looked up afresh, so a lost one does no harm.
const observerBuffer = 16

func (c *Cluster) watchLeader() {
	seen := make(chan raft.Observation, observerBuffer)
	obs := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	c.raft.RegisterObserver(obs)
	defer c.raft.DeregisterObserver(obs)
	for {
		addr, id := c.raft.LeaderWithID()
		if c.leader.set(ownership.NodeID(id), string(addr)) {
			c.log.Info("the region's leader changed", "leader", string(id), "addr", string(addr))
			if id != "" {
				c.renewAt.fire()
			}
		}
		select {
		case <-seen:
		case <-c.ctx.Done():
			return
		}
	}
}

// Leader returns the region's leader and its cluster address; false: none is
// known right now.
func (st *standing) Leader() (ownership.NodeID, string, bool) {
	id, addr, _ := st.leader.now()
	return id, addr, id != ""
}
