package store

import (
	"cmp"
	"slices"
	"time"

	"tandem/ownership"
)

// model is the table as simply as it can be said: maps of whole records, looked
// through from end to end for every question.
type model struct {
	nodes  map[ownership.NodeID]ownership.Node
	parts  map[ownership.PartitionID]ownership.Partition
	calls  map[ownership.CallID]ownership.Call // as their records say
	next   ownership.PartitionID
	format uint32
	now    time.Time // of the act at hand
}

func newModel() *model {
	return &model{
		nodes: map[ownership.NodeID]ownership.Node{}, parts: map[ownership.PartitionID]ownership.Partition{},
		calls: map[ownership.CallID]ownership.Call{}, next: 1, format: 1,
	}
}

func (m *model) reserves() bool { return m.format >= ownership.FormatReservations }

// stands returns a call as it stands by its partition's record.
func (m *model) stands(c ownership.Call) ownership.Call {
	p := m.parts[c.Partition]
	at := p.Stands(c.State, c.Pinned, c.App, c.Epoch)
	c.Owner, c.Epoch, c.State = at.Owner, at.Epoch, at.State
	return c
}

func (m *model) Known(id ownership.CallID) (ownership.Known, bool) {
	c, ok := m.calls[id]
	if !ok {
		return ownership.Known{}, false
	}
	c = m.stands(c)
	return ownership.Known{App: c.App, Partition: c.Partition, Owner: c.Owner, Epoch: c.Epoch, State: c.State, Pinned: c.Pinned}, true
}

func (m *model) Legs(key ownership.GroupKey) (legs []ownership.Leg) {
	for _, c := range m.calls {
		if c.State.Live() && slices.Contains(c.Groups, key) {
			legs = append(legs, ownership.Leg{Call: c.ID, App: c.App, Partition: c.Partition, State: m.stands(c).State,
				Paired: c.Paired, Observed: c.Observed, ClaimedAt: c.ClaimedAt, Deadline: c.Deadline})
		}
	}
	slices.SortFunc(legs, func(a, b ownership.Leg) int {
		return cmp.Or(a.ClaimedAt.Compare(b.ClaimedAt), cmp.Compare(a.Call, b.Call))
	})
	return legs
}

func (m *model) Bundles(into []ownership.Bundle, key ownership.GroupKey, observed string) []ownership.Bundle {
	for _, c := range m.calls {
		part := m.parts[c.Partition]
		at := part.Stands(c.State, c.Pinned, c.App, c.Epoch)
		if !at.State.Live() || !slices.Contains(c.Groups, key) || observed != "" && c.Observed != observed {
			continue
		}
		into = append(into, ownership.Bundle{
			Partition: c.Partition, Owner: at.Owner, Count: 1, State: at.State, Rings: ownership.RingsUntil(c.Deadline),
			App: c.App, Paired: c.Paired, Observes: c.Observed != "",
		})
	}
	return into
}

// held counts the calls with media of their own that were answered at an epoch.
func (m *model) held(id ownership.PartitionID, epoch ownership.Epoch) (n int) {
	for _, c := range m.calls {
		if c.Partition == id && c.State == ownership.CallAnswered && c.Pinned && c.Epoch == epoch {
			n++
		}
	}
	return n
}

func (m *model) Partition(id ownership.PartitionID) (ownership.Partition, bool) {
	p, ok := m.parts[id]
	p.Live = 0
	for _, c := range m.calls {
		if at := m.stands(c); c.Partition == id && at.State.Live() && at.Epoch == p.Epoch {
			p.Live++
		}
	}
	p.Reserved = slices.Clone(p.Reserved)
	for i := range p.Reserved {
		p.Reserved[i].Live = m.held(id, p.Reserved[i].Epoch)
	}
	return p, ok
}

func (m *model) PartitionsOf(id ownership.NodeID) (out []ownership.Partition) {
	for p := ownership.PartitionID(1); p < m.next; p++ {
		if rec, ok := m.Partition(p); ok && rec.Owner == id && !rec.Retired {
			out = append(out, rec)
		}
	}
	return out
}

func (m *model) Node(id ownership.NodeID) (ownership.Node, bool) { n, ok := m.nodes[id]; return n, ok }

func (m *model) Nodes() (out []ownership.Node) {
	for _, n := range m.nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b ownership.Node) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (m *model) Live(id ownership.NodeID) (n int) {
	for _, c := range m.calls {
		if at := m.stands(c); at.State.Live() && at.Owner == id {
			n++
		}
	}
	return n
}

func (m *model) LiveOf(id ownership.NodeID, app ownership.AppID) (n int) {
	for _, c := range m.calls {
		if at := m.stands(c); c.App == app && at.State.Live() && at.Owner == id {
			n++
		}
	}
	return n
}

func (m *model) Overdue(id ownership.NodeID, at time.Time) map[ownership.AppID]int {
	late := map[ownership.AppID]int{}
	for _, c := range m.calls {
		s := m.stands(c)
		if s.State == ownership.CallClaimed && s.Owner == id && !c.Deadline.IsZero() && at.After(ownership.RingsUntil(c.Deadline)) {
			late[c.App]++
		}
	}
	return late
}

func (m *model) Format() uint32 { return m.format }

