package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Filter chooses entries; what is empty does not restrict.
type Filter struct {
	Kind                 Kind
	Tenant, Call, Thread string
	Since, Until         time.Time // from Since on, before Until
}

// Matcher is a filter that is ready to be held against lines.
type Matcher struct {
	f       Filter
	needles [][]byte // a line that the filter chooses holds all of them
}

// Matcher makes the filter ready.
func (f Filter) Matcher() Matcher {
	m := Matcher{f: f}
	for key, value := range map[string]string{"kind": string(f.Kind), "tenant": f.Tenant, "call": f.Call, "thread": f.Thread} {
		if value == "" {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			continue // the whole entry is compared all the same
		}
		m.needles = append(m.needles, fmt.Appendf(nil, `"%s":%s`, key, text))
	}
	return m
}

// Match reads a line and reports whether the filter chooses its entry. The error is
// Decode's.
func (m *Matcher) Match(line []byte) (Entry, bool, error) {
	for _, n := range m.needles {
		if !bytes.Contains(line, n) { // cheaper than reading it
			return Entry{}, false, nil
		}
	}
	if !m.f.Since.IsZero() || !m.f.Until.IsZero() {
		_, at, _, err := Glance(line)
		if err != nil {
			return Entry{}, false, err
		}
		if at.Before(m.f.Since) || !m.f.Until.IsZero() && !at.Before(m.f.Until) {
			return Entry{}, false, nil
		}
	}
	e, err := Decode(line)
	if err != nil {
		return e, false, err
	}
	f := &m.f
	return e, (f.Kind == "" || e.Kind == f.Kind) && (f.Tenant == "" || e.Tenant == f.Tenant) && (f.Call == "" || e.Call == f.Call) &&
		(f.Thread == "" || e.Thread == f.Thread), nil
}

// Glance reads only what a ledger has to know of each entry: its number, its time and its kind, with which a
// line begins. The error is ErrNoEntry; a line without one may still be no entry.
func Glance(line []byte) (n uint64, at time.Time, kind Kind, err error) {
	number, rest, ok1 := bytes.Cut(line, []byte(`,"at":"`))
	number, ok2 := bytes.CutPrefix(number, []byte(`{"n":`))
	moment, rest, ok3 := bytes.Cut(rest, []byte(`","kind":"`))
	word, _, ok4 := bytes.Cut(rest, []byte(`"`))
	if !ok1 || !ok2 || !ok3 || !ok4 || len(number) > 20 || len(moment) > 40 {
		return 0, at, "", ErrNoEntry
	}
	if n, err = strconv.ParseUint(string(number), 10, 64); err != nil {
		return 0, at, "", fmt.Errorf("its number: %w", ErrNoEntry)
	}
	if at, err = time.Parse(time.RFC3339, string(moment)); err != nil {
		return 0, at, "", fmt.Errorf("its time: %w", ErrNoEntry)
	}
	for _, k := range Kinds {
		if string(word) == string(k) {
			return n, at, k, nil
		}
	}
	return 0, at, "", fmt.Errorf("its kind is %.20q: %w", word, ErrNoEntry)
}
