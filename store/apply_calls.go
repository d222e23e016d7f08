package store

import (
	"fmt"

	"tandem/ledger"
	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/files"
	"tandem/store/index"
)

// claims places each claim of the batch; the next one sees the one before.
func (a *applier) claims(act ownership.Claims, out *ownership.Outcome) {
	out.Placements = make([]ownership.Placement, len(act.Claims))
	out.Errors = make([]error, len(act.Claims))
	placer := ownership.NewPlacer(a, act.At, act.Fitness).Turns(act.Turns)
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
			a.enterRefused(c, err)
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
	a.emit(history.Event{
		Kind: history.Claimed, Call: call.ID, App: call.App, Tenant: call.Tenant, Partition: p.Partition, Epoch: p.Epoch,
		Node: p.Owner, Reason: p.Reason, Candidates: p.Candidates,
	})
}

// answered believes who answered: a call that rings was answered at the epoch that
// is named, and stays at it; with media on a former owner it is an orphan. Before command format 3 the epoch had to be the
// present one.
func (a *applier) answered(act ownership.Answered, out *ownership.Outcome) error {
	ref, e, err := a.find(act.Call, "recording the answer of")
	if err != nil {
		return err
	}
	at := a.st.stands(e)
	repeat := e.State == ownership.CallAnswered && at.State == ownership.CallAnswered
	if err := a.mayAnswer(e, act.Epoch, repeat); err != nil {
		return fmt.Errorf("recording the answer of call %s: %w", act.Call, err)
	}
	switch {
	case repeat && act.Thread == "" && act.Organizer == "":
		return nil
	case !repeat && e.State != ownership.CallClaimed:
		return fmt.Errorf("recording the answer of call %s: it is %s: %w", act.Call, at.State, ownership.ErrConflict)
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
	if a.reserves() {
		c.Epoch = act.Epoch
		if now := a.st.parts[c.Partition].rec.Epoch; c.Pinned && c.Epoch < now {
			// It rang with the present owner, which may act for it until its own table has
			// this: nothing may give it back meanwhile.
			c.State, c.Epoch = ownership.CallOrphaned, now
			out.Look = append(out.Look, c.Partition)
		}
	}
	a.putCall(&c, old)
	a.st.setCall(ref, c.State, c.Epoch, seconds(c.SeenAt))
	a.emit(a.about(history.Answered, &c))
	return nil
}

// mayAnswer refuses an epoch that cannot be the one at which the call was answered.
func (a *applier) mayAnswer(e *index.Entry, epoch ownership.Epoch, repeat bool) error {
	if a.reserves() && repeat {
		return a.notAhead(e, epoch)
	}
	return a.recordFits(e, epoch) // nobody answers a call before it is claimed
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
		ref := a.st.calls.Find(id)
		if ref == 0 {
			continue
		}
		e := a.st.calls.At(ref)
		if e.State == ownership.CallEnded {
			continue
		}
		c, old, ok := a.call(id)
		if !ok || !a.at.After(c.SeenAt) {
			continue
		}
		c.SeenAt = a.at
		a.putCall(&c, old)
		e.Active = seconds(a.at)
	}
}

// release compares the epoch before it ends a call, so that an owner of the past
// cannot end what another has adopted since. What the cloud told is not compared:
// a call that has ended there has ended.
func (a *applier) release(act ownership.Release, out *ownership.Outcome) error {
	early := a.reserves() && act.Told && act.App != ""
	ref, e, err := a.find(act.Call, "releasing")
	switch {
	case err != nil && early:
		return a.entomb(act)
	case err != nil:
		return err
	case early && e.State != ownership.CallEnded:
		return fmt.Errorf("releasing call %s: it is %s, its owner is to hear of the end: %w", act.Call, a.st.stands(e).State, ownership.ErrConflict)
	}
	if err := a.mayRelease(e, &act); err != nil {
		return fmt.Errorf("releasing call %s: %w", act.Call, err)
	}
	if e.State == ownership.CallEnded {
		return nil // a repeat
	}
	c, old, ok := a.call(act.Call)
	if !ok {
		return a.lost(act.Call)
	}
	ev := a.about(history.Ended, &c)
	ev.Text = act.Why
	a.enterEnd(&c, a.st.stands(e), &act)
	c.State, c.EndedAt, c.Ending = ownership.CallEnded, a.at, act.Why
	if a.reserves() {
		c = tombstone(&c)
	}
	a.putCall(&c, old)
	a.st.setCall(ref, c.State, c.Epoch, seconds(a.at))
	a.emit(ev)
	if act.Epoch == 0 { // the owner did not do it, and its bot may have the media
		out.Look = append(out.Look, c.Partition)
	}
	a.vacate(c.Partition)
	return nil
}

func (a *applier) mayRelease(e *index.Entry, act *ownership.Release) error {
	switch {
	case act.Epoch == 0: // an operator
		return nil
	case !a.reserves():
		return a.recordFits(e, act.Epoch)
	case act.Told, e.State == ownership.CallEnded:
		return nil
	}
	if err := a.epochFits(e, act.Epoch); err != nil {
		return err
	}
	if at := a.st.stands(e); at.Epoch != act.Epoch {
		return fmt.Errorf("epoch %d is named, node %s acts for the call at epoch %d: %w", act.Epoch, at.Owner, at.Epoch, ownership.ErrConflict)
	}
	return nil
}

