package store

import (
	"cmp"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/index"
	"tandem/store/record"
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
	return r.stored(bucketCalls, []byte(id))
}

// stored is a record as it stands in the file, sealed; it lives until done. nil: there
// is none, or the file failed and the table has said so.
func (r *reading) stored(bucket, key []byte) []byte {
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
	if b := r.tx.Bucket(bucket); b != nil {
		return b.Get(key)
	}
	return nil
}

// call reads the whole record of a call that the index holds, and the record's
// share in the table's sum.
func (r *reading) call(id ownership.CallID) (ownership.Call, uint64, bool) {
	value, content := r.content(id)
	if content == nil {
		return ownership.Call{}, 0, false
	}
	c, err := record.CallOf(content)
	if err != nil {
		r.t.fatal(files.Damage("reading call %s: %w", id, err))
		return ownership.Call{}, 0, false
	}
	return c, record.Sum(record.KindCall, []byte(id), value), true
}

// content is the record of a call that the index holds, sealed and without its
// seal; nil: it cannot be read, and the table has said so.
func (r *reading) content(id ownership.CallID) (value, content []byte) {
	value = r.value(id)
	if value == nil {
		if !r.t.closed && r.t.stopped.Load() == nil {
			r.t.fatal(files.Damage("table.db lacks the record of call %s", id))
		}
		return nil, nil
	}
	content, err := record.Unseal([]byte(id), value)
	if err != nil {
		r.t.fatal(files.Damage("reading call %s: %w", id, err))
	}
	return value, content
}

// message reads a call's record into one that is used again.
func (r *reading) message(id ownership.CallID, m *tablepb.Call) bool {
	_, content := r.content(id)
	if content == nil {
		return false
	}
	err := proto.Unmarshal(content, m)
	if err != nil {
		r.t.fatal(files.Damage("reading call %s: %w", id, err))
	}
	return err == nil
}

// Known implements ownership.View.
func (r *reading) Known(id ownership.CallID) (ownership.Known, bool) {
	ref := r.t.st.calls.Find(id)
	if ref == 0 {
		return ownership.Known{}, false
	}
	e := r.t.st.calls.At(ref)
	s := r.t.st.stands(e)
	return ownership.Known{
		App: r.t.st.calls.App(e.App), Partition: ownership.PartitionID(e.Partition), Pinned: e.Flags&index.Pinned != 0,
		Owner: s.Owner, Epoch: s.Epoch, State: s.State,
	}, true
}

// Legs implements ownership.View.
func (r *reading) Legs(key ownership.GroupKey) []ownership.Leg {
	var legs []ownership.Leg
	var m tablepb.Call
	r.t.st.calls.InGroup(key, func(ref uint32) {
		id := r.t.st.calls.ID(ref)
		if !r.message(id, &m) || !slices.Contains(m.GetGroups(), string(key)) {
			return
		}
		legs = append(legs, ownership.Leg{
			Call: id, App: ownership.AppID(m.GetApp()), Partition: ownership.PartitionID(m.GetPartition()),
			State: r.t.st.stands(r.t.st.calls.At(ref)).State, Paired: m.GetPaired(), Observed: m.GetObserved(),
			ClaimedAt: record.Time(m.GetClaimedAt()), Deadline: record.Time(m.GetDeadline()),
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

// Nodes implements ownership.View. The slice must not be changed.
func (r *reading) Nodes() []ownership.Node { return r.t.st.nodeList }

// Live implements ownership.View.
func (r *reading) Live(id ownership.NodeID) int {
	return r.t.st.nodes[id].count()
}

// LiveOf implements ownership.View.
func (r *reading) LiveOf(id ownership.NodeID, app ownership.AppID) int {
	number, known := r.t.st.calls.NumberOf(app)
	return r.t.st.nodes[id].countOf(number, known)
}

// Bundles implements ownership.View. It reads no record.
func (r *reading) Bundles(into []ownership.Bundle, key ownership.GroupKey, observed string) []ownership.Bundle {
	x := r.t.st.calls
	chain := key.IsChain()
	x.Bundles(key, observed, func(e *index.Entry, size int) {
		part := &r.t.st.parts[ownership.PartitionID(e.Partition)].rec
		at := part.Stands(e.State, e.Flags&index.Pinned != 0, x.App(e.App), e.Epoch.Long())
		if !at.State.Live() {
			return
		}
		b := ownership.Bundle{Partition: part.ID, Owner: at.Owner, Count: size}
		if chain || observed != "" {
			b.State, b.App = at.State, x.App(e.App)
			b.Paired, b.Observes = e.Flags&index.Paired != 0, e.Flags&index.Observes != 0
			if b.State == ownership.CallClaimed {
				b.Rings = readSeconds(e.Rings)
			}
		}
		into = append(into, b)
	})
	return into
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
			out[r.t.st.calls.App(uint32(app))] = int(by)
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

// Bundles implements ownership.View.
func (t *Table) Bundles(into []ownership.Bundle, key ownership.GroupKey, observed string) []ownership.Bundle {
	return look(t, func(r *reading) []ownership.Bundle { return r.Bundles(into, key, observed) })
}

var (
	_ ownership.View = (*Table)(nil)
	_ ownership.View = (*reading)(nil)
)
