package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// start is the moment at which the fake region's clock begins.
var start = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

// fake is a region of three nodes in memory: Table, Journal and Cluster at once.
type fake struct {
	terms      ownership.RestoreTerms // of the last restore
	shown      string                 // the token that came with the last join
	mu         sync.Mutex
	nodes      map[ownership.NodeID]ownership.Node
	partitions map[ownership.PartitionID]ownership.Partition
	calls      map[ownership.CallID]ownership.Call
	events     []history.Event
	dropped    uint64 // events up to this ID are no longer kept
	damaged    error  // what reading the history fails with
	arrived    chan struct{}
	applied    uint64
	format     uint32
	tokens     []ownership.DoorToken
	rules      []ownership.Rules
	keep       ownership.Keep
	rollouts   []ownership.Rollout
	noted      []ownership.Note
	status     api.ClusterStatus
	peers      []api.Peer
	fitness    ownership.RegionFitness
	forecast   api.NodeForecast
	plan       api.Evacuation
	far        []api.Region // instead of amer, if set

	meetFail error    // what meeting a node returns, if set
	fail     error    // what every act and check returns, if set
	asked    []string // acts and checks, in order
	snapshot string
	restored string
	pause    time.Duration // between two captured calls; 0: a millisecond
	broken   error         // what listing calls fails with, if set
	stall    bool          // acts wait for their context's end
	catchUp  func()        // what the read barrier brings into the table, if set
}

func newFake() *fake {
	f := &fake{
		nodes: map[ownership.NodeID]ownership.Node{}, partitions: map[ownership.PartitionID]ownership.Partition{},
		calls: map[ownership.CallID]ownership.Call{}, arrived: make(chan struct{}), applied: 4711, format: ownership.FormatRules, snapshot: "a whole table",
		status: api.ClusterStatus{State: "follower", Term: 7, Leader: "emea-2", LeaderAddr: "10.0.0.2:8471", Applied: 4711, Commit: 4711,
			LeaseUntil: start.Add(2 * time.Second), Voters: 3, Secure: true},
	}
	var part ownership.PartitionID
	for i, state := range []ownership.NodeState{ownership.NodeActive, ownership.NodeActive, ownership.NodeDraining, ownership.NodeGone} {
		id := ownership.NodeID(fmt.Sprintf("emea-%d", i+1))
		f.nodes[id] = ownership.Node{ID: id, Region: "emea", Zone: string(rune('a' + i)), ClusterAddr: fmt.Sprintf("10.0.0.%d:8471", i+1),
			Capacity: 50, State: state, Voter: true, Incarnation: "inc-" + string(id), Version: "0.1.0", Format: 1, JoinedAt: start}
		if state == ownership.NodeGone {
			continue
		}
		f.peers = append(f.peers, api.Peer{ID: id, Address: f.nodes[id].ClusterAddr, Voter: true, Leader: i == 1, Known: true, Healthy: true})
		for range 3 {
			part++
			f.partitions[part] = ownership.Partition{ID: part, Owner: id, Epoch: 1, BornOn: id}
		}
	}
	return f
}

// add puts a call into a partition and tells of it.
func (f *fake) add(c ownership.Call) {
	f.mu.Lock()
	p := f.partitions[c.Partition]
	c.Epoch = p.Epoch
	if c.Placement.Owner == "" {
		c.Placement = ownership.Placement{Partition: p.ID, Epoch: p.Epoch, Owner: p.Owner, Reason: ownership.ReasonLeastLoaded}
	}
	if c.State.Live() {
		p.Live++
		f.partitions[p.ID] = p
	}
	candidates := c.Placement.Candidates
	if c.State == ownership.CallEnded {
		c.Placement.Candidates = nil // the table's tombstones have none
	}
	f.calls[c.ID] = c
	f.mu.Unlock()
	f.tell(history.Event{Kind: "claimed", Candidates: candidates, Call: c.ID, Partition: p.ID, Node: p.Owner, Epoch: p.Epoch, At: c.ClaimedAt, Text: "placed on " + string(p.Owner)})
}

// tell appends an event and wakes the followers.
func (f *fake) tell(e history.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied++
	e.ID, e.Index = f.lastID()+1, f.applied
	f.events = append(f.events, e)
	close(f.arrived)
	f.arrived = make(chan struct{})
}

