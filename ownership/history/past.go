package history

import (
	"cmp"
	"slices"
	"time"

	"tandem/ownership"
)

// Moment is a point in a region's history: after all that a raft index brought, or at a
// time. One of the two is set.
type Moment struct {
	Index uint64
	At    time.Time
}

// Past reports whether an event had happened by then. Times are those of the leaders that
// proposed the acts.
func (m Moment) Past(e *Event) bool {
	if m.Index != 0 {
		return e.Index <= m.Index
	}
	return !e.At.After(m.At)
}

// Owning reports whether an event says who owns a partition.
func (e *Event) Owning() bool { return e.Kind == Born || e.Kind == Moved || e.Kind == Retired }

// Member reports whether an event says how a node stands.
func (e *Event) Member() bool {
	switch e.Kind {
	case Joined, Updated, Draining, Undrained, Gone, Silent, Forgotten:
		return true
	}
	return false
}

// NodeThen is a node as it was.
type NodeThen struct {
	ownership.Node           // its record of today, but for its state
	Silent         time.Time // when it fell silent, if nothing was told of it since; zero: it had not
}

// NodesAt returns the nodes as they were at a moment, by id. now are those of today, events
// all that say how nodes stand or who owns a partition, oldest first.
func NodesAt(now []ownership.Node, events []Event, m Moment) []NodeThen {
	all, of := map[ownership.NodeID]ownership.Node{}, map[ownership.NodeID][]Event{}
	var ids []ownership.NodeID
	for _, n := range now {
		all[n.ID] = n
		ids = append(ids, n.ID)
	}
	for _, e := range events {
		if _, known := all[e.Node]; !known {
			all[e.Node] = ownership.Node{ID: e.Node, State: ownership.NodeGone}
			ids = append(ids, e.Node)
		}
		of[e.Node] = append(of[e.Node], e)
	}
	slices.Sort(ids)
	var out []NodeThen
	for _, id := range ids {
		if n, was := nodeAt(all[id], of[id], m); was {
			out = append(out, n)
		}
	}
	return out
}

// nodeAt is one of them: by the last event until the moment, else by the first one after
// it, else as it is today. false: it was not there.
func nodeAt(today ownership.Node, events []Event, m Moment) (NodeThen, bool) {
	n, known, was := NodeThen{Node: today}, false, m.Index != 0 || !today.JoinedAt.After(m.At) || len(events) > 0
	for i := range events {
		e := &events[i]
		past := m.Past(e)
		if past && e.Kind == Silent {
			n.Silent = e.At
		} else if past && e.Kind != Draining && e.Kind != Undrained && e.Kind != Retired {
			n.Silent = time.Time{} // it was heard of, or is gone
		}
		switch {
		case past && (e.Kind == Joined || e.Kind == Undrained):
			n.State, known, was = ownership.NodeActive, true, true
		case past && e.Kind == Draining:
			n.State, known, was = ownership.NodeDraining, true, true
		case past && e.Kind == Gone:
			n.State, known, was = ownership.NodeGone, true, true
		case past && e.Kind == Forgotten:
			known, was = true, false
		case known || past:
		case e.Kind == Joined:
			return n, false
		case e.Kind == Draining || e.Kind == Gone:
			n.State, known = ownership.NodeActive, true
		case e.Kind == Undrained:
			n.State, known = ownership.NodeDraining, true
		case e.Kind == Forgotten:
			n.State, known = ownership.NodeGone, true
		}
	}
	return n, was
}

// PartitionsAt returns the partitions as they were at a moment, by number: who owned each,
// at which epoch, and whether it was retired; not what stood in it. now are those of today,
// events all owning ones since before the moment, oldest first.
func PartitionsAt(now []ownership.Partition, events []Event, m Moment) []ownership.Partition {
	today, of := map[ownership.PartitionID]ownership.Partition{}, map[ownership.PartitionID][]Event{}
	var ids []ownership.PartitionID
	for _, p := range now {
		today[p.ID] = p
		ids = append(ids, p.ID)
	}
	for _, e := range events {
		of[e.Partition] = append(of[e.Partition], e)
		ids = append(ids, e.Partition)
	}
	slices.Sort(ids)
	var out []ownership.Partition
	for _, id := range slices.Compact(ids) {
		if p, was := partitionAt(today[id], of[id], m); was {
			p.ID = id
			out = append(out, p)
		}
	}
	return out
}