// entomb notes the end of a call that was never claimed here.
func (a *applier) entomb(act ownership.Release) error {
	if id, err := ownership.ParseCallID(string(act.Call)); err != nil || id != act.Call {
		return fmt.Errorf("releasing a call: %q is no normalised call id: %w", act.Call, ownership.ErrConflict)
	}
	p := a.graveyard()
	if p == nil {
		return fmt.Errorf("releasing call %s, which nobody has claimed: there is no partition: %w", act.Call, ownership.ErrUnknown)
	}
	c := ownership.Call{
		ID: act.Call, App: act.App, Tenant: act.Tenant, Partition: p.ID, Epoch: p.Epoch, State: ownership.CallEnded,
		EndedAt: a.at, SeenAt: a.at, Ending: act.Why,
	}
	a.enter(ledger.Entry{
		Kind: ledger.Ended, Call: string(c.ID), App: string(c.App), Tenant: string(c.Tenant), Chain: act.Chain, Reason: act.Why,
	})
	a.putCall(&c, 0)
	a.st.addCall(c.ID, ownership.Known{App: c.App, Partition: c.Partition, Epoch: c.Epoch, State: c.State}, seconds(a.at))
	ev := a.about(history.Ended, &c)
	ev.Text = act.Why
	a.emit(ev)
	return nil
}

// graveyard is where the tombstones of calls go that were in no partition: the
// lowest-numbered one, but one that would go as soon as it is empty only if there
// is no other.
func (a *applier) graveyard() (last *ownership.Partition) {
	for _, id := range a.st.partIDs {
		p := &a.st.parts[id].rec
		switch {
		case p.Retired:
		case !a.outlived(p):
			return p
		case last == nil:
			last = p
		}
	}
	return last
}

// tombstone is what is left of an ended call: enough to know a repeat of its
// notifications, and to list it. Whatever else there was stands in the history.
func tombstone(c *ownership.Call) ownership.Call {
	p := c.Placement
	p.Candidates = nil
	return ownership.Call{
		ID: c.ID, App: c.App, Tenant: c.Tenant, Partition: c.Partition, Epoch: c.Epoch, State: c.State, Pinned: c.Pinned,
		ClaimedAt: c.ClaimedAt, AnsweredAt: c.AnsweredAt, EndedAt: c.EndedAt, SeenAt: c.SeenAt, Via: c.Via, Placement: p, Ending: c.Ending,
	}
}

// forgetAtOnce bounds the tombstones that one act drops; those of its last second
// go all.
const forgetAtOnce = 2000

// forget drops old tombstones, then retires the partitions that have become
// empty and will not be used again, and drops what has been out of use for long.
func (a *applier) forget(act ownership.Forget) {
	before := seconds(act.Before)
	var young []index.Ending
	for dropped, second := 0, uint32(0); ; {
		if a.reserves() && dropped >= forgetAtOnce {
			before = min(before, second) // of one second all or none: ties have no order
		}
		end, ok := a.st.ended.Take(before)
		if !ok {
			break
		}
		id := a.st.calls.ID(end.Ref)
		c, sum, ok := a.call(id)
		if !ok || !c.EndedAt.Before(act.Before) {
			young = append(young, end)
			continue
		}
		a.st.sum -= sum
		a.b.calls[id] = nil
		a.st.dropCall(end.Ref)
		dropped, second = dropped+1, end.At
	}
	for _, end := range young {
		a.st.ended.Put(end)
	}
	a.expire()
	a.retire()
	if a.reserves() {
		a.clear(act.Before)
	}
}

// find returns a call's place in the index.
func (a *applier) find(id ownership.CallID, doing string) (uint32, *index.Entry, error) {
	ref := a.st.calls.Find(id)
	if ref == 0 {
		return 0, nil, fmt.Errorf("%s call %s: %w", doing, id, ownership.ErrUnknown)
	}
	return ref, a.st.calls.At(ref), nil
}

// recordFits refuses an epoch older than that of the call's record, and one that
// its partition has not reached.
func (a *applier) recordFits(e *index.Entry, epoch ownership.Epoch) error {
	return a.fits(e, epoch, e.Epoch.Long())
}

// epochFits refuses an epoch older than that at which the call stands, and one that
// its partition has not reached.
func (a *applier) epochFits(e *index.Entry, epoch ownership.Epoch) error {
	return a.fits(e, epoch, a.st.stands(e).Epoch)
}

func (a *applier) fits(e *index.Entry, epoch, now ownership.Epoch) error {
	if epoch < now {
		return fmt.Errorf("epoch %d is named, the call is at epoch %d: %w", epoch, now, ownership.ErrStaleEpoch)
	}
	return a.notAhead(e, epoch)
}

func (a *applier) notAhead(e *index.Entry, epoch ownership.Epoch) error {
	if now := a.st.parts[ownership.PartitionID(e.Partition)].rec.Epoch; epoch > now {
		return fmt.Errorf("epoch %d is named, partition %d is at epoch %d: %w", epoch, e.Partition, now, ownership.ErrFutureEpoch)
	}
	return nil
}

// about makes an event about a call and who acts for it.
func (a *applier) about(kind history.Kind, c *ownership.Call) history.Event {
	p := &a.st.parts[c.Partition].rec
	ev := history.Event{Kind: kind, Call: c.ID, App: c.App, Tenant: c.Tenant, Partition: c.Partition, Epoch: c.Epoch, Node: p.Owner}
	if a.reserves() {
		at := p.Stands(c.State, c.Pinned, c.App, c.Epoch)
		ev.Epoch, ev.Node = at.Epoch, at.Owner
	}
	return ev
}

// lost is the answer once a record could not be read and the table has stopped.
func (a *applier) lost(id ownership.CallID) error {
	return fmt.Errorf("reading call %s: %w", id, files.ErrDamaged)
}
