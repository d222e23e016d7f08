package store

import (
	"fmt"
	"slices"

	"tandem/ledger"
	"tandem/ownership"
	"tandem/ownership/history"
)

// reserve gives a partition its new owner. It touches no call: what a call's record
// means follows from its partition's. The answered calls with media on the former
// owner stay that one's at its epoch, until the reservation lapses.
func (a *applier) reserve(m ownership.Reassignment, lapsed []ownership.AppID) {
	p := a.st.parts[m.Partition]
	rec := p.rec
	stay := p.heldAt(rec.Epoch)
	text := fmt.Sprintf("%d calls went along", int(p.live.Load())-stay)
	if stay > 0 {
		r := ownership.Reservation{Node: m.From, Epoch: rec.Epoch, Since: a.at, Lapsed: lapsed}
		if from, ok := a.st.nodes[m.From]; ok {
			r.Final = from.rec.State == ownership.NodeGone
		}
		text += fmt.Sprintf(", %d with media on node %s %s", stay, m.From, fate(&r))
		rec.Reserved = append(slices.Clone(rec.Reserved), r)
	}
	rec.Owner, rec.Epoch = m.To, m.Epoch
	a.putPartition(rec)
	a.emit(history.Event{Kind: history.Moved, Partition: rec.ID, Epoch: rec.Epoch, Node: m.To, From: m.From, Text: text})
}

func fate(r *ownership.Reservation) string {
	switch {
	case r.Final || slices.Contains(r.Lapsed, ownership.AllApps):
		return "are not waited for"
	case len(r.Lapsed) > 0:
		return "are reserved for it, but for those of apps that do not wait"
	default:
		return "are reserved for it"
	}
}

// lapsing returns the apps that are not waited for once those of more are not
// either: sorted, each once.
func lapsing(have, more []ownership.AppID) []ownership.AppID {
	all := append(slices.Clone(have), more...)
	if slices.Contains(all, ownership.AllApps) {
		return []ownership.AppID{ownership.AllApps}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// lapse ends the waiting for a silent node.
func (a *applier) lapse(act ownership.Lapse) error {
	if _, ok := a.st.nodes[act.Node]; !ok {
		return fmt.Errorf("ending the wait for node %q: %w", act.Node, ownership.ErrUnknown)
	}
	apps := act.Apps
	if len(apps) == 0 {
		apps = []ownership.AppID{ownership.AllApps}
	}
	a.lapseAll(act.Node, apps)
	return nil
}

func (a *applier) lapseAll(id ownership.NodeID, apps []ownership.AppID) {
	a.eachReserved(id, history.Lapsed, func(r *ownership.Reservation) bool {
		if r.Final {
			return false
		}
		now := lapsing(r.Lapsed, apps)
		changed := !slices.Equal(now, r.Lapsed)
		r.Lapsed = now
		return changed
	})
}

// reclaim gives a node that is back what has lapsed, but for what was taken up.
func (a *applier) reclaim(act ownership.Reclaim) error {
	if _, err := a.present(act.Node); err != nil {
		return fmt.Errorf("reclaiming: %w", err)
	}
	a.eachReserved(act.Node, history.Reclaimed, func(r *ownership.Reservation) bool {
		changed := !r.Final && len(r.Lapsed) > 0
		if changed {
			r.Lapsed = nil
		}
		return changed
	})
	return nil
}

// finish ends for good whatever is reserved for a node.
func (a *applier) finish(id ownership.NodeID) {
	a.eachReserved(id, history.Lapsed, func(r *ownership.Reservation) bool {
		changed := !r.Final
		r.Final = true
		return changed
	})
}

// eachReserved changes the reservations of a node, and tells of each partition in
// which one was changed.
func (a *applier) eachReserved(id ownership.NodeID, kind history.Kind, change func(*ownership.Reservation) bool) {
	for _, pid := range a.st.partIDs {
		p := a.st.parts[pid]
		if !slices.ContainsFunc(p.rec.Reserved, func(r ownership.Reservation) bool { return r.Node == id }) {
			continue
		}
		rec, changed, calls := p.rec, false, 0
		rec.Reserved = slices.Clone(rec.Reserved)
		for i := range rec.Reserved {
			r := &rec.Reserved[i]
			if r.Node != id {
				continue
			}
			before := a.st.reservedLive(&p.tally, r)
			changed = change(r) || changed
			calls += a.st.reservedLive(&p.tally, r) - before
		}
		if !changed {
			continue
		}
		a.putPartition(rec)
		ev := history.Event{Kind: kind, Partition: rec.ID, Epoch: rec.Epoch, Node: rec.Owner, From: id,
			Text: fmt.Sprintf("%d calls wait for node %s no longer", -calls, id)}
		if kind == history.Reclaimed {
			ev.Node, ev.From, ev.Text = id, rec.Owner, fmt.Sprintf("%d calls are node %s's again", calls, id)
		} else if calls < 0 {
			a.enter(ledger.Entry{Kind: ledger.Orphaned, Node: string(id), Partition: uint32(rec.ID), Count: uint64(-calls), Reason: ev.Text})
		}
		a.emit(ev)
	}
}

// takeUp makes an orphan the partition's owner's for good: its bot has it.
func (a *applier) takeUp(act ownership.TakeUp) error {
	ref, e, err := a.find(act.Call, "taking up")
	if err != nil {
		return err
	}
	at := a.st.stands(e)
	if err := a.epochFits(e, act.Epoch); err != nil {
		return fmt.Errorf("taking up call %s: %w", act.Call, err)
	}
	switch {
	case at.State != ownership.CallOrphaned:
		return fmt.Errorf("taking up call %s: it is %s: %w", act.Call, at.State, ownership.ErrConflict)
	case e.State == ownership.CallOrphaned:
		return nil // a repeat
	}
	c, old, ok := a.call(act.Call)
	if !ok {
		return a.lost(act.Call)
	}
	orphan := entryOf(ledger.Orphaned, &c, at.Owner)
	orphan.Reason = fmt.Sprintf("its media were on the owner of epoch %d; the bot of node %s has taken it up", c.Epoch, at.Owner)
	a.enter(orphan)
	c.State, c.Epoch, c.SeenAt = ownership.CallOrphaned, act.Epoch, later(c.SeenAt, a.at)
	a.putCall(&c, old)
	a.st.setCall(ref, c.State, c.Epoch, seconds(c.SeenAt))
	a.emit(a.about(history.TakenUp, &c))
	a.vacate(c.Partition)
	return nil
}

// vacate takes out the reservations of a partition that hold no call any more.
func (a *applier) vacate(id ownership.PartitionID) {
	p := a.st.parts[id]
	empty := func(r ownership.Reservation) bool { return p.heldAt(r.Epoch) == 0 }
	if !slices.ContainsFunc(p.rec.Reserved, empty) {
		return
	}
	rec := p.rec
	rec.Reserved = slices.DeleteFunc(slices.Clone(rec.Reserved), empty)
	if len(rec.Reserved) == 0 {
		rec.Reserved = nil
	}
	a.putPartition(rec)
}
