package store

import (
	"fmt"

	"tandem/ownership"
	"tandem/ownership/history"
)

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
