package store

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

// rulesRig is a rig whose region may hold rules.
func rulesRig(t *testing.T) *rig {
	r := tokenRig(t)
	r.must(ownership.SetFormat{At: at(0), Format: record.CommandFormat})
	return r
}

func version(number uint64, text string, change ...func(*ownership.Rules)) ownership.Rules {
	v := ownership.Rules{Number: number, Digest: ownership.RulesDigest(text), Text: text, Origin: "emea", By: "alice"}
	for _, f := range change {
		f(&v)
	}
	return v
}

// set sets rules here, after those of the number before.
func set(s int, number uint64, text string) ownership.SetRules {
	return ownership.SetRules{At: at(s), Rules: version(number, text), Expect: number - 1}
}

func takeOver(s int, number uint64, text string) ownership.SetRules {
	return ownership.SetRules{At: at(s), Taken: true, Rules: version(number, text, func(v *ownership.Rules) { v.Origin, v.By, v.At = "amer", "bob", at(s-1) })}
}

func numbers(all []ownership.Rules) (out []uint64) {
	for _, v := range all {
		out = append(out, v.Number)
	}
	return out
}

// TestRulesAreKept: versions are told in their order, by memory, by the file, and by a
// snapshot; the oldest make room.
func TestRulesAreKept(t *testing.T) {
	r := rulesRig(t)
	before := r.lastEvent()
	r.must(set(1, 1, "rules: []"))
	r.must(takeOver(2, 4, "rules: [] # of amer"))
	r.must(set(3, 5, "pins: []"))
	want := []ownership.Rules{
		version(1, "rules: []", func(v *ownership.Rules) { v.At = at(1) }),
		version(4, "rules: [] # of amer", func(v *ownership.Rules) { v.Origin, v.By, v.At = "amer", "bob", at(1) }),
		version(5, "pins: []", func(v *ownership.Rules) { v.At = at(3) }),
	}
	check := func(where string, table *Table) {
		t.Helper()
		if diff := cmp.Diff(want, table.Rules()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", where, diff)
		}
	}
	check("in memory", r.table)
	sum, _ := r.table.Hash()
	r.reopen()
	check("read back", r.table)
	if again, _ := r.table.Hash(); again != sum {
		t.Errorf("the hash was %s, read back it is %s", sum, again)
	}
	fresh := newRig(t)
	if err := fresh.table.Restore(io.NopCloser(bytes.NewReader(r.snapshotBytes()))); err != nil {
		t.Fatal(err)
	}
	check("restored", fresh.table)
	if diff := cmp.Diff([]history.Kind{history.RulesSet, history.RulesTaken, history.RulesSet}, r.kinds(before)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for i := range uint64(ownership.RulesKept) {
		r.must(set(4, 6+i, fmt.Sprintf("rules: [] # %d", i)))
	}
	got := r.table.Rules()
	sum, _ = r.table.Hash()
	r.reopen()
	if again, _ := r.table.Hash(); len(got) != ownership.RulesKept || got[0].Number != 6 || again != sum || len(r.table.Rules()) != ownership.RulesKept {
		t.Errorf("%d versions are kept, read back %d, from %d on; the hash was %s, read back it is %s", len(got), len(r.table.Rules()), got[0].Number, sum, again)
	}
}

// TestRulesAreNotSetOver: whoever did not see the newest version changes nothing, and
// what comes from another region must be newer.
func TestRulesAreNotSetOver(t *testing.T) {
	r := tokenRig(t)
	r.refused(set(1, 1, "rules: []"), ownership.ErrConflict, "the region writes command format 2, it needs 4")
	r.must(ownership.SetFormat{At: at(0), Format: record.CommandFormat})
	r.must(set(1, 1, "rules: []"))
	r.refused(set(2, 1, "pins: []"), ownership.ErrConflict, "the newest are rules 1, not 0: somebody changed them meanwhile")
	r.refused(ownership.SetRules{At: at(2), Rules: version(3, "pins: []"), Expect: 1}, ownership.ErrConflict, "3 does not follow 1")
	r.refused(ownership.SetRules{At: at(2), Rules: version(2, "pins: []", func(v *ownership.Rules) { v.Text = "rules: []" }), Expect: 1}, ownership.ErrConflict, "not that of the text")
	r.refused(set(2, 2, strings.Repeat("#", ownership.MaxRulesText+1)), ownership.ErrConflict, "at most 262144 are allowed")
	r.refused(takeOver(2, 1, "rules: []"), ownership.ErrConflict, "the region has rules 1 already")
	r.must(set(3, 2, "pins: []"))
	r.refused(takeOver(4, 1, "tables: {}"), ownership.ErrConflict, "the region has rules 2 already")
	if got := numbers(r.table.Rules()); !cmp.Equal(got, []uint64{1, 2}) {
		t.Errorf("the versions are %v", got)
	}
}

// TestTwoChangesMeet: of one number the greater digest wins, whichever came first, and
// an event says so.
func TestTwoChangesMeet(t *testing.T) {
	low, high := "rules: []", "pins: []"
	if ownership.RulesDigest(low) > ownership.RulesDigest(high) {
		low, high = high, low
	}
	r := rulesRig(t)
	r.must(set(1, 1, low))
	before := r.lastEvent()
	r.must(takeOver(2, 1, high))
	if got := r.kinds(before); !cmp.Equal(got, []history.Kind{history.RulesMet}) {
		t.Errorf("the events are %v", got)
	}
	r.must(ownership.TellRules{At: at(3), Text: strings.Repeat("ü", ownership.MaxRulesNote)})
	r.must(ownership.TellRules{At: at(3), Text: "they agree", Agree: true})
	if got := r.kinds(before); !cmp.Equal(got[1:], []history.Kind{history.RulesDiffer, history.RulesAgree}) {
		t.Errorf("the events are %v", got)
	}
	all := r.table.Rules()
	if len(all) != 2 || all[1].Text != high || all[0].Text != low {
		t.Errorf("the versions are %+v", all)
	}
	other := rulesRig(t)
	other.must(set(1, 1, high))
	other.refused(takeOver(2, 1, low), ownership.ErrConflict, "the region has rules 1 already")
}

// TestARestoreBringsNoOlderRules: the newer of today's and the snapshot's versions
// stand, with their history.
func TestARestoreBringsNoOlderRules(t *testing.T) {
	then := rulesRig(t)
	then.must(set(1, 1, "rules: []"))
	old := then.snapshotBytes()
	then.must(set(2, 2, "pins: []"))
	for name, tt := range map[string]struct {
		snapshot []byte
		today    []ownership.Rules
		want     []uint64
	}{
		"today's are newer":        {old, then.table.Rules(), []uint64{1, 2}},
		"the snapshot's are newer": {then.snapshotBytes(), then.table.Rules()[:1], []uint64{1, 2}},
		"there are none today":     {old, nil, []uint64{1}},
		"there were none":          {tokenRig(t).snapshotBytes(), then.table.Rules(), []uint64{1, 2}},
	} {
		var out bytes.Buffer
		info, err := Today{Rules: tt.today, TheirTokens: true}.With(bytes.NewReader(tt.snapshot), &out)
		if err != nil || info.Rules != len(tt.want) {
			t.Fatalf("%s: %+v, %v", name, info, err)
		}
		if read, err := Inspect(bytes.NewReader(out.Bytes())); err != nil || read.Rules != info.Rules || read.Hash != info.Hash {
			t.Errorf("%s: told and written differ: %+v, %+v, %v", name, info, read, err)
		}
		fresh := newRig(t)
		if err := fresh.table.Restore(io.NopCloser(&out)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := numbers(fresh.table.Rules()); !cmp.Equal(got, tt.want) {
			t.Errorf("%s: the versions are %v, want %v", name, got, tt.want)
		}
	}
}
