package store

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/store/record"
)

// live counts the live calls of the rig's table by its list.
func (r *rig) live() int {
	n := 0
	for _, p := range r.table.Partitions() {
		n += p.Live
	}
	return n
}

// TestD10_TheTokensOfTodayStay: a snapshot comes in with the tokens that the region has,
// not with its own, and is whole all the same.
func TestD10_TheTokensOfTodayStay(t *testing.T) {
	grant := func(r *rig, name string) {
		r.do(ownership.SetFormat{At: t0, Format: record.CommandFormat})
		r.do(ownership.GrantToken{At: t0, Token: ownership.DoorToken{Name: name, Hash: sha256.Sum256([]byte(name)), Roles: []string{"operate"}}})
	}
	then := filled(t)
	grant(then, "theirs")
	grant(then, "also-theirs")
	b := then.snapshotBytes()
	now := newRig(t)
	now.join("emea-1")
	grant(now, "ours")
	grant(now, "also-ours")
	for _, today := range [][]ownership.DoorToken{now.table.DoorTokens(), nil} {
		var out bytes.Buffer
		info, err := Today{Tokens: today}.With(bytes.NewReader(b), &out)
		if err != nil {
			t.Fatal(err)
		}
		read, err := Inspect(bytes.NewReader(out.Bytes()))
		if diff := cmp.Diff(info, read); err != nil || diff != "" {
			t.Errorf("what was told and what was written: %v\n%s", err, diff)
		}
		fresh := newRig(t)
		if err := fresh.table.Restore(io.NopCloser(&out)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(today, fresh.table.DoorTokens()); diff != "" {
			t.Errorf("the tokens (-today +restored):\n%s", diff)
		}
		if len(fresh.table.Nodes()) != len(then.table.Nodes()) || fresh.live() != then.live() {
			t.Error("something else was left out")
		}
	}
	// Of a format from before there were tokens there are none.
	var out bytes.Buffer
	if info, err := (Today{Tokens: now.table.DoorTokens()}).With(bytes.NewReader(filled(t).snapshotBytes()), &out); err != nil || info.Tokens != 0 {
		t.Errorf("in a snapshot of an old format: %d tokens, %v", info.Tokens, err)
	}
}
