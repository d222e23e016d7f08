package store

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tandem/ledger"
	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
	"tandem/store/tablepb"
)

// setRollout makes or changes the rule for a version. What halts one, and each step that
// nobody asked for, is entered into the ledger: an operator's change is noted by its door.
func (p *pen) setRollout(act ownership.SetRollout) error {
	v := act.Rollout
	i, found := findRollout(p.st.rollouts, v.App, v.Version)
	var was ownership.Rollout
	if found {
		was = p.st.rollouts[i]
	}
	list := slices.Clone(p.st.rollouts)
	if !found && act.Auto && len(list) >= ownership.MaxRollouts {
		list = makeWay(list)
		i, _ = findRollout(list, v.App, v.Version)
	}
	if err := mayRollOut(&v, was, act, len(list), found); err != nil {
		return fmt.Errorf("setting the rule for version %s of app %s: %w", v.Version, v.App, err)
	}
	v.At, v.Number = p.at, was.Number+1
	v.Reason = short(v.Reason)
	if found {
		list[i] = v
	} else {
		list = slices.Insert(list, i, v)
	}
	p.st.rollouts, p.st.changed = list, true
	e := history.Event{Kind: history.RolloutSet, App: v.App}
	switch {
	case v.Halted && !was.Halted:
		e.Kind, e.Text = history.RolloutHalted, fmt.Sprintf("version %s, by %s: %s", v.Version, v.By, v.Reason)
	default:
		e.Text = fmt.Sprintf("version %s gets %g %% of the new calls, by %s%s", v.Version, float64(v.Share)/100, v.By, noted(v.Reason))
	}
	p.emit(e)
	if act.Auto {
		p.enter(ledger.Entry{Kind: ledger.Change, By: v.By, Action: string(e.Kind), App: string(v.App), Subject: v.Version, Reason: v.Reason})
	}
	return nil
}

func mayRollOut(v *ownership.Rollout, was ownership.Rollout, act ownership.SetRollout, have int, found bool) error {
	switch {
	case v.App == "" || v.Version == "" || len(v.Version) > 64 || len(v.App) > 64 || len(v.By) > ownership.MaxRolloutText:
		return fmt.Errorf("an app and a version have 1 to 64 bytes: %w", ownership.ErrConflict)
	case v.Share < 1 || v.Share > ownership.WholeShare:
		return fmt.Errorf("its share is %d, it must be from 1 to %d: %w", v.Share, ownership.WholeShare, ownership.ErrConflict)
	case act.Auto && was.Number != act.Expect:
		return fmt.Errorf("it was changed meanwhile: %w", ownership.ErrConflict)
	case !found && have >= ownership.MaxRollouts:
		return fmt.Errorf("the region holds %d such rules; end one first: %w", have, ownership.ErrConflict)
	}
	return nil
}

// makeWay drops the rule that has not changed for longest, of those that halt nothing if
// there is one.
func makeWay(list []ownership.Rollout) []ownership.Rollout {
	old := 0
	for i := range list {
		a, b := &list[i], &list[old]
		if a.Halted == b.Halted && a.At.Before(b.At) || !a.Halted && b.Halted {
			old = i
		}
	}
	return slices.Delete(list, old, old+1)
}

func (p *pen) endRollout(act ownership.EndRollout) error {
	i, found := findRollout(p.st.rollouts, act.App, act.Version)
	if !found {
		return fmt.Errorf("ending the rule for version %s of app %s: %w", act.Version, act.App, ownership.ErrUnknown)
	}
	p.st.rollouts, p.st.changed = slices.Delete(slices.Clone(p.st.rollouts), i, i+1), true
	p.emit(history.Event{Kind: history.RolloutEnded, App: act.App, Text: fmt.Sprintf("the rule for version %s ended, by %s", act.Version, act.By)})
	return nil
}

func findRollout(list []ownership.Rollout, app ownership.AppID, version string) (int, bool) {
	return slices.BinarySearchFunc(list, ownership.Rollout{App: app, Version: version}, func(a, b ownership.Rollout) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Version, b.Version))
	})
}

// short cuts a sentence to what the table holds of one.
func short(text string) string {
	if len(text) > ownership.MaxRolloutText {
		text = text[:ownership.MaxRolloutText]
	}
	return strings.ToValidUTF8(text, "")
}

func rolloutsOut(list []ownership.Rollout) (all []*tablepb.Rollout) {
	for i := range list {
		all = append(all, record.RolloutOut(&list[i], nanoseconds(list[i].At)))
	}
	return all
}

func readRollouts(all []*tablepb.Rollout) (list []ownership.Rollout) {
	for _, m := range all {
		list = append(list, record.ReadRollout(m))
	}
	return list
}

// Rollouts returns the rules for versions of bots, by app and version. The slice must not be
// changed. It waits for nobody.
func (p *published) Rollouts() []ownership.Rollout { return p.roster.Load().rollouts }
