package store

import (
	"fmt"
	"slices"
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
)

const (
	// maxNodeID bounds a node's id, in bytes: ids are keys.
	maxNodeID = 255
	// maxBirths bounds the partitions that one join may ask for.
	maxBirths = 4096
)

// join puts a node's record into the table and bears its partitions.
//
// A node is known by its id and its incarnation, which is made with its store.
// Another incarnation under a known id is a node that lost its disk: it has
// forgotten its votes and must not count as the old one, so it is refused until
// the old one was removed. A removed incarnation does not come back as long as the
// table knows of it.
func (a *applier) join(act ownership.Join) error {
	n := act.Node
	if err := a.mayJoin(&n, &act); err != nil {
		return fmt.Errorf("joining node %q: %w", n.ID, err)
	}
	a.settle(&n)
	wanted := act.Partitions
	have, known := a.st.nodes[n.ID]
	if known && have.rec.State != ownership.NodeGone {
		n.State, n.JoinedAt, n.DrainBy = have.rec.State, have.rec.JoinedAt, have.rec.DrainBy
		if n != have.rec {
			a.putNode(n)
			a.emit(history.Event{Kind: history.Updated, Node: n.ID, Text: fmt.Sprintf("version %s at %s", n.Version, n.ClusterAddr)})
		}
		wanted -= a.kept(have)
	} else {
		n.State, n.JoinedAt, n.DrainBy = ownership.NodeActive, a.at, time.Time{}
		a.putNode(n)
		a.emit(history.Event{Kind: history.Joined, Node: n.ID, Text: fmt.Sprintf("version %s at %s", n.Version, n.ClusterAddr)})
	}
	for _, p := range ownership.Births(n.ID, a.st.next, wanted) {
		a.putPartition(p)
		a.emit(history.Event{Kind: history.Born, Node: n.ID, Partition: p.ID, Epoch: p.Epoch})
	}
	return nil
}

// kept counts the partitions of a node that stay with it while it lives. Those
// that were born elsewhere are retired as they become empty. Before command format
// 3 one of any kind was enough.
func (a *applier) kept(n *nodeState) int {
	if !a.reserves() {
		return len(n.owned) * maxBirths
	}
	kept := 0
	for _, id := range n.owned {
		if a.st.parts[id].rec.BornOn == n.rec.ID {
			kept++
		}
	}
	return kept
}

// settle takes what a node tells of itself as command format 3 has it. An address
// is a hint: whoever joins at it is there now, and the node that was there before
// is not.
func (a *applier) settle(n *ownership.Node) {
	n.GoneAt = time.Time{}
	if !a.reserves() {
		n.Process = ""
		return
	}
	if have, ok := a.st.nodes[n.ID]; ok && n.Process == "" && have.rec.Incarnation == n.Incarnation {
		n.Process = have.rec.Process // a command from before format 3
	}
	for _, other := range a.st.nodeList {
		if other.ID != n.ID && other.State != ownership.NodeGone && n.ClusterAddr != "" && other.ClusterAddr == n.ClusterAddr {
			other.ClusterAddr = ""
			a.putNode(other)
			a.emit(history.Event{Kind: history.Updated, Node: other.ID, Text: fmt.Sprintf("node %s is at its address %s now", n.ID, n.ClusterAddr)})
		}
	}
}

func (a *applier) mayJoin(n *ownership.Node, act *ownership.Join) error {
	switch {
	case n.ID == "" || len(n.ID) > maxNodeID:
		return fmt.Errorf("a node's id has 1 to %d bytes: %w", maxNodeID, ownership.ErrConflict)
	case n.Incarnation == "":
		return fmt.Errorf("it names no incarnation: %w", ownership.ErrConflict)
	case n.Region != a.t.region:
		return fmt.Errorf("it belongs to region %q, this is region %q: %w", n.Region, a.t.region, ownership.ErrConflict)
	case n.Format < a.st.format:
		return fmt.Errorf("it reads command formats up to %d, the region writes %d; upgrade it first: %w", n.Format, a.st.format, ownership.ErrConflict)
	case act.Partitions > maxBirths:
		return fmt.Errorf("it asks for %d partitions, at most %d are allowed: %w", act.Partitions, maxBirths, ownership.ErrConflict)
	}
	if err := a.addressFree(n); err != nil {
		return err
	}
	have, known := a.st.nodes[n.ID]
	if !known {
		return nil
	}
	same, gone := have.rec.Incarnation == n.Incarnation, have.rec.State == ownership.NodeGone
	switch {
	case same && gone:
		return fmt.Errorf("this incarnation was removed from the region; empty its data directory and join it anew: %w", ownership.ErrConflict)
	case !same && !gone:
		return fmt.Errorf("the region knows this id with other data, so its disk was lost or swapped; "+
			"remove the node, then join it anew: %w", ownership.ErrConflict)
	case same && a.reserves() && !descends(n.Process, have.rec.Process, act.Ancestors):
		return fmt.Errorf("another process with the data of %s runs at %s; stop this one, or give it an empty data directory and "+
			"an id of its own: %w", n.ID, have.rec.ClusterAddr, ownership.ErrTwin)
	}
	return nil
}