func (f *fake) lastID() uint64 {
	if len(f.events) == 0 {
		return f.dropped
	}
	return f.events[len(f.events)-1].ID
}

// forget drops the n oldest events.
func (f *fake) forget(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropped = f.events[n-1].ID
	f.events = slices.Clone(f.events[n:])
}

func (f *fake) Applied() uint64 { f.mu.Lock(); defer f.mu.Unlock(); return f.applied }

func (f *fake) Nodes() []ownership.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []ownership.Node
	for _, n := range f.nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b ownership.Node) int { return compare(a.ID, b.ID) })
	return out
}

func (f *fake) Node(id ownership.NodeID) (ownership.Node, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.nodes[id]
	return n, ok
}

func (f *fake) Partitions() []ownership.Partition {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []ownership.Partition
	for _, p := range f.partitions {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b ownership.Partition) int { return int(a.ID) - int(b.ID) })
	return out
}

func (f *fake) Partition(id ownership.PartitionID) (ownership.Partition, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.partitions[id]
	return p, ok
}

func (f *fake) Live(id ownership.NodeID) int {
	n := 0
	for _, p := range f.Partitions() {
		if p.Owner == id {
			n += p.Live
		}
	}
	return n
}

func (f *fake) Overdue(id ownership.NodeID, at time.Time) map[ownership.AppID]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	late := map[ownership.AppID]int{}
	for _, c := range f.calls {
		if f.partitions[c.Partition].Owner == id && c.State == ownership.CallClaimed && !c.Deadline.IsZero() && at.After(ownership.RingsUntil(c.Deadline)) {
			late[c.App]++
		}
	}
	return late
}

func (f *fake) Call(id ownership.CallID) (ownership.Call, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.calls[id]
	return c, ok
}

func (f *fake) Calls(q ownership.CallFilter, cursor string, limit int) ([]ownership.Call, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []ownership.Call
	for _, c := range f.calls {
		switch {
		case q.Node != "" && f.partitions[c.Partition].Owner != q.Node,
			q.Partition != 0 && c.Partition != q.Partition,
			q.Tenant != "" && c.Tenant != q.Tenant,
			q.App != "" && c.App != q.App,
			q.Group != "" && !slices.Contains(c.Groups, q.Group),
			q.State != 0 && c.State != q.State:
		default:
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b ownership.Call) int { return compare(a.ID, b.ID) })
	all = slices.DeleteFunc(all, func(c ownership.Call) bool { return string(c.ID) <= cursor })
	if f.broken != nil {
		return nil, "", f.broken
	}
	if len(all) <= limit {
		return all, "", nil
	}
	return all[:limit], string(all[limit-1].ID), nil
}

func compare[T ~string](a, b T) int {
	if a < b {
		return -1
	}
	return 1
}

func (f *fake) Events(after uint64, limit int) ([]history.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.damaged != nil {
		return nil, f.damaged
	}
	var out []history.Event
	for _, e := range f.events {
		if e.ID > after && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, nil
}

func (f *fake) Latest(limit int) ([]history.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events[max(0, len(f.events)-limit):]), f.damaged
}