// partitionAt is one of them: by the last event until the moment, else by the first one
// after it, else as it is today. false: it was not there.
func partitionAt(today ownership.Partition, events []Event, m Moment) (ownership.Partition, bool) {
	p := ownership.Partition{Owner: today.Owner, Epoch: today.Epoch, BornOn: today.BornOn, Retired: today.Retired, RetiredAt: today.RetiredAt}
	for _, e := range events {
		if e.Kind == Born {
			p.BornOn = e.Node
		}
	}
	past := 0
	for past < len(events) && m.Past(&events[past]) {
		past++
	}
	switch {
	case past > 0:
		e := events[past-1]
		p.Owner, p.Epoch, p.Retired, p.RetiredAt = e.Node, e.Epoch, e.Kind == Retired, time.Time{}
		if p.Retired {
			p.RetiredAt = e.At
		}
	case len(events) == 0:
	case events[0].Kind == Born:
		return p, false
	default:
		e := events[0]
		p.Owner, p.Epoch, p.Retired, p.RetiredAt = cmp.Or(e.From, e.Node), e.Epoch, false, time.Time{}
		if e.Kind == Moved {
			p.Epoch-- // each move adds one
		}
	}
	return p, true
}

// CallAt returns a call as it was at a moment, as far as the history tells: whose it was and
// how it stood. line is its timeline, today its record, where the table still has one; false:
// there was no such call. Owner is empty where the call's media may have been on a node that
// had fallen silent: then what became of its partition says more.
func CallAt(today ownership.Call, known bool, line []Event, m Moment) (c ownership.Call, was bool) {
	for i := range line {
		e := &line[i]
		if e.Kind == Claimed && m.Past(e) {
			c, was = claimed(e), true
			continue
		}
		if i == 0 && e.Call != "" && known && !today.ClaimedAt.IsZero() { // its claim is forgotten
			c, was = early(today), m.Index != 0 || !today.ClaimedAt.After(m.At)
		}
		if !m.Past(e) {
			continue
		}
		switch {
		case e.Call == "":
			c.Owner, c.Epoch = inherited(&c, today, known, e)
			continue
		case e.Kind == Answered:
			c.State, c.AnsweredAt = ownership.CallAnswered, e.At
		case e.Kind == Orphaned || e.Kind == TakenUp:
			c.State = ownership.CallOrphaned
		case e.Kind == Ended:
			c.ID, c.App, c.Tenant, c.Partition = e.Call, e.App, e.Tenant, e.Partition
			c.State, c.EndedAt, c.Ending, was = ownership.CallEnded, e.At, e.Text, true
		}
		c.Owner, c.Epoch = e.Node, e.Epoch
	}
	return c, was
}

func claimed(e *Event) ownership.Call {
	return ownership.Call{
		ID: e.Call, App: e.App, Tenant: e.Tenant, Partition: e.Partition, Owner: e.Node, Epoch: e.Epoch, State: ownership.CallClaimed, ClaimedAt: e.At,
		Placement: ownership.Placement{Partition: e.Partition, Epoch: e.Epoch, Owner: e.Node, Reason: e.Reason, Candidates: e.Candidates},
	}
}

// early is a call at its claim, by its record of today.
func early(c ownership.Call) ownership.Call {
	return ownership.Call{
		ID: c.ID, App: c.App, Tenant: c.Tenant, Partition: c.Partition, Owner: c.Placement.Owner, Epoch: c.Placement.Epoch, State: ownership.CallClaimed,
		ClaimedAt: c.ClaimedAt, Placement: c.Placement,
	}
}

// inherited says who acts for a call after its partition has moved: the new owner for one
// that rings or can move. Of an answered one with media on a node nobody can tell by this
// event alone.
func inherited(c *ownership.Call, today ownership.Call, known bool, e *Event) (ownership.NodeID, ownership.Epoch) {
	// A tombstone has forgotten whether its call could move.
	movable := known && today.State != ownership.CallEnded && !today.Pinned && today.ClaimedAt.Equal(c.ClaimedAt)
	if e.Kind == Moved && (c.State == ownership.CallClaimed || movable) {
		return e.Node, e.Epoch
	}
	return "", c.Epoch
}
