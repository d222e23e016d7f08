package store

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"tandem/ownership"
	"tandem/store/record"
)

// anyAct draws an act over few names, so that acts meet.
func anyAct(t *rapid.T, m *model, now time.Time) ownership.Act {
	nodeID := func() string { return rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "node") }
	call := func() ownership.CallID {
		n := rapid.IntRange(1, 30).Draw(t, "call")
		if n%5 == 0 {
			return ownership.CallID(fmt.Sprintf("odd%d", n))
		}
		return callID(n)
	}
	epoch := func() ownership.Epoch { return ownership.Epoch(rapid.IntRange(0, 3).Draw(t, "epoch")) }
	fitness := func() map[ownership.NodeID]ownership.Fitness {
		return fit(rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), rapid.ID[string]).Draw(t, "fit")...)
	}
	apps := func() []ownership.AppID {
		return rapid.SliceOfDistinct(rapid.SampledFrom([]ownership.AppID{"app", "bot", ownership.AllApps}), rapid.ID[ownership.AppID]).Draw(t, "apps")
	}
	early := func() ownership.AppID {
		return rapid.SampledFrom([]ownership.AppID{"", "", "app", "bot"}).Draw(t, "early")
	}
	record := func() ownership.Act {
		switch rapid.IntRange(0, 3).Draw(t, "record") {
		case 0:
			return ownership.Answered{Call: call(), Epoch: epoch()}
		case 1:
			return ownership.Release{Call: call(), Epoch: epoch(), Why: "over", Told: rapid.Bool().Draw(t, "told"), App: early()}
		case 2:
			return ownership.TakeUp{Call: call(), Epoch: epoch()}
		default:
			return ownership.Seen{Calls: []ownership.CallID{call()}}
		}
	}
	switch rapid.SampledFrom([]string{
		"claims", "claims", "claims", "answered", "answered", "release", "release", "seen", "forget",
		"join", "join", "drain", "undrain", "depart", "failover", "failover", "move",
		"lapse", "lapse", "reclaim", "take-up", "take-up", "records", "format",
	}).Draw(t, "act") {
	case "claims":
		a := ownership.Claims{At: now, Fitness: fitness()}
		for range rapid.IntRange(1, 6).Draw(t, "claims") {
			app := rapid.SampledFrom([]ownership.AppID{"app", "app", "app", "bot"}).Draw(t, "app")
			c := ownership.Claim{Call: call(), App: app, Deadline: now.Add(15 * time.Second)}
			c.Pinned, c.Answered = rapid.Bool().Draw(t, "pinned"), rapid.Bool().Draw(t, "answered")
			c.Paired = rapid.IntRange(0, 3).Draw(t, "paired") == 0
			c.Observed = rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(t, "observed")
			for _, g := range rapid.SliceOfN(rapid.SampledFrom([]string{"thread:1", "thread:2", "chain:1", "chain:2"}), 0, 2).Draw(t, "groups") {
				c.Groups = append(c.Groups, ownership.GroupKey(g))
			}
			a.Claims = append(a.Claims, c)
		}
		return a
	case "answered":
		return ownership.Answered{At: now, Call: call(), Epoch: epoch()}
	case "release":
		return ownership.Release{At: now, Call: call(), Epoch: epoch(), Why: "over", Told: rapid.IntRange(0, 3).Draw(t, "told") == 0, App: early()}
	case "take-up":
		return ownership.TakeUp{At: now, Call: call(), Epoch: epoch()}
	case "records":
		a := ownership.Records{At: now}
		for range rapid.IntRange(1, 4).Draw(t, "records") {
			a.Acts = append(a.Acts, record())
		}
		return a
	case "lapse":
		return ownership.Lapse{At: now, Node: ownership.NodeID(nodeID()), Apps: apps()}
	case "reclaim":
		return ownership.Reclaim{At: now, Node: ownership.NodeID(nodeID())}
	case "format":
		return ownership.SetFormat{At: now, Format: uint32(rapid.IntRange(1, 3).Draw(t, "format"))}
	case "seen":
		return ownership.Seen{At: now, Calls: []ownership.CallID{call(), call()}}
	case "forget":
		return ownership.Forget{At: now, Before: now.Add(-time.Duration(rapid.IntRange(0, 20).Draw(t, "age")) * time.Second)}
	case "join":
		n := node(nodeID())
		n.Capacity = rapid.IntRange(1, 20).Draw(t, "capacity")
		n.Incarnation = rapid.SampledFrom([]string{"one", "two"}).Draw(t, "incarnation")
		if rapid.IntRange(0, 3).Draw(t, "moved") == 0 {
			n.ClusterAddr = nodeID() + ".example:7400"
		}
		n.Process = rapid.SampledFrom([]string{"", "p", "q"}).Draw(t, "process")
		a := ownership.Join{At: now, Node: n, Partitions: rapid.IntRange(0, 3).Draw(t, "partitions")}
		if rapid.Bool().Draw(t, "ancestors") {
			a.Ancestors = []string{"o", "p"}
		}
		return a
	case "drain":
		return ownership.Drain{At: now, Node: ownership.NodeID(nodeID())}
	case "undrain":
		return ownership.Undrain{At: now, Node: ownership.NodeID(nodeID())}
	case "depart":
		return ownership.Depart{At: now, Node: ownership.NodeID(nodeID()), Fitness: fitness()}
	case "failover":
		return ownership.Failover{At: now, Node: ownership.NodeID(nodeID()), Fitness: fitness(), Lapsed: apps()}
	default:
		return ownership.Move{At: now, Partition: ownership.PartitionID(rapid.IntRange(1, int(m.next)).Draw(t, "partition")),
			Epoch: epoch(), To: ownership.NodeID(nodeID())}
	}
}

