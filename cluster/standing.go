package cluster

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/lease"
	"tandem/cluster/presence"
	"tandem/ownership"
	"tandem/store"
)

// shared is what every part of a Cluster knows. Start and open fill it in; then
// only what is atomic or a signal changes.
type shared struct {
	cfg     Config
	deps    Deps
	self    ownership.NodeID
	addr    string        // advertised
	process string        // random, of this start
	born    time.Time     // when it began
	before  store.Lineage // of the disk, as this process found it
	log     *slog.Logger
	st      *store.Store
	tb      *store.Table
	m       *metrics
	raft    *raft.Raft

	applied signal      // fires after every act that the table applied
	entered atomic.Bool // the table holds this node's record as it is now
	renewAt signal      // fires when a renewal is due at once
	enterAt signal      // fires when the node must announce itself again

	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	stopping atomic.Bool
}

// standing is what this node knows of calls, partitions and nodes, and what it may
// do by its lease. It changes nothing.
type standing struct {
	*shared
	lease     lease.Lease
	pending   *pendingClaims
	present   *presence.Book
	former    atomic.Pointer[string] // see formerly
	leader    leaderView
	trouble   atomic.Pointer[string] // why the table does not hold this node, or why it cannot go on
	fatalOnce sync.Once
	heard     atomic.Pointer[ownership.RegionFitness] // see Fitness
}

// OwnerOf returns who acts for a call of a partition, at which epoch, and whether
// this node may do so right now: the call's standing where this node knows the
// call, else the partition's owner. The two differ for calls that are reserved
// for a node that fell silent.
func (st *standing) OwnerOf(call ownership.CallID, id ownership.PartitionID) (ownership.Owner, bool) {
	k, reserved := st.reserved(call)
	if !reserved || k.Partition != id {
		return st.Owner(id)
	}
	o := st.owner(k.Owner, id, k.Epoch)
	o.Acting = o.Here && st.Holds(call, id, k.Epoch)
	return o, true
}

// reserved returns a call whose standing is not its partition's.
func (st *standing) reserved(call ownership.CallID) (ownership.Known, bool) {
	k, ok := st.tb.Known(call)
	if !ok || k.Owner == "" || k.State == ownership.CallEnded {
		return k, false
	}
	p, ok := st.tb.Partition(k.Partition)
	return k, ok && (k.Owner != p.Owner || k.Epoch != p.Epoch)
}

// Fresh returns once this node knows every call that the region knew when it was
// asked, within a second. Then what Find does not know does not exist. The error
// is ErrNoLeader when nobody could tell in time.
func (pr *proposals) Fresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, freshLimit)
	defer cancel()
	return pr.ReadBarrier(ctx)
}

// freshLimit bounds Fresh: longer than an election takes, shorter than a caller's
// patience.
const freshLimit = time.Second

// signal wakes everybody who waits for the next thing to happen. The zero value
// is ready.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns a channel that is closed by the next fire. Take it before looking
// at what it announces.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
