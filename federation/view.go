package federation

import (
	"time"

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

// Told returns all that another region told of itself last; false: nothing yet.
func (w *Regions) Told(r ownership.Region) (api.Summary, bool) {
	f, ok := w.byName[r]
	if !ok || f.state.Load().figures == nil {
		return api.Summary{}, false
	}
	return f.state.Load().figures.Summary, true
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

// Door is one admin door of another region as this node finds it.
type Door struct {
	URL       string        `json:"url"`
	Answered  bool          `json:"answered"`        // at the last look
	Streaming bool          `json:"streaming"`       // it tells of the region by a stream
	RTT       time.Duration `json:"rtt"`             // of a request there and back, smoothed, in nanoseconds; 0: unknown
	Error     string        `json:"error,omitempty"` // what did not go well
}

// views are the doors for readers.
func (f *follower) views() []Door {
	if len(f.region.adminURLs()) == 0 {
		return nil
	}
	doors := *f.known.Load()
	all := make([]Door, len(doors))
	for i, d := range doors {
		all[i] = Door{URL: d.base, Streaming: d.streaming.Load(), RTT: time.Duration(d.rtt.Load())}
		if d.addr.IsValid() {
			all[i].URL += " (" + d.addr.String() + ")"
		}
		if l := d.said.Load(); l != nil {
			all[i].Answered = l.answered
			if l.problem != nil {
				all[i].Error = l.problem.Error()
			}
		}
	}
	return all
}

// best is the shortest time of a door that answers; 0: unknown.
func best(doors []Door) (rtt time.Duration) {
	for _, d := range doors {
		if d.Answered && d.RTT > 0 && (rtt == 0 || d.RTT < rtt) {
			rtt = d.RTT
		}
	}
	return rtt
}

// Prospect is what a new call of an app would find in a region.
type Prospect struct {
	Up   bool          // the region is healthy, and a node that takes new calls has a healthy bot of the app, and room
	Room int           // new calls of the app that it can take, as it told last; 0 also where it is not known
	RTT  time.Duration // there and back, of its nearest door; 0: unknown, or this region
}

// Look says what a new call of an app would find in a region. One that does not tell of
// its apps, as one of older software does not, is judged as a whole.
func (w *Regions) Look(r ownership.Region, app ownership.AppID) Prospect {
	if r == w.self {
		return Prospect{Up: true}
	}
	f, ok := w.byName[r]
	if !ok {
		return Prospect{}
	}
	s := f.state.Load()
	p := Prospect{Up: s.Healthy, RTT: s.RTT}
	if s.figures == nil {
		return p
	}
	if p.Room = s.figures.Room; s.figures.Apps == nil {
		return p
	}
	p.Room = 0
	for _, a := range s.figures.Apps {
		if a.App == app && a.Healthy {
			p.Room = a.Room
		}
	}
	p.Up = p.Up && p.Room > 0
	return p
}

// Rules returns which rules each other region has that is healthy and tells it.
func (w *Regions) Rules() map[ownership.Region]api.RulesMark {
	all := map[ownership.Region]api.RulesMark{}
	for _, f := range w.regions {
		if s := f.state.Load(); s.Healthy && s.figures != nil && s.figures.Rules != nil {
			all[f.region.Name] = *s.figures.Rules
		}
	}
	return all
}
