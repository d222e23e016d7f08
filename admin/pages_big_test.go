package admin

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"testing"
	"time"

	"tandem/ownership"
)

// big is a table of 1,000 nodes, 8,000 partitions and 100,000 calls.
type big struct {
	*fake
	nodes []ownership.Node
	parts []ownership.Partition
	calls []ownership.Call // by id
}

func newBig(f *fake) *big {
	b := &big{fake: f}
	for i := range 1000 {
		b.nodes = append(b.nodes, ownership.Node{ID: ownership.NodeID(fmt.Sprintf("emea-%04d", i)), Region: "emea", Capacity: 150, State: ownership.NodeActive, Version: "1.0.0", ClusterAddr: "10.0.0.1:8471"})
	}
	for i := range 8000 {
		b.parts = append(b.parts, ownership.Partition{ID: ownership.PartitionID(i + 1), Owner: b.nodes[i/8].ID, BornOn: b.nodes[i/8].ID, Epoch: 1, Live: 9})
	}
	for i := range 100_000 {
		state := ownership.CallAnswered
		if i%4 == 0 {
			state = ownership.CallEnded
		}
		p := b.parts[i%8000]
		b.calls = append(b.calls, ownership.Call{ID: ownership.CallID(fmt.Sprintf("c%06d", i)), Partition: p.ID, Owner: p.Owner, Epoch: 1, State: state, ClaimedAt: start,
			Tenant: ownership.TenantID(fmt.Sprintf("tenant-%d", i%100)), Placement: ownership.Placement{Partition: p.ID, Epoch: 1, Owner: p.Owner}})
	}
	return b
}

func (b *big) Nodes() []ownership.Node           { return slices.Clone(b.nodes) }
func (b *big) Partitions() []ownership.Partition { return slices.Clone(b.parts) }
func (b *big) Live(ownership.NodeID) int         { return 72 }
func (b *big) Overdue(ownership.NodeID, time.Time) map[ownership.AppID]int {
	return nil
}
func (b *big) Node(id ownership.NodeID) (ownership.Node, bool) {
	i := sort.Search(len(b.nodes), func(i int) bool { return b.nodes[i].ID >= id })
	if i == len(b.nodes) || b.nodes[i].ID != id {
		return ownership.Node{}, false
	}
	return b.nodes[i], true
}
func (b *big) Partition(id ownership.PartitionID) (ownership.Partition, bool) {
	if id < 1 || int(id) > len(b.parts) {
		return ownership.Partition{}, false
	}
	return b.parts[id-1], true
}
func (b *big) Call(id ownership.CallID) (ownership.Call, bool) {
	i := sort.Search(len(b.calls), func(i int) bool { return b.calls[i].ID >= id })
	if i == len(b.calls) || b.calls[i].ID != id {
		return ownership.Call{}, false
	}
	return b.calls[i], true
}
func (b *big) Calls(q ownership.CallFilter, cursor string, limit int) (all []ownership.Call, next string, err error) {
	for _, c := range b.calls {
		switch {
		case string(c.ID) <= cursor, q.Node != "" && c.Owner != q.Node, q.Partition != 0 && c.Partition != q.Partition, q.Tenant != "" && c.Tenant != q.Tenant,
			q.App != "" && c.App != q.App, q.State != 0 && c.State != q.State, q.Group != "" && !slices.Contains(c.Groups, q.Group):
			continue
		}
		if len(all) == limit {
			return all, string(all[limit-1].ID), nil
		}
		all = append(all, c)
	}
	return all, "", nil
}

var bigPages = []string{
	"", "calls", "calls?state=ended", "calls?tenant=tenant-7", "calls/c050001", "search?q=c099999", "search?q=nobody", "nodes", "nodes/emea-0500", "nodes/emea-0500?act=drain",
	"partitions", "partitions/4000", "regions", "regions/emea", "events", "rules", "tokens", "audit", "peers",
}

func bigRoom(tb testing.TB) *room {
	return openRoom(tb, func(_ *Config, d *Deps) {
		f, _ := d.Table.(*fake)
		d.Table = newBig(f)
	})
}

// TestPagesOfABigRegion, of 1,000 nodes and 100,000 calls: each is there, and none is more than
// a browser shows at once. BenchmarkPagesOfABigRegion tells how long they take.
func TestPagesOfABigRegion(t *testing.T) {
	r := bigRoom(t)
	for _, path := range bigPages {
		a := r.ask("GET", "/console/"+path, "")
		if a.StatusCode >= 500 || a.StatusCode == 400 || len(a.text) > 2<<20 {
			t.Errorf("the page %q answers %d with %d KiB", path, a.StatusCode, len(a.text)>>10)
		}
	}
}

// BenchmarkPagesOfABigRegion: the bar is a second a page.
func BenchmarkPagesOfABigRegion(b *testing.B) {
	r := bigRoom(b)
	for _, path := range bigPages {
		b.Run(cmp.Or(path, "overview"), func(b *testing.B) {
			for b.Loop() {
				r.ask("GET", "/console/"+path, "")
			}
		})
	}
}
