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
