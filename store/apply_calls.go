package store

import (
	"fmt"

	"tandem/ownership"
)

// claims places each claim of the batch; the next one sees the one before.
func (a *applier) claims(act ownership.Claims, out *ownership.Outcome) {
	out.Placements = make([]ownership.Placement, len(act.Claims))
	out.Errors = make([]error, len(act.Claims))
	placer := ownership.NewPlacer(a, act.At, act.Fitness)
	for i := range act.Claims {
		c := &act.Claims[i]
		if id, err := ownership.ParseCallID(string(c.Call)); err != nil || id != c.Call {
			out.Errors[i] = fmt.Errorf("claiming a call: %q is no normalised call id: %w", c.Call, ownership.ErrConflict)
			continue
		}
		p, err := placer.Place(*c)
		out.Placements[i] = p
		switch {
		case err != nil:
			out.Errors[i] = fmt.Errorf("claiming call %s: %w", c.Call, err)
		case p.Reason == ownership.ReasonKnown, p.Reason == ownership.ReasonEnded:
		default:
			a.admit(c, p)
		}
	}
}

// admit puts a new call into the table.
func (a *applier) admit(c *ownership.Claim, p ownership.Placement) {
	call := ownership.Call{
		ID: c.Call, RawCall: c.RawCall, App: c.App, Tenant: c.Tenant, Partition: p.Partition, Epoch: p.Epoch,
		State: ownership.CallClaimed, Pinned: c.Pinned, Paired: c.Paired, Groups: c.Groups, Observed: c.Observed,
		Thread: c.Thread, Organizer: c.Organizer, Modalities: c.Modalities, Deadline: c.Deadline,
		ClaimedAt: a.at, SeenAt: a.at, Via: c.Via, Placement: p,
	}
	if c.Answered {
		call.State, call.AnsweredAt = ownership.CallAnswered, a.at
	}
	a.putCall(&call, 0)
	ref := a.st.addCall(call.ID, ownership.Known{
		App: call.App, Partition: call.Partition, Epoch: call.Epoch, State: call.State, Pinned: call.Pinned,
	}, seconds(a.at))
	a.st.enterGroups(ref, call.Groups, call.Observed, call.Paired, call.Deadline)
	a.emit(Event{
		Kind: EventClaimed, Call: call.ID, App: call.App, Tenant: call.Tenant, Partition: p.Partition, Epoch: p.Epoch,
		Node: p.Owner, Reason: p.Reason, Candidates: p.Candidates,
	})
}

// answered compares the epoch before it believes the owner.
func (a *applier) answered(act ownership.Answered) error {
	ref, e, err := a.find(act.Call, "recording the answer of")
	if err != nil {
		return err
	}
	if err := a.epochFits(e, act.Epoch); err != nil {
		return fmt.Errorf("recording the answer of call %s: %w", act.Call, err)
	}
	repeat := e.state == ownership.CallAnswered
	switch {
	case repeat && act.Thread == "" && act.Organizer == "":
		return nil
	case !repeat && e.state != ownership.CallClaimed:
		return fmt.Errorf("recording the answer of call %s: it is %s: %w", act.Call, e.state, ownership.ErrConflict)
	}
	c, old, ok := a.call(act.Call)
	if !ok {
		return a.lost(act.Call)
	}
	learned := learn(&c.Thread, act.Thread)
	learned = learn(&c.Organizer, act.Organizer) || learned
	if repeat {
		if learned {
			a.putCall(&c, old)
		}
		return nil
	}
	c.State, c.AnsweredAt, c.SeenAt = ownership.CallAnswered, a.at, later(c.SeenAt, a.at)
	a.putCall(&c, old)
	a.st.setCallState(ref, ownership.CallAnswered)
	e.active = seconds(c.SeenAt)
	a.emit(a.about(EventAnswered, &c))
	return nil
}

