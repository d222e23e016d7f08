package leader

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/clocks"
	"tandem/cluster/lease"
	"tandem/ownership"
	"tandem/rollout"
	"tandem/store"
	"tandem/store/record"
)

// TestANewLeaderTellsNoRooms before it has heard the nodes: to the other regions that would
// mean that nobody here takes calls. Of who is silent for a lease it knows.
func TestANewLeaderTellsNoRooms(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Stamp{Deployment: "d", Region: "emea", Node: "a"}, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	act, err := record.EncodeAct(ownership.Join{At: time.Now(), Node: ownership.Node{ID: "a", Region: "emea", ClusterAddr: "10.0.0.1:8471", Capacity: 5, Incarnation: "x", Format: record.CommandFormat}}, record.CommandFormat)
	if err != nil {
		t.Fatal(err)
	}
	if out, ok := s.Table().Apply(&raft.Log{Index: 1, Term: 1, Type: raft.LogCommand, Data: act}).(*ownership.Outcome); !ok || out.Err != nil {
		t.Fatalf("joining: %+v", out)
	}
	var before []ownership.Silence
	l := &Leadership{versions: rollout.New(nil), Needs: Needs{Table: s.Table(), Timings: clocks.Timings{Lease: time.Minute}, Silent: func() []ownership.Silence { return before }}}
	l.Leases = lease.NewTable(time.Minute, 0, time.Now())
	l.told.since = time.Now()
	if f := l.fitness(); f.Silent != nil || f.Rooms != nil {
		t.Errorf("it has heard nobody, and tells %+v", f)
	}
	before = []ownership.Silence{{Node: "a", Since: time.Unix(7, 0), Cause: ownership.Stopped, Went: []ownership.Inherited{{Node: "b", Partitions: 2}}}}
	l.told.at = time.Time{}
	if f := l.fitness(); len(f.Silent) != 1 || !f.Silent[0].Since.Equal(time.Unix(7, 0)) || f.Silent[0].Cause != ownership.Stopped || len(f.Silent[0].Went) != 1 {
		t.Errorf("of whom the leader before it called silent it tells %+v", f)
	}
	before = nil
	l.told.since, l.told.at = time.Now().Add(-time.Hour), time.Time{}
	if f := l.fitness(); len(f.Silent) != 1 || f.Silent[0].Node != "a" {
		t.Errorf("after a lease it tells %+v", f)
	}
	l.compared.differs = map[ownership.NodeID][]string{"a": {"rules"}, "removed": {"rules", "cluster.lease"}}
	if got := l.Differences(); len(got) != 1 || got[0] != (ownership.Difference{Node: "a", Key: "rules"}) {
		t.Errorf("a node that is not of the region differs: %v", got)
	}
}
