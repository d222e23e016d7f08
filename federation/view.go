package federation

import (
	"tandem/admin/api"
	"tandem/ownership"
)

// NodeView is a node of another region as that region told of it.
type NodeView = api.SummaryNode

// state is what a follower's readers see: it is replaced, never changed.
type state struct {
	Summary
	figures *figures // the last; nil: there were none yet
	owners  map[ownership.PartitionID]ownership.NodeID
}

// keep takes the figures over. What they leave out is not known any more.
func (s *state) keep(f *figures) {
	s.figures = f
	s.owners = make(map[ownership.PartitionID]ownership.NodeID, len(s.owners))
	for node, all := range f.Partitions {
		for _, p := range all {
			s.owners[ownership.PartitionID(p[0])] = node
		}
	}
}

func (s *state) node(id ownership.NodeID) (NodeView, bool) {
	if s.figures == nil {
		return NodeView{}, false
	}
	for _, n := range s.figures.NodesList {
		if n.ID == id {
			return n, true
		}
	}
	return NodeView{}, false
}

// Nodes returns the nodes of another region as it told of them last, gone ones too;
// nil: it did not, as one of older software does not.
func (w *Regions) Nodes(r ownership.Region) []NodeView {
	f, ok := w.byName[r]
	if !ok {
		return nil
	}
	if told := f.state.Load().figures; told != nil {
		return told.NodesList
	}
	return nil
}

// Owner returns who owned a partition of another region when that region told of it
// last; false: it is not known.
func (w *Regions) Owner(r ownership.Region, p ownership.PartitionID) (NodeView, bool) {
	f, ok := w.byName[r]
	if !ok {
		return NodeView{}, false
	}
	s := f.state.Load()
	owner, ok := s.owners[p]
	if !ok {
		return NodeView{}, false
	}
	return s.node(owner)
}