// apply does one act; the error is the act's own.
func (m *model) apply(act ownership.Act) error {
	switch a := act.(type) {
	case ownership.Claims:
		placer := ownership.NewPlacer(m, a.At, a.Fitness)
		for _, c := range a.Claims {
			if _, known := m.calls[c.Call]; known {
				continue
			}
			p, err := placer.Place(c)
			if err != nil {
				continue
			}
			call := ownership.Call{ID: c.Call, Partition: p.Partition, Epoch: p.Epoch, State: ownership.CallClaimed, Pinned: c.Pinned,
				Paired: c.Paired, Observed: c.Observed, Groups: c.Groups, App: c.App, Deadline: c.Deadline, ClaimedAt: a.At, SeenAt: a.At, Placement: p}
			if c.Answered {
				call.State, call.AnsweredAt = ownership.CallAnswered, a.At
			}
			m.calls[c.Call] = call
		}
	case ownership.Answered:
		return m.answered(a)
	case ownership.TakeUp:
		return m.takeUp(a)
	case ownership.Seen:
		for _, id := range a.Calls {
			if c, ok := m.calls[id]; ok && c.State != ownership.CallEnded {
				c.SeenAt = m.now
				m.calls[id] = c
			}
		}
	case ownership.Release:
		return m.release(a)
	case ownership.Forget:
		m.forget(a)
	default:
		return m.applyToNodes(act)
	}
	return nil
}

// check compares an epoch with the record's, and with the partition's.
func (m *model) check(c ownership.Call, epoch ownership.Epoch) error {
	switch {
	case epoch < c.Epoch:
		return ownership.ErrStaleEpoch
	case epoch > m.parts[c.Partition].Epoch:
		return ownership.ErrFutureEpoch
	}
	return nil
}

func (m *model) answered(a ownership.Answered) error {
	c, ok := m.calls[a.Call]
	if !ok {
		return ownership.ErrUnknown
	}
	answered := m.stands(c).State == ownership.CallAnswered
	if m.reserves() && answered {
		return m.check(ownership.Call{Partition: c.Partition}, a.Epoch)
	}
	if err := m.check(c, a.Epoch); err != nil || answered {
		return err
	}
	if c.State != ownership.CallClaimed {
		return ownership.ErrConflict
	}
	if m.reserves() {
		c.Epoch = a.Epoch
	}
	c.State, c.AnsweredAt, c.SeenAt = ownership.CallAnswered, m.now, m.now
	if now := m.parts[c.Partition].Epoch; m.reserves() && c.Pinned && c.Epoch < now {
		c.State, c.Epoch = ownership.CallOrphaned, now
	}
	m.calls[c.ID] = c
	return nil
}

func (m *model) release(a ownership.Release) error {
	c, ok := m.calls[a.Call]
	early := m.reserves() && a.Told && a.App != ""
	switch {
	case !ok && early:
		return m.entomb(a)
	case !ok:
		return ownership.ErrUnknown
	case early && c.State != ownership.CallEnded:
		return ownership.ErrConflict
	}
	if a.Epoch != 0 {
		var err error
		switch {
		case !m.reserves():
			err = m.check(c, a.Epoch)
		case !a.Told && c.State != ownership.CallEnded:
			now := m.stands(c)
			if err = m.check(now, a.Epoch); err == nil && a.Epoch != now.Epoch {
				err = ownership.ErrConflict
			}
		}
		if err != nil {
			return err
		}
	}
	if c.State == ownership.CallEnded {
		return nil
	}
	c.State, c.EndedAt, c.Ending = ownership.CallEnded, m.now, a.Why
	if m.reserves() {
		c.RawCall, c.Groups, c.Observed, c.Deadline, c.Paired, c.Placement.Candidates = "", nil, "", time.Time{}, false, nil
	}
	m.calls[c.ID] = c
	m.vacate()
	return nil
}

// entomb keeps the end of a call that was never claimed.
func (m *model) entomb(a ownership.Release) error {
	grave := ownership.PartitionID(0)
	for id := ownership.PartitionID(1); id < m.next; id++ {
		p, ok := m.parts[id]
		switch {
		case !ok || p.Retired:
		case !m.outlived(p):
			m.bury(a, p)
			return nil
		case grave == 0:
			grave = id
		}
	}
	if grave == 0 {
		return ownership.ErrUnknown
	}
	m.bury(a, m.parts[grave])
	return nil
}

func (m *model) bury(a ownership.Release, p ownership.Partition) {
	m.calls[a.Call] = ownership.Call{ID: a.Call, App: a.App, Partition: p.ID, Epoch: p.Epoch, State: ownership.CallEnded,
		EndedAt: m.now, SeenAt: m.now, Ending: a.Why}
}

func (m *model) takeUp(a ownership.TakeUp) error {
	c, ok := m.calls[a.Call]
	if !ok {
		return ownership.ErrUnknown
	}
	now := m.stands(c)
	if err := m.check(now, a.Epoch); err != nil {
		return err
	}
	switch {
	case now.State != ownership.CallOrphaned:
		return ownership.ErrConflict
	case c.State == ownership.CallOrphaned:
		return nil
	}
	c.State, c.Epoch, c.SeenAt = ownership.CallOrphaned, a.Epoch, m.now
	m.calls[c.ID] = c
	m.vacate()
	return nil
}

// vacate drops the reservations that hold no call.
func (m *model) vacate() {
	for id, p := range m.parts {
		var left []ownership.Reservation
		for _, r := range p.Reserved {
			if m.held(id, r.Epoch) > 0 {
				left = append(left, r)
			}
		}
		p.Reserved = left
		m.parts[id] = p
	}
}
