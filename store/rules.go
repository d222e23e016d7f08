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

// setRules makes a version the newest, and drops the oldest beyond what is kept.
func (p *pen) setRules(act ownership.SetRules) error {
	v, have := act.Rules, p.st.newestRules()
	if !act.Taken {
		v.At = p.at
	}
	if err := mayFollow(&v, have, act); err != nil {
		return fmt.Errorf("setting rules %d: %w", v.Number, err)
	}
	key, value := record.SealRules(&v)
	p.st.sum += record.Sum(record.KindRules, key, value)
	p.b.rules[string(key)] = value
	list := append(slices.Clone(p.st.rules), v)
	for ; len(list) > ownership.RulesKept; list = list[1:] {
		key, value := record.SealRules(&list[0])
		p.st.sum -= record.Sum(record.KindRules, key, value)
		p.b.rules[string(key)] = nil
	}
	p.st.rules = list
	p.st.changed = true
	switch {
	case !act.Taken:
		p.emit(history.Event{Kind: history.RulesSet, Text: fmt.Sprintf("rules %d by %s%s", v.Number, v.By, noted(v.Note))})
	case v.Number == have.Number:
		p.emit(history.Event{Kind: history.RulesMet, Text: fmt.Sprintf("two changes met: rules %d of %s by %s take the place of those of the same number of %s by %s, which stay in the history",
			v.Number, v.Origin, v.By, have.Origin, have.By)})
	default:
		p.emit(history.Event{Kind: history.RulesTaken, Text: fmt.Sprintf("rules %d of %s by %s follow rules %d%s", v.Number, v.Origin, v.By, have.Number, noted(v.Note))})
	}
	return nil
}

// tellRules puts a sentence about somebody's rules into the history.
func (p *pen) tellRules(act ownership.TellRules) {
	kind := history.RulesDiffer
	if act.Agree {
		kind = history.RulesAgree
	}
	text := act.Text
	if len(text) > ownership.MaxRulesNote {
		text = strings.ToValidUTF8(text[:ownership.MaxRulesNote], "")
	}
	p.emit(history.Event{Kind: kind, Text: text})
}

func noted(note string) string {
	if note == "" {
		return ""
	}
	return ": " + note
}

// mayFollow says why a version cannot be the newest.
func mayFollow(v *ownership.Rules, have ownership.Rules, act ownership.SetRules) error {
	switch {
	case v.Digest != ownership.RulesDigest(v.Text):
		return fmt.Errorf("the digest is not that of the text: %w", ownership.ErrConflict)
	case len(v.Text) > ownership.MaxRulesText || len(v.Note) > ownership.MaxRulesNote || len(v.By) > ownership.MaxRulesNote:
		return fmt.Errorf("the text has %d bytes, at most %d are allowed, and %d of a note: %w", len(v.Text), ownership.MaxRulesText, ownership.MaxRulesNote, ownership.ErrConflict)
	case act.Taken && !v.Newer(have):
		return fmt.Errorf("the region has rules %d already: %w", have.Number, ownership.ErrConflict)
	case !act.Taken && act.Expect != have.Number:
		return fmt.Errorf("the newest are rules %d, not %d: somebody changed them meanwhile, so look at them first: %w", have.Number, act.Expect, ownership.ErrConflict)
	case !act.Taken && v.Number != act.Expect+1:
		return fmt.Errorf("%d does not follow %d: %w", v.Number, act.Expect, ownership.ErrConflict)
	}
	return nil
}

func (s *state) newestRules() ownership.Rules {
	if len(s.rules) == 0 {
		return ownership.Rules{}
	}
	return s.rules[len(s.rules)-1]
}

// Rules returns the versions of the rules that are kept, oldest first; none: the
// region never set any. The slice must not be changed. It waits for nobody.
func (p *published) Rules() []ownership.Rules { return p.roster.Load().rules }

// RulesChanged gets a ping after each change of the rules, also by a restore, and at
// the start. It is for one reader.
func (p *published) RulesChanged() <-chan struct{} { return p.ruled }

// sameRules compares the newest versions.
func sameRules(a, b []ownership.Rules) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return string(record.RulesKey(&a[len(a)-1])) == string(record.RulesKey(&b[len(b)-1]))
}

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