// TestModel runs random acts through the table, with clean restarts, kills and
// restored snapshots anywhere between, and compares it with the model after
// each, and with a table that was never restarted at the end: the histories too
// must be the same.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		slow := func(o *Options) { o.FlushEvery = time.Hour } // so that kills lose what was not flushed
		r, twin := newRig(t, slow), newRig(t, slow)
		defer func() {
			r.close()
			twin.close()
		}()
		m := newModel()
		if rapid.IntRange(0, 3).Draw(rt, "old region") > 0 {
			m.do(ownership.SetFormat{At: at(0), Format: record.CommandFormat}, at(0))
			r.must(ownership.SetFormat{At: at(0), Format: record.CommandFormat})
			twin.must(ownership.SetFormat{At: at(0), Format: record.CommandFormat})
		}
		for step := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			act := anyAct(rt, m, at(step))
			want := m.do(act, at(step))
			out := r.do(act)
			twin.do(act)
			got := []error{out.Err}
			if _, batch := act.(ownership.Records); batch && out.Err == nil {
				got = out.Errors
			}
			for i := range want {
				if len(want) != len(got) || want[i] == nil && got[i] != nil || want[i] != nil && !errors.Is(got[i], want[i]) {
					rt.Fatalf("step %d, %T: the table says %v, the model %v", step, act, got, want)
				}
			}
			switch rapid.SampledFrom([]string{"", "", "", "", "flush", "restart", "kill", "snapshot"}).Draw(rt, "then") {
			case "flush":
				if err := r.table.Flush(); err != nil {
					rt.Fatal(err)
				}
			case "restart":
				r.reopen()
			case "kill":
				r.kill()
			case "snapshot":
				r.passSnapshot()
			}
			compare(rt, r.table, m)
		}
		sum, index := r.table.Hash()
		if twinSum, twinIndex := twin.table.Hash(); sum != twinSum || index != twinIndex {
			rt.Fatalf("I7: the hashes differ: %s at %d, %s at %d", sum, index, twinSum, twinIndex)
		}
		mine, err := r.table.Events(0, 0)
		if err != nil {
			rt.Fatal(err)
		}
		others, err := twin.table.Events(0, 0)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := gocmp.Diff(others, mine); diff != "" {
			rt.Fatalf("the histories differ (-never restarted +restarted):\n%s", diff)
		}
	})
}

// do does one act and gives its error, or those of a batch.
func (m *model) do(act ownership.Act, now time.Time) []error {
	m.now = now
	if record.Since(act) > m.format {
		return []error{ownership.ErrConflict}
	}
	batch, ok := act.(ownership.Records)
	if !ok {
		return []error{m.apply(act)}
	}
	var errs []error
	for _, rec := range batch.Acts {
		errs = append(errs, m.apply(rec))
	}
	return errs
}

