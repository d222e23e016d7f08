package store

import (
	"fmt"
	"time"

	"tandem/ownership"
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
// the old one was removed. A removed incarnation never comes back.
func (a *applier) join(act ownership.Join) error {
	n := act.Node
	if err := a.mayJoin(&n, act.Partitions); err != nil {
		return fmt.Errorf("joining node %q: %w", n.ID, err)
	}
	have, known := a.st.nodes[n.ID]
	if known && have.rec.State != ownership.NodeGone {
		n.State, n.JoinedAt, n.DrainBy = have.rec.State, have.rec.JoinedAt, have.rec.DrainBy
		if n != have.rec {
			a.putNode(n)
			a.emit(Event{Kind: EventUpdated, Node: n.ID, Text: fmt.Sprintf("version %s at %s", n.Version, n.ClusterAddr)})
		}
		if len(have.owned) > 0 {
			return nil
		}
		// It comes back after a failover took all it had: without a partition
		// it would never get a call again.
	} else {
		n.State, n.JoinedAt, n.DrainBy = ownership.NodeActive, a.at, time.Time{}
		a.putNode(n)
		a.emit(Event{Kind: EventJoined, Node: n.ID, Text: fmt.Sprintf("version %s at %s", n.Version, n.ClusterAddr)})
	}
	for _, p := range ownership.Births(n.ID, a.st.next, act.Partitions) {
		a.putPartition(p)
		a.emit(Event{Kind: EventBorn, Node: n.ID, Partition: p.ID, Epoch: p.Epoch})
	}
	return nil
}

func (a *applier) mayJoin(n *ownership.Node, partitions int) error {
	switch {
	case n.ID == "" || len(n.ID) > maxNodeID:
		return fmt.Errorf("a node's id has 1 to %d bytes: %w", maxNodeID, ownership.ErrConflict)
	case n.Incarnation == "":
		return fmt.Errorf("it names no incarnation: %w", ownership.ErrConflict)
	case n.Region != a.t.region:
		return fmt.Errorf("it belongs to region %q, this is region %q: %w", n.Region, a.t.region, ownership.ErrConflict)
	case n.Format < a.st.format:
		return fmt.Errorf("it reads command formats up to %d, the region writes %d; upgrade it first: %w", n.Format, a.st.format, ownership.ErrConflict)
	case partitions > maxBirths:
		return fmt.Errorf("it asks for %d partitions, at most %d are allowed: %w", partitions, maxBirths, ownership.ErrConflict)
	}
	for _, other := range a.st.nodeList {
		if other.ID != n.ID && other.State != ownership.NodeGone && n.ClusterAddr != "" && other.ClusterAddr == n.ClusterAddr {
			return fmt.Errorf("node %s already has the address %s; remove it first: %w", other.ID, n.ClusterAddr, ownership.ErrConflict)
		}
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
	a.emit(Event{Kind: EventDraining, Node: n.ID, Text: text})
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
	a.emit(Event{Kind: EventUndrained, Node: n.ID})
	return nil
}

// depart makes a node gone for good, after its partitions went to survivors.
// With no survivor the partitions stay with it until one comes: repeat it then.
func (a *applier) depart(act ownership.Depart) ([]ownership.Reassignment, error) {
	n, ok := a.st.nodes[act.Node]
	if !ok {
		return nil, fmt.Errorf("removing node %q: %w", act.Node, ownership.ErrUnknown)
	}
	moves := a.reassign(act.Node, act.Fitness)
	if rec := n.rec; rec.State != ownership.NodeGone {
		rec.State, rec.DrainBy = ownership.NodeGone, time.Time{}
		a.putNode(rec)
		a.emit(Event{Kind: EventGone, Node: rec.ID})
	}
	return moves, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