// descends reports whether a process is the one that the table knows, or comes
// after it on the same disk.
func descends(process, known string, ancestors []string) bool {
	return process == known || process == "" || known == "" || slices.Contains(ancestors, known)
}

// addressFree refuses the address of another node, as it was done before command
// format 3.
func (a *applier) addressFree(n *ownership.Node) error {
	if a.reserves() {
		return nil
	}
	for _, other := range a.st.nodeList {
		if other.ID != n.ID && other.State != ownership.NodeGone && n.ClusterAddr != "" && other.ClusterAddr == n.ClusterAddr {
			return fmt.Errorf("node %s already has the address %s; remove it first: %w", other.ID, n.ClusterAddr, ownership.ErrConflict)
		}
	}
	return nil
}

func (a *applier) present(id ownership.NodeID) (ownership.Node, error) {
	n, ok := a.st.nodes[id]
	switch {
	case !ok:
		return ownership.Node{}, fmt.Errorf("node %q: %w", id, ownership.ErrUnknown)
	case n.rec.State == ownership.NodeGone:
		return ownership.Node{}, fmt.Errorf("node %q was removed: %w", id, ownership.ErrConflict)
	default:
		return n.rec, nil
	}
}

func (a *applier) drain(act ownership.Drain) error {
	n, err := a.present(act.Node)
	if err != nil {
		return fmt.Errorf("draining: %w", err)
	}
	if n.State == ownership.NodeDraining && n.DrainBy.Equal(act.Until) {
		return nil // a repeat
	}
	n.State, n.DrainBy = ownership.NodeDraining, act.Until
	a.putNode(n)
	text := "until its last call ends"
	if !act.Until.IsZero() {
		text = "until its last call ends, at the latest " + act.Until.Format(time.RFC3339)
	}
	a.emit(history.Event{Kind: history.Draining, Node: n.ID, Text: text})
	return nil
}

func (a *applier) undrain(act ownership.Undrain) error {
	n, err := a.present(act.Node)
	if err != nil {
		return fmt.Errorf("ending the drain: %w", err)
	}
	if n.State == ownership.NodeActive {
		return nil // a repeat
	}
	n.State, n.DrainBy = ownership.NodeActive, time.Time{}
	a.putNode(n)
	a.emit(history.Event{Kind: history.Undrained, Node: n.ID})
	return nil
}

// depart makes a node gone for good, after its partitions went to survivors.
// With no survivor the partitions stay with it until one comes: repeat it then.
func (a *applier) depart(act ownership.Depart) ([]ownership.Reassignment, error) {
	n, ok := a.st.nodes[act.Node]
	if !ok {
		return nil, fmt.Errorf("removing node %q: %w", act.Node, ownership.ErrUnknown)
	}
	if !a.reserves() {
		moves := a.reassign(act.Node, act.Fitness, nil)
		a.markGone(n.rec)
		return moves, nil
	}
	a.markGone(n.rec) // first: what it leaves behind is reserved for nobody
	a.finish(act.Node)
	return a.reassign(act.Node, act.Fitness, nil), nil
}

func (a *applier) markGone(rec ownership.Node) {
	if rec.State == ownership.NodeGone {
		return
	}
	rec.State, rec.DrainBy = ownership.NodeGone, time.Time{}
	if a.reserves() {
		rec.GoneAt = a.at
	}
	a.putNode(rec)
	a.emit(history.Event{Kind: history.Gone, Node: rec.ID})
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