// learn fills in a fact that was not known; what is known stays.
func learn(fact *string, told string) bool {
	if *fact != "" || told == "" {
		return false
	}
	*fact = told
	return true
}

// seen brings the last activity of calls forward. It tells of nothing: it is
// not history, and there is much of it.
func (a *applier) seen(act ownership.Seen) {
	for _, id := range act.Calls {
		ref := a.st.calls.find(id)
		if ref == 0 {
			continue
		}
		e := a.st.calls.calls.at(ref)
		if e.state == ownership.CallEnded {
			continue
		}
		c, old, ok := a.call(id)
		if !ok || !a.at.After(c.SeenAt) {
			continue
		}
		c.SeenAt = a.at
		e.active = seconds(a.at)
		a.putCall(&c, old)
	}
}

// release compares the epoch before it ends a call, so that an owner of the
// past cannot end what another has adopted since.
func (a *applier) release(act ownership.Release) error {
	ref, e, err := a.find(act.Call, "releasing")
	if err != nil {
		return err
	}
	if act.Epoch != 0 {
		if err := a.epochFits(e, act.Epoch); err != nil {
			return fmt.Errorf("releasing call %s: %w", act.Call, err)
		}
	}
	if e.state == ownership.CallEnded {
		return nil // a repeat
	}
	c, old, ok := a.call(act.Call)
	if !ok {
		return a.lost(act.Call)
	}
	c.State, c.EndedAt, c.Ending = ownership.CallEnded, a.at, act.Why
	a.putCall(&c, old)
	a.st.setCallState(ref, ownership.CallEnded)
	e.active = seconds(a.at)
	ev := a.about(EventEnded, &c)
	ev.Text = act.Why
	a.emit(ev)
	return nil
}

// forget drops old tombstones, then retires the partitions that have become
// empty and will not be used again.
func (a *applier) forget(act ownership.Forget) {
	before := seconds(act.Before)
	var old []uint32
	a.st.calls.calls.all(func(ref uint32, e *entry) {
		if e.state == ownership.CallEnded && e.active <= before {
			old = append(old, ref)
		}
	})
	for _, ref := range old {
		id := a.st.calls.id(ref)
		c, sum, ok := a.call(id)
		if !ok || !c.EndedAt.Before(act.Before) {
			continue
		}
		a.st.sum -= sum
		a.b.calls[id] = nil
		a.st.dropCall(ref)
	}
	a.retire()
}

// find gives a call's place in the index.
func (a *applier) find(id ownership.CallID, doing string) (uint32, *entry, error) {
	ref := a.st.calls.find(id)
	if ref == 0 {
		return 0, nil, fmt.Errorf("%s call %s: %w", doing, id, ownership.ErrUnknown)
	}
	return ref, a.st.calls.calls.at(ref), nil
}

// epochFits refuses an epoch older than the call's, and one that its partition
// has not reached.
func (a *applier) epochFits(e *entry, epoch ownership.Epoch) error {
	now := a.st.parts[ownership.PartitionID(e.partition)].rec.Epoch
	switch {
	case epoch < ownership.Epoch(e.epoch):
		return fmt.Errorf("epoch %d is named, the call is at epoch %d: %w", epoch, e.epoch, ownership.ErrStaleEpoch)
	case epoch > now:
		return fmt.Errorf("epoch %d is named, partition %d is at epoch %d: %w", epoch, e.partition, now, ownership.ErrFutureEpoch)
	default:
		return nil
	}
}

// about makes an event about a call and its present owner.
func (a *applier) about(kind EventKind, c *ownership.Call) Event {
	return Event{
		Kind: kind, Call: c.ID, App: c.App, Tenant: c.Tenant, Partition: c.Partition, Epoch: c.Epoch,
		Node: a.st.parts[c.Partition].rec.Owner,
	}
}

// lost is the answer once a record could not be read and the table has stopped.
func (a *applier) lost(id ownership.CallID) error {
	return fmt.Errorf("reading call %s: %w", id, ErrDamaged)
}
