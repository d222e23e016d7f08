package store

import (
	"fmt"

	"tandem/ledger"
	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

// applier carries out one act while the table's lock is held. All it knows is
// the act and the table, so every node reaches the same result.
type applier struct {
	reading
	pen
}

func (a *applier) act(act ownership.Act, out *ownership.Outcome) {
	if since := record.Since(act); since >= ownership.FormatReservations && a.st.format < since {
		out.Err = fmt.Errorf("%s: the region writes command format %d, it needs %d: %w", ownership.Doing(act), a.st.format, since, ownership.ErrConflict)
		return
	}
	a.at = ownership.Moment(act)
	switch act := act.(type) {
	case ownership.Claims:
		a.claims(act, out)
	case ownership.Records:
		out.Errors = make([]error, len(act.Acts))
		for i, rec := range act.Acts {
			out.Errors[i] = a.record(rec, out)
		}
	case ownership.Answered, ownership.Seen, ownership.Release, ownership.TakeUp:
		out.Err = a.record(act, out)
	case ownership.Forget:
		a.forget(act)
	case ownership.Join:
		out.Err = a.join(act)
	case ownership.Drain:
		out.Err = a.drain(act)
	case ownership.Undrain:
		out.Err = a.undrain(act)
	case ownership.Depart:
		out.Moves, out.Err = a.depart(act)
	case ownership.Failover:
		out.Moves, out.Err = a.failover(act)
	case ownership.Lapse:
		out.Err = a.lapse(act)
	case ownership.Reclaim:
		out.Err = a.reclaim(act)
	case ownership.Move:
		out.Moves, out.Err = a.move(act)
	case ownership.SetFormat:
		out.Err = a.setFormat(act)
	case ownership.Found:
		out.Err = a.found(act)
	case ownership.SetLease:
		out.Err = a.setLease(act)
	case ownership.SetRules:
		out.Err = a.setRules(act)
	case ownership.TellRules:
		a.tellRules(act)
	case ownership.Note:
		a.enter(ledger.Entry{
			Kind: ledger.Change, By: act.By, From: act.From, Action: act.Action, Subject: act.Subject, Status: act.Status, Reason: act.Detail,
		})
	case ownership.SetKeep:
		out.Err = a.setKeep(act)
	case ownership.SetDeposit:
		out.Err = a.setDeposit(act)
	case ownership.SetRollout:
		out.Err = a.setRollout(act)
	case ownership.EndRollout:
		out.Err = a.endRollout(act)
	case ownership.TellRollout:
		a.emit(history.Event{Kind: history.RolloutTold, App: act.App, Text: short(act.Text)})
	case ownership.GrantToken:
		out.Err = tokenActs{&a.pen}.grant(act)
	case ownership.RevokeToken:
		out.Err = tokenActs{&a.pen}.revoke(act)
	case ownership.UseToken:
		out.Err = tokenActs{&a.pen}.use(act)
	}
}

// record carries out what an owner reports of its calls, alone or in a batch.
func (a *applier) record(act ownership.Act, out *ownership.Outcome) error {
	switch act := act.(type) {
	case ownership.Answered:
		return a.answered(act, out)
	case ownership.Release:
		return a.release(act, out)
	case ownership.Seen:
		a.seen(act)
	case ownership.TakeUp:
		return a.takeUp(act)
	}
	return nil
}

// setFormat raises the command format that the region writes. Every node that
// may yet read the log must be able to read it.
func (a *applier) setFormat(act ownership.SetFormat) error {
	if act.Format < a.st.format {
		return fmt.Errorf("setting the command format to %d: the region already writes %d: %w", act.Format, a.st.format, ownership.ErrConflict)
	}
	for _, n := range a.st.nodeList {
		if n.State != ownership.NodeGone && n.Format < act.Format {
			return fmt.Errorf("setting the command format to %d: node %s reads only up to %d: %w", act.Format, n.ID, n.Format, ownership.ErrConflict)
		}
	}
	if act.Format == a.st.format {
		return nil
	}
	a.st.format, a.st.changed = act.Format, true
	a.emit(history.Event{Kind: history.Format, Text: fmt.Sprintf("the region writes command format %d", act.Format)})
	return nil
}

// found gives the region its identity, once.
func (a *applier) found(act ownership.Found) error {
	switch have := a.st.identity; {
	case act.Identity == "":
		return fmt.Errorf("founding the region: it needs an identity: %w", ownership.ErrConflict)
	case have == act.Identity:
		return nil // a repeat
	case have != "":
		return fmt.Errorf("founding the region: it was founded before: %w", ownership.ErrConflict)
	}
	a.st.identity, a.st.changed = act.Identity, true
	a.emit(history.Event{Kind: history.Founded, Text: "the region was founded"})
	return nil
}

func (a *applier) setLease(act ownership.SetLease) error {
	switch {
	case act.Length <= 0:
		return fmt.Errorf("setting the length of leases to %s: it must be positive: %w", act.Length, ownership.ErrConflict)
	case act.Length == a.st.lease:
		return nil // a repeat: what went before must stay known
	}
	a.st.lease, a.st.leaseBefore, a.st.changed = act.Length, a.st.lease, true
	a.emit(history.Event{Kind: history.Lease, Text: fmt.Sprintf("leases last %s", act.Length)})
	return nil
}
