package ownership

import (
	"fmt"
	"testing"
	"time"
)

// still is a view of fixed answers, as cheap as a table's index.
type still struct {
	nodes []Node
	parts map[NodeID][]Partition
	byID  map[PartitionID]Partition
	legs  map[GroupKey][]Leg
	live  map[NodeID]int
}

func (s *still) Known(CallID) (Known, bool) { return Known{}, false }
func (s *still) Legs(k GroupKey) []Leg      { return s.legs[k] }
func (s *still) Bundles(into []Bundle, k GroupKey, observed string) []Bundle {
	for _, l := range s.legs[k] {
		if observed == "" || observed == l.Observed {
			into = append(into, Bundle{Partition: l.Partition, Owner: s.byID[l.Partition].Owner, Count: 1, App: l.App, State: l.State})
		}
	}
	return into
}
func (s *still) Partition(p PartitionID) (Partition, bool) { v, ok := s.byID[p]; return v, ok }
func (s *still) PartitionsOf(n NodeID) []Partition         { return s.parts[n] }
func (s *still) Node(NodeID) (Node, bool)                  { return Node{}, false }
func (s *still) Nodes() []Node                             { return s.nodes }
func (s *still) Live(n NodeID) int                         { return s.live[n] }
func (s *still) LiveOf(n NodeID, _ AppID) int              { return s.live[n] }
func (s *still) Overdue(NodeID, time.Time) map[AppID]int   { return nil }
func (s *still) Format() uint32                            { return FormatReservations }

func benchView(nodes int) (*still, map[NodeID]Fitness) {
	t := newTable()
	for i := range nodes {
		t.add(NodeID(fmt.Sprintf("emea-%02d", i)), fmt.Sprint(i%3), 1_000_000, 8)
	}
	s := &still{nodes: t.nodes, parts: map[NodeID][]Partition{}, byID: map[PartitionID]Partition{}, legs: map[GroupKey][]Leg{}, live: map[NodeID]int{}}
	for id, p := range t.parts {
		s.byID[id] = *p
	}
	for _, n := range t.nodes {
		s.parts[n.ID] = t.PartitionsOf(n.ID)
		s.live[n.ID] = 100
	}
	s.legs[chain] = []Leg{{Call: "x", App: "app", Partition: 3, State: CallAnswered, ClaimedAt: noon}}
	return s, t.fit
}

func BenchmarkPlace(b *testing.B) {
	for _, nodes := range []int{3, 9, 50} {
		view, fit := benchView(nodes)
		calls := make([]CallID, 1024)
		for i := range calls {
			calls[i] = CallID(fmt.Sprintf("57dab8b1894c409ab240bd8beae7%04x", i))
		}
		b.Run(fmt.Sprintf("one-shot/nodes=%d", nodes), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := Place(view, Claim{Call: calls[i%len(calls)]}, noon, fit); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, groups := range [][]GroupKey{nil, {chain}} {
			b.Run(fmt.Sprintf("batch-of-256/nodes=%d/groups=%d", nodes, len(groups)), func(b *testing.B) {
				b.ReportAllocs()
				var p *Placer
				for i := 0; b.Loop(); i++ {
					if i%256 == 0 {
						p = NewPlacer(view, noon, fit)
					}
					c := Claim{Call: calls[i%len(calls)], App: "app", Groups: groups, Deadline: noon.Add(time.Second)}
					if _, err := p.Place(c); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
