package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

var t0 = time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)

// at returns a time some seconds into the test.
func at(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

// testStamp is whose data the tests make.
var testStamp = Stamp{Deployment: "prod", Region: "emea", Node: "emea-1"}

// rig is a store under test, fed like raft feeds it: log first, then Apply.
type rig struct {
	testing.TB
	dir   string
	opt   Options
	store *Store
	table *Table
	index uint64
	fatal []error
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func newRig(t testing.TB, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{TB: t, dir: filepath.Join(t.TempDir(), "data")}
	r.opt = Options{Logger: quiet(), SegmentBytes: 1 << 20, Now: func() time.Time { return t0 }}
	r.opt.OnFatal = func(err error) { r.fatal = append(r.fatal, err) }
	for _, f := range change {
		f(&r.opt)
	}
	r.open()
	t.Cleanup(func() {
		if r.store != nil {
			_ = r.store.Close()
		}
	})
	return r
}

// newRegion is a rig of a region that keeps the calls of silent nodes for them.
func newRegion(t testing.TB, nodes ...string) *rig {
	t.Helper()
	r := newRig(t, func(o *Options) { o.FlushEvery = time.Hour }) // what an act changed can be looked at
	r.must(ownership.SetFormat{At: at(0), Format: record.CommandFormat})
	r.join(nodes...)
	return r
}

func (r *rig) open() {
	r.Helper()
	s, err := Open(r.dir, testStamp, r.opt)
	if err != nil {
		r.Fatal(err)
	}
	r.store, r.table = s, s.Table()
}

func (r *rig) close() {
	r.Helper()
	if err := r.store.Close(); err != nil {
		r.Fatal(err)
	}
	r.store = nil
}

// reopen starts the store anew and replays what table.db lacks, as raft does.
func (r *rig) reopen() {
	r.Helper()
	r.close()
	r.open()
	r.replay()
}

func (r *rig) replay() {
	r.Helper()
	first, err := r.store.Log().FirstIndex()
	if err != nil {
		r.Fatal(err)
	}
	for i := first; i <= r.index && first > 0; i++ {
		var l raft.Log
		if err := r.store.Log().GetLog(i, &l); err != nil {
			r.Fatal(err)
		}
		r.table.Apply(&l)
	}
}

// do applies one act and gives its outcome.
func (r *rig) do(act ownership.Act) *ownership.Outcome {
	r.Helper()
	data, err := record.EncodeAct(act, record.Needs(act))
	if err != nil {
		r.Fatal(err)
	}
	return r.entry(data)
}

func (r *rig) entry(data []byte) *ownership.Outcome {
	r.Helper()
	r.index++
	l := &raft.Log{Index: r.index, Term: 3, Type: raft.LogCommand, Data: data}
	if err := r.store.Log().StoreLog(l); err != nil {
		r.Fatal(err)
	}
	return r.table.Apply(l).(*ownership.Outcome)
}

// must applies an act that must not be refused.
func (r *rig) must(act ownership.Act) *ownership.Outcome {
	r.Helper()
	out := r.do(act)
	if err := errors.Join(append(out.Errors, out.Err)...); err != nil {
		r.Fatalf("%T: %v", act, err)
	}
	return out
}

// refused applies an act that must be refused with the error, in a sentence.
func (r *rig) refused(act ownership.Act, want error, says string) {
	r.Helper()
	out := r.do(act)
	if !errors.Is(out.Err, want) || !strings.Contains(fmt.Sprint(out.Err), says) {
		r.Errorf("%T gave %v, want %v saying %q", act, out.Err, want, says)
	}
}

func node(id string) ownership.Node {
	return ownership.Node{
		ID: ownership.NodeID(id), Region: "emea", Zone: "z-" + id, ClusterAddr: id + ".example:7400",
		Capacity: 1000, Incarnation: "inc-" + id, Version: "1.0", Format: record.CommandFormat, Voter: true,
	}
}

func fit(ids ...string) map[ownership.NodeID]ownership.Fitness {
	m := map[ownership.NodeID]ownership.Fitness{}
	for _, id := range ids {
		m[ownership.NodeID(id)] = ownership.Fitness{Leased: true, Bot: true}
	}
	return m
}

func (r *rig) join(ids ...string) {
	r.Helper()
	for _, id := range ids {
		r.must(ownership.Join{At: at(0), Node: node(id), Partitions: 2})
	}
}

// callID makes a GUID-like id.
func callID(n int) ownership.CallID { return ownership.CallID(fmt.Sprintf("%032x", n)) }

func claim(id ownership.CallID, change ...func(*ownership.Claim)) ownership.Claim {
	c := ownership.Claim{
		Call: id, RawCall: strings.ToUpper(string(id)), App: "app-1", Tenant: "tenant-1", Deadline: at(15), Received: at(0), Via: "emea-1",
		Modalities: []string{"audio"}, Organizer: "o-1", Thread: "19:meeting",
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

// claimOn claims calls at second s with the given nodes fit to take them.
func (r *rig) claimOn(s int, nodes map[ownership.NodeID]ownership.Fitness, claims ...ownership.Claim) *ownership.Outcome {
	r.Helper()
	return r.must(ownership.Claims{At: at(s), Fitness: nodes, Claims: claims})
}

func (r *rig) call(id ownership.CallID) ownership.Call {
	r.Helper()
	c, ok := r.table.Call(id)
	if !ok {
		r.Fatalf("call %s is not in the table", id)
	}
	return c
}

func (r *rig) kinds(after uint64) (kinds []history.Kind) {
	r.Helper()
	events, err := r.table.Events(after, 0)
	if err != nil {
		r.Fatal(err)
	}
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func (r *rig) lastEvent() uint64 {
	r.Helper()
	events, err := r.table.Events(0, 0)
	if err != nil {
		r.Fatal(err)
	}
	if len(events) == 0 {
		return 0
	}
	return events[len(events)-1].ID
}

func pinned(c *ownership.Claim) { c.Pinned = true }
