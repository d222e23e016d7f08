package store

import (
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
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

// rules reads one record on its way from the file, where they stand in their order.
func (l *loader) rules(key, value []byte) error {
	v, err := record.ReadRules(key, value)
	if err == nil {
		l.st.rules = append(l.st.rules, v)
	}
	return err
}

// putRules writes the records of rules; their bucket is made with the first.
func putRules(tx *bbolt.Tx, records map[string][]byte) error {
	if len(records) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(bucketRules)
	if err != nil {
		return err
	}
	return putAll(b, records, func(key string) []byte { return []byte(key) })
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
