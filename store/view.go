package store

import (
	"cmp"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"tandem/ownership"
	"tandem/store/tablepb"
)

// reading is one look at the table while its lock is held, for reading or for
// writing. It opens a read transaction of bbolt when it first needs a record
// from the file; done closes it.
type reading struct {
	t  *Table
	tx *bbolt.Tx
}

func (r *reading) done() {
	if r.tx != nil {
		_ = r.tx.Rollback() // of a read transaction: it cannot fail
		r.tx = nil
	}
}

// value returns the sealed record of a call, newest first: what is not yet
// written, then the file. It lives until done. nil: there is none, or the file
// failed and the table has said so.
func (r *reading) value(id ownership.CallID) []byte {
	if v, ok := r.t.pendingCall(id); ok {
		return v
	}
	if r.t.closed {
		return nil
	}
	if r.tx == nil {
		tx, err := r.t.db.Begin(false)
		if err != nil {
			r.t.fatal(err)
			return nil
		}
		r.tx = tx
	}
	return r.tx.Bucket(bucketCalls).Get([]byte(id))
}

// call reads the whole record of a call that the index holds, and the record's
// share in the table's sum.
func (r *reading) call(id ownership.CallID) (ownership.Call, uint64, bool) {
	var m tablepb.Call
	sum, ok := r.message(id, &m)
	if !ok {
		return ownership.Call{}, 0, false
	}
	return callIn(&m), sum, true
}

func (r *reading) message(id ownership.CallID, m *tablepb.Call) (uint64, bool) {
	value := r.value(id)
	if value == nil {
		if !r.t.closed && r.t.stopped.Load() == nil {
			r.t.fatal(damage("table.db lacks the record of call %s", id))
		}
		return 0, false
	}
	content, err := unseal([]byte(id), value)
	if err == nil {
		if err = proto.Unmarshal(content, m); err == nil {
			return recordSum(kindCall, []byte(id), value), true
		}
	}
	r.t.fatal(damage("reading call %s: %w", id, err))
	return 0, false
}

// Known implements ownership.View.
func (r *reading) Known(id ownership.CallID) (ownership.Known, bool) {
	ref := r.t.st.calls.find(id)
	if ref == 0 {
		return ownership.Known{}, false
	}
	e := r.t.st.calls.calls.at(ref)
	s := r.t.st.stands(e)
	return ownership.Known{
		App: r.t.st.calls.apps[e.app], Partition: ownership.PartitionID(e.partition), Pinned: e.flags&flagPinned != 0,
		Owner: s.Owner, Epoch: s.Epoch, State: s.State,
	}, true
}

// Legs implements ownership.View.
func (r *reading) Legs(key ownership.GroupKey) []ownership.Leg {
	var legs []ownership.Leg
	var m tablepb.Call
	r.t.st.calls.inGroup(key, func(ref uint32) {
		id := r.t.st.calls.id(ref)
		if _, ok := r.message(id, &m); !ok || !slices.Contains(m.GetGroups(), string(key)) {
			return
		}
		legs = append(legs, ownership.Leg{
			Call: id, App: ownership.AppID(m.GetApp()), Partition: ownership.PartitionID(m.GetPartition()),
			State: r.t.st.stands(r.t.st.calls.calls.at(ref)).State, Paired: m.GetPaired(), Observed: m.GetObserved(),
			ClaimedAt: readTime(m.GetClaimedAt()), Deadline: readTime(m.GetDeadline()),
		})
	})
	slices.SortFunc(legs, func(a, b ownership.Leg) int {
		return cmp.Or(a.ClaimedAt.Compare(b.ClaimedAt), cmp.Compare(a.Call, b.Call))
	})
	return legs
}

// Partition implements ownership.View.
func (r *reading) Partition(id ownership.PartitionID) (ownership.Partition, bool) {
	p, ok := r.t.st.parts[id]
	if !ok {
		return ownership.Partition{}, false
	}
	return p.record(), true
}

// PartitionsOf implements ownership.View; retired partitions have no owner.
func (r *reading) PartitionsOf(id ownership.NodeID) []ownership.Partition {
	n, ok := r.t.st.nodes[id]
	if !ok {
		return nil
	}
	out := make([]ownership.Partition, len(n.owned))
	for i, p := range n.owned {
		out[i] = r.t.st.parts[p].record()
	}
	return out
}

// Node implements ownership.View.
func (r *reading) Node(id ownership.NodeID) (ownership.Node, bool) {
	n, ok := r.t.st.nodes[id]
	if !ok {
		return ownership.Node{}, false
	}
	return n.rec, true
}

// Nodes implements ownership.View. The slice must not be changed.
func (r *reading) Nodes() []ownership.Node { return r.t.st.nodeList }

// Live implements ownership.View.
func (r *reading) Live(id ownership.NodeID) int {
	n, ok := r.t.st.nodes[id]
	if !ok {
		return 0
	}
	return int(n.live.Load())
}

// LiveOf implements ownership.View.
func (r *reading) LiveOf(id ownership.NodeID, app ownership.AppID) int {
	n, ok := r.t.st.nodes[id]
	if !ok {
		return 0
	}
	number, ok := r.t.st.calls.numbers[app]
	if !ok {
		return 0
	}
	return n.apps.of(number)
}

// Overdue implements ownership.View. A claimed call is its partition's owner's.
func (r *reading) Overdue(id ownership.NodeID, at time.Time) map[ownership.AppID]int {
	n, ok := r.t.st.nodes[id]
	if !ok {
		return nil
	}
	var late counts
	for _, p := range n.owned {
		r.t.st.parts[p].overdue(at, &late)
	}
	if late.sum() == 0 {
		return nil
	}
	out := map[ownership.AppID]int{}
	for app, by := range late {
		if by != 0 {
			out[r.t.st.calls.apps[app]] = int(by)
		}
	}
	return out
}

// Overdue implements ownership.View.
func (t *Table) Overdue(id ownership.NodeID, at time.Time) map[ownership.AppID]int {
	return look(t, func(r *reading) map[ownership.AppID]int { return r.Overdue(id, at) })
}

// Format implements ownership.View.
func (r *reading) Format() uint32 { return r.t.st.format }

// View calls f with one consistent view of the table. Apply waits meanwhile, so
// f is to be short, and it must not call the table itself: a second reading
// lock behind a waiting writer never comes.
func (t *Table) View(f func(ownership.View)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r := reading{t: t}
	defer r.done()
	f(&r)
}

func look[T any](t *Table, f func(r *reading) T) T {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r := reading{t: t}
	defer r.done()
	return f(&r)
}

// Known implements ownership.View: what routing needs of a call, from memory.
func (t *Table) Known(id ownership.CallID) (ownership.Known, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r := reading{t: t}
	return r.Known(id)
}

// Legs implements ownership.View. It reads the records of the group's calls.
func (t *Table) Legs(key ownership.GroupKey) []ownership.Leg {
	return look(t, func(r *reading) []ownership.Leg { return r.Legs(key) })
}

var (
	_ ownership.View = (*Table)(nil)
	_ ownership.View = (*reading)(nil)
)
