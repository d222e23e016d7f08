package store

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"tandem/ownership"
	"tandem/store/record"
	"tandem/store/tablepb"
)

// Table is the ownership table of one region: a raft.FSM to raft, an
// ownership.View to the rules.
type Table struct {
	opt        Options
	path       string
	deployment string
	region     ownership.Region
	node       ownership.NodeID

	mu       sync.RWMutex // guards everything to the blank line
	st       *state
	dirty    *batch   // changes since the last batch was sealed
	sealed   []*batch // on their way to the file, oldest first
	db       *bbolt.DB
	disk     diskState
	flushErr error         // why the last flush failed; nil: it did not
	flushed  chan struct{} // closed and replaced when disk or flushErr changes
	closed   bool

	published // read without the lock

	// Touched by raft's FSM goroutine only.
	lastSeen    uint64 // newest index given to Apply
	replayUntil uint64 // up to here Apply meets acts that table.db holds
	restored    bool   // by Restore, in this process

	flushMu sync.Mutex    // held while a batch is written, and by Restore
	dirtied chan struct{} // a first change is waiting
	urgent  chan struct{} // do not wait for FlushEvery
	stop    chan struct{}
	stopped atomic.Pointer[error] // why the table applies nothing more
	dead    chan struct{}         // closed once stopped is set
	running sync.WaitGroup

	watchMu  sync.Mutex
	watchers map[*Watcher]struct{}

	annals annals
}

// diskState says what the file holds.
type diskState struct {
	applied   uint64
	term      uint64
	events    uint64
	eventsSum uint64
}

func diskOf(m *tablepb.Meta) diskState {
	return diskState{applied: m.GetApplied(), term: m.GetTerm(), events: m.GetEvents(), eventsSum: m.GetEventsSum()}
}

func newTable(path string, stamp Stamp, o Options) *Table {
	t := &Table{
		opt: o, path: path, deployment: stamp.Deployment, region: stamp.Region, node: stamp.Node,
		st: newState(), dirty: newBatch(),
		flushed: make(chan struct{}),
		dirtied: make(chan struct{}, 1), urgent: make(chan struct{}, 1), stop: make(chan struct{}), dead: make(chan struct{}),
		watchers: map[*Watcher]struct{}{},
	}
	t.ruled = make(chan struct{}, 1)
	t.publish(t.st)
	return t
}

// fatal stops the table and tells OnFatal, which by default panics.
func (t *Table) fatal(err error) {
	err = fmt.Errorf("node %s must stop: %w", t.node, err)
	if t.stopped.CompareAndSwap(nil, &err) {
		close(t.dead)
		t.opt.Logger.Error("the ownership table has stopped", "err", err)
	}
	t.opt.OnFatal(err)
}

// Apply implements raft.FSM. It gives an *ownership.Outcome. An entry that
// table.db already holds is skipped: raft replays from its snapshot, which may
// be older than the file. An entry that this software cannot read is not
// skipped: OnFatal is called, and the table applies nothing from then on.
func (t *Table) Apply(l *raft.Log) any {
	if l.Type != raft.LogCommand {
		return nil
	}
	if err := t.stopped.Load(); err != nil {
		t.opt.OnFatal(*err)
		return &ownership.Outcome{Index: l.Index, Err: *err}
	}
	t.lastSeen = max(t.lastSeen, l.Index)
	if applied := t.Applied(); l.Index <= applied {
		return t.skip(l.Index, applied)
	}
	act, err := record.DecodeAct(l.Data)
	if err != nil {
		err = fmt.Errorf("applying entry %d of the raft log: %w; upgrade this node's software, its data are intact", l.Index, err)
		t.fatal(err)
		return &ownership.Outcome{Index: l.Index, Err: err}
	}
	t.awaitRoom()
	out := t.apply(l.Index, l.Term, act)
	t.wake()
	return out
}

// skip passes over an act that the table holds. That is right while raft
// replays its log over table.db. After Restore it is not: raft's index is then
// beyond the snapshot's, unless the snapshot was restored under a wrong index.
func (t *Table) skip(index, applied uint64) *ownership.Outcome {
	out := &ownership.Outcome{Index: index}
	if t.restored {
		out.Err = fmt.Errorf("entry %d of the raft log is older than the restored snapshot, which holds entry %d: "+
			"restore it with the index that Inspect gives", index, applied)
		t.fatal(out.Err)
	}
	return out
}

// apply carries one act out under the lock.
func (t *Table) apply(index, term uint64, act ownership.Act) *ownership.Outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return &ownership.Outcome{Index: index, Err: ErrClosed}
	}
	a := applier{reading{t: t}, pen{st: t.st, b: t.dirty, index: index}}
	defer a.done()
	out := &ownership.Outcome{Index: index}
	a.act(act, out)
	if t.stopped.Load() != nil {
		return out // half an act must not look applied
	}
	t.st.applied, t.st.term = index, term
	t.dirty.seal(t.st)
	t.publish(t.st)
	return out
}

// Durable is the raft index of the last act that table.db holds on disk.
func (t *Table) Durable() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.disk.applied
}

// Hash returns a checksum of all nodes, partitions and calls, and the applied
// index at which it was taken. Two nodes with the same software must show the
// same hash at the same index. The history is not part of it.
func (t *Table) Hash() (string, uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return fmt.Sprintf("%016x", t.st.sum), t.st.applied
}

// Err tells why the table cannot write to its file right now, such as a full
// disk, or why it has stopped; nil: all is well.
func (t *Table) Err() error {
	if err := t.stopped.Load(); err != nil {
		return *err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.flushErr
}

var _ raft.FSM = (*Table)(nil)