func (f *fake) Wait(ctx context.Context, after uint64) error {
	for {
		f.mu.Lock()
		last, arrived := f.lastID(), f.arrived
		f.mu.Unlock()
		if last > after {
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fake) Timeline(id ownership.CallID) ([]history.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []history.Event
	for _, e := range f.events {
		if e.Call == id {
			out = append(out, e)
		}
	}
	return out, f.damaged
}

// ask remembers an act and gives what it is to fail with.
func (f *fake) ask(ctx context.Context, format string, args ...any) error {
	f.mu.Lock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	fail, stall := f.fail, f.stall
	f.mu.Unlock()
	if stall {
		<-ctx.Done()
		return fmt.Errorf("asking the leader: %w", ctx.Err())
	}
	return fail
}

// done returns what was asked of the cluster so far.
func (f *fake) done() []string { f.mu.Lock(); defer f.mu.Unlock(); return slices.Clone(f.asked) }

// set changes the fake under its lock.
func (f *fake) set(change func()) { f.mu.Lock(); defer f.mu.Unlock(); change() }

func (f *fake) Do(ctx context.Context, a ownership.Act) (*ownership.Outcome, error) {
	if err := f.ask(ctx, "do %T", a); err != nil {
		return nil, err
	}
	if err := errors.Join(f.applyToken(a), f.applyRules(a)); err != nil {
		return &ownership.Outcome{Err: err}, err
	}
	f.applyLedger(a)
	f.applyRollout(a)
	if r, ok := a.(ownership.Release); ok {
		f.set(func() {
			c := f.calls[r.Call]
			c.State, c.Ending, c.EndedAt = ownership.CallEnded, r.Why, r.At
			f.calls[r.Call] = c
		})
	}
	return &ownership.Outcome{Index: f.Applied()}, nil
}

func (f *fake) Meet(ctx context.Context, addr string, expected ownership.NodeID, token string) (ownership.Node, error) {
	f.set(func() { f.shown = token })
	if err := f.ask(ctx, "meet %s", addr); err != nil {
		return ownership.Node{}, err
	}
	if expected != "" && expected != "emea-9" {
		return ownership.Node{}, fmt.Errorf("meeting the node at %s: it is emea-9, not %s: %w", addr, expected, ownership.ErrConflict)
	}
	f.mu.Lock()
	fail := f.meetFail
	f.mu.Unlock()
	if fail != nil {
		return ownership.Node{}, fail
	}
	n := ownership.Node{ID: "emea-9", Region: "emea", ClusterAddr: addr, Capacity: 5, State: ownership.NodeActive, Incarnation: "i"}
	f.set(func() { f.nodes[n.ID] = n })
	return n, nil
}

func (f *fake) known(id ownership.NodeID) error {
	if _, ok := f.Node(id); !ok {
		return fmt.Errorf("finding the node %s: %w", id, ownership.ErrUnknown)
	}
	return nil
}

func (f *fake) Found(ctx context.Context) error { return f.ask(ctx, "found") }
func (f *fake) Lease() time.Duration            { return 2 * time.Second }
func (f *fake) SetLease(ctx context.Context, length time.Duration) error {
	return f.ask(ctx, "lease %s", length)
}
func (f *fake) Leave(ctx context.Context) error { return f.ask(ctx, "leave") }
func (f *fake) Remove(ctx context.Context, id ownership.NodeID) error {
	return errors.Join(f.ask(ctx, "remove %s", id), f.known(id))
}
func (f *fake) Drain(ctx context.Context, id ownership.NodeID, until time.Time) error {
	return errors.Join(f.ask(ctx, "drain %s %s", id, until.Format(time.RFC3339)), f.known(id))
}
func (f *fake) Undrain(ctx context.Context, id ownership.NodeID) error {
	return errors.Join(f.ask(ctx, "undrain %s", id), f.known(id))
}
func (f *fake) Move(ctx context.Context, p ownership.PartitionID, to ownership.NodeID) error {
	return errors.Join(f.ask(ctx, "move %d %s", p, to), f.known(to))
}
func (f *fake) TransferLeader(ctx context.Context, to ownership.NodeID) error {
	return f.ask(ctx, "transfer %s", to)
}
func (f *fake) SafeToStop(_ context.Context, id ownership.NodeID) (ownership.StopCheck, error) {
	return ownership.StopCheck{Node: id, Safe: true, Voters: 3, Well: 2}, f.known(id)
}
func (f *fake) Peers() []api.Peer { f.mu.Lock(); defer f.mu.Unlock(); return slices.Clone(f.peers) }
func (f *fake) ReadBarrier(ctx context.Context) error {
	f.mu.Lock()
	if f.catchUp != nil {
		f.catchUp()
	}
	f.mu.Unlock()
	return f.ask(ctx, "read barrier")
}
func (f *fake) Fitness() ownership.RegionFitness {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fitness
}

func (f *fake) Status() api.ClusterStatus { f.mu.Lock(); defer f.mu.Unlock(); return f.status }

func (f *fake) SaveSnapshot(ctx context.Context, w io.Writer) error {
	if _, err := io.WriteString(w, f.snapshot); err != nil {
		return err
	}
	return f.ask(ctx, "save")
}

func (f *fake) RestoreSnapshot(ctx context.Context, r io.Reader, terms ownership.RestoreTerms) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	f.set(func() { f.restored, f.terms = string(body), terms })
	return f.ask(ctx, "restore")
}
