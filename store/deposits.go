package store

import (
	"fmt"
	"slices"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

// setDeposit puts a deposit in the place of what is there, or takes it out.
func (p *pen) setDeposit(act ownership.SetDeposit) error {
	i, found := ownership.FindDeposit(p.st.deposits, act.Name)
	var have ownership.Deposit
	if found {
		have = p.st.deposits[i]
	}
	if err := mayDeposit(act, have, p.st.deposits); err != nil {
		return fmt.Errorf("depositing %q: %w", act.Name, err)
	}
	if act.Text != "" {
		p.emit(history.Event{Kind: history.Certificate, Text: act.Text})
	}
	if len(act.Value) == 0 && !found {
		return nil
	}
	list := slices.Clone(p.st.deposits)
	if found {
		key, value := record.SealDeposit(&have)
		p.st.sum -= record.Sum(record.KindDeposit, key, value)
		p.b.deposits[act.Name] = nil
		list = slices.Delete(list, i, i+1)
	}
	if len(act.Value) > 0 {
		d := ownership.Deposit{Name: act.Name, Value: act.Value, At: p.at}
		key, value := record.SealDeposit(&d)
		p.st.sum += record.Sum(record.KindDeposit, key, value)
		p.b.deposits[act.Name] = value
		list = slices.Insert(list, i, d)
	}
	p.st.deposits, p.st.changed = list, true
	return nil
}

// mayDeposit says why a deposit cannot be made.
func mayDeposit(act ownership.SetDeposit, have ownership.Deposit, all []ownership.Deposit) error {
	bytes := len(act.Value) - len(have.Value)
	for _, d := range all {
		bytes += len(d.Value)
	}
	switch {
	case act.Name == "" || len(act.Name) > ownership.MaxDepositName || len(act.Text) > ownership.MaxDepositText:
		return fmt.Errorf("a name has 1 to %d bytes, and what the history is told at most %d: %w", ownership.MaxDepositName, ownership.MaxDepositText, ownership.ErrConflict)
	case act.Expect != ownership.AnyDeposit && act.Expect != have.Digest():
		return fmt.Errorf("something else is there by now: %w", ownership.ErrConflict)
	case len(act.Value) > ownership.MaxDepositValue:
		return fmt.Errorf("it has %d bytes, at most %d are allowed: %w", len(act.Value), ownership.MaxDepositValue, ownership.ErrConflict)
	case len(act.Value) > 0 && len(have.Value) == 0 && len(all) >= ownership.MaxDeposits:
		return fmt.Errorf("the region holds %d deposits already: %w", len(all), ownership.ErrConflict)
	case len(act.Value) > 0 && bytes > ownership.MaxDepositBytes:
		return fmt.Errorf("the region's deposits would have %d bytes, at most %d are allowed: %w", bytes, ownership.MaxDepositBytes, ownership.ErrConflict)
	}
	return nil
}

// Deposits returns what the nodes of the region share, by name. The slice must not be
// changed. It waits for nobody.
func (p *published) Deposits() []ownership.Deposit { return p.roster.Load().deposits }