func compare(t *rapid.T, table *Table, m *model) {
	equal := func(what string, want, got any) {
		if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s differ (-model +table):\n%s", what, diff)
		}
	}
	equal("the nodes", m.Nodes(), table.Nodes())
	var parts []ownership.Partition
	for id := ownership.PartitionID(1); id < m.next; id++ {
		if p, ok := m.Partition(id); ok {
			parts = append(parts, p)
		}
	}
	equal("the partitions", parts, table.Partitions())
	var calls []ownership.Call
	for _, c := range m.calls {
		calls = append(calls, m.stands(c))
	}
	slices.SortFunc(calls, func(a, b ownership.Call) int { return cmp.Compare(a.ID, b.ID) })
	var got []ownership.Call
	for cursor := ""; ; {
		page, next, err := table.Calls(ownership.CallFilter{}, cursor, 4)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page...)
		if cursor = next; next == "" {
			break
		}
	}
	equal("the calls", calls, got)
	for _, c := range calls {
		k, _ := table.Known(c.ID)
		want, _ := m.Known(c.ID)
		equal("the index of call "+string(c.ID), want, k)
	}
	for _, n := range m.Nodes() {
		equal("the live calls of "+string(n.ID), m.Live(n.ID), table.Live(n.ID))
		for _, app := range []ownership.AppID{"app", "bot", "none"} {
			equal("the live calls of "+string(n.ID)+" of "+string(app), m.LiveOf(n.ID, app), table.LiveOf(n.ID, app))
		}
		late := table.Overdue(n.ID, m.now)
		if late == nil {
			late = map[ownership.AppID]int{}
		}
		equal("the overdue calls of "+string(n.ID), m.Overdue(n.ID, m.now), late)
		got, _, err := table.Calls(ownership.CallFilter{Node: n.ID, State: ownership.CallAnswered}, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(slices.Clone(calls), func(c ownership.Call) bool {
			return c.Owner != n.ID || c.State != ownership.CallAnswered
		})
		equal("the answered calls of "+string(n.ID), want, got)
		since := m.now.Add(-2 * time.Second)
		for _, p := range parts {
			silent := slices.DeleteFunc(slices.Clone(calls), func(c ownership.Call) bool {
				return c.Owner != n.ID || c.Partition != p.ID || c.State == ownership.CallEnded || c.SeenAt.After(since)
			})
			got, _, err := table.Calls(ownership.CallFilter{Node: n.ID, Partition: p.ID, Silent: since}, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			equal("the silent calls of "+string(n.ID)+" in partition "+p.ID.String(), silent, got)
		}
		equal("the partitions of "+string(n.ID), m.PartitionsOf(n.ID), table.PartitionsOf(n.ID))
	}
	for _, g := range []ownership.GroupKey{"thread:1", "thread:2", "chain:1", "chain:2"} {
		equal("the legs of "+string(g), m.Legs(g), table.Legs(g))
		for _, observed := range []string{"", "ann", "bob"} {
			if observed != "" && !g.IsChain() {
				continue
			}
			equal("the bundles of "+string(g)+" that observe "+observed,
				sumUp(m.Bundles(nil, g, observed), g, observed), sumUp(table.Bundles(nil, g, observed), g, observed))
		}
	}
}

// sumUp makes one bundle of all that are alike in what a view must tell.
func sumUp(bundles []ownership.Bundle, key ownership.GroupKey, observed string) map[ownership.Bundle]int {
	sums := map[ownership.Bundle]int{}
	for _, b := range bundles {
		n := b.Count
		if b.Count = 0; !key.IsChain() {
			b = ownership.Bundle{Partition: b.Partition, Owner: b.Owner}
		} else if b.State != ownership.CallClaimed {
			b.App, b.Rings = "", time.Time{}
		} else if observed == "" {
			b.App = ""
		}
		sums[b] += n
	}
	return sums
}

// kill abandons the store as a crash would: its directory is copied as it is,
// and the copy is opened.
func (r *rig) kill() {
	r.Helper()
	dir := filepath.Join(r.TempDir(), "data")
	r.table.flushMu.Lock() // or the copy would be taken in the middle of a write
	err := os.CopyFS(dir, os.DirFS(r.dir))
	r.table.flushMu.Unlock()
	if err != nil {
		r.Fatal(err)
	}
	r.close()
	r.dir = dir
	r.open()
	r.replay()
}
