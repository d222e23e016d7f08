package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/record"
)

// tokenRig is a rig whose region may hold tokens.
func tokenRig(t *testing.T) *rig {
	r := newRig(t)
	n := node("a")
	n.Format = record.CommandFormat
	r.must(ownership.Join{At: at(0), Node: n, Partitions: 2})
	r.must(ownership.SetFormat{At: at(0), Format: ownership.FormatTokens})
	return r
}

// doorToken is a record as a door would ask for it.
func doorToken(name string, change ...func(*ownership.DoorToken)) ownership.DoorToken {
	d := ownership.DoorToken{Name: name, Hash: sha256.Sum256([]byte(name)), Roles: []string{"read"}, MadeBy: "alice"}
	for _, f := range change {
		f(&d)
	}
	return d
}

func once(d *ownership.DoorToken) { d.Once, d.Roles, d.Expires = true, []string{"join"}, at(3600) }

func (r *rig) grant(s int, d ownership.DoorToken) {
	r.Helper()
	r.must(ownership.GrantToken{At: at(s), Token: d})
}

func (r *rig) names() (names []string) {
	for _, d := range r.table.DoorTokens() {
		names = append(names, d.Name)
	}
	return names
}

func TestTokensAreKept(t *testing.T) {
	r := tokenRig(t)
	before := r.lastEvent()
	r.grant(1, doorToken("ci"))
	r.grant(2, doorToken("alpha", once))
	r.must(ownership.UseToken{At: at(3), Name: "alpha", Hash: sha256.Sum256([]byte("alpha")), For: "10.0.0.9:8471", Done: true})
	want := []ownership.DoorToken{
		doorToken("alpha", once, func(d *ownership.DoorToken) { d.MadeAt, d.UsedFor, d.UsedAt = at(2), "10.0.0.9:8471", at(3) }),
		doorToken("ci", func(d *ownership.DoorToken) { d.MadeAt = at(1) }),
	}
	check := func(where string, table *Table) {
		t.Helper()
		if diff := cmp.Diff(want, table.DoorTokens()); diff != "" {
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
	if diff := cmp.Diff([]history.Kind{history.TokenMade, history.TokenMade, history.TokenUsed}, r.kinds(before)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}

	snap := r.snapshotBytes()
	if info, err := Inspect(bytes.NewReader(snap)); err != nil || info.Tokens != 2 || info.Hash != sum {
		t.Errorf("the snapshot says %+v, %v", info, err)
	}
	other := newRig(t)
	if err := other.table.Restore(io.NopCloser(bytes.NewReader(snap))); err != nil {
		t.Fatal(err)
	}
	check("restored", other.table)

	r.must(ownership.RevokeToken{At: at(9), Name: "ci"})
	r.must(ownership.RevokeToken{At: at(9), Name: "alpha"})
	r.refused(ownership.RevokeToken{At: at(9), Name: "ci"}, ownership.ErrUnknown, `revoking the token "ci"`)
	r.reopen()
	if got := r.names(); len(got) != 0 {
		t.Errorf("after revoking all there are %v", got)
	}
}

func TestTokensRefused(t *testing.T) {
	old := newRig(t)
	old.join("a")
	old.refused(ownership.GrantToken{At: at(1), Token: doorToken("ci")}, ownership.ErrConflict, "tokens need 2")
	if _, err := record.EncodeAct(ownership.GrantToken{}, 1); err == nil || !strings.Contains(err.Error(), "needs format 2") {
		t.Errorf("a token's act in format 1 gives %v", err)
	}

	r := tokenRig(t)
	r.grant(1, doorToken("ci"))
	for name, c := range map[string]struct {
		change func(*ownership.DoorToken)
		says   string
	}{
		"same name":         {func(d *ownership.DoorToken) { d.Name = "ci" }, "one of that name"},
		"same secret":       {func(d *ownership.DoorToken) { d.Hash = sha256.Sum256([]byte("ci")) }, "same secret"},
		"no name":           {func(d *ownership.DoorToken) { d.Name = "" }, "1 to 64 bytes"},
		"long name":         {func(d *ownership.DoorToken) { d.Name = strings.Repeat("x", 65) }, "1 to 64 bytes"},
		"no hash":           {func(d *ownership.DoorToken) { d.Hash = [32]byte{} }, "no hash"},
		"no role":           {func(d *ownership.DoorToken) { d.Roles = nil }, "1 to 8 roles"},
		"many roles":        {func(d *ownership.DoorToken) { d.Roles = make([]string, 9) }, "1 to 8 roles"},
		"long role":         {func(d *ownership.DoorToken) { d.Roles = []string{strings.Repeat("x", 301)} }, "1 to 8 roles"},
		"once for ever":     {func(d *ownership.DoorToken) { d.Once = true }, "must expire"},
		"already at an end": {func(d *ownership.DoorToken) { d.Expires = at(2) }, "expired already"},
	} {
		d := doorToken("new", c.change)
		t.Run(name, func(t *testing.T) {
			r.refused(ownership.GrantToken{At: at(2), Token: d}, ownership.ErrConflict, c.says)
		})
	}
	if got := r.names(); len(got) != 1 {
		t.Errorf("refused tokens stand in the table: %v", got)
	}
}

func TestB101_TokenForOneUse(t *testing.T) {
	r := tokenRig(t)
	r.grant(1, doorToken("j", once))
	use := ownership.UseToken{At: at(2), Name: "j", Hash: sha256.Sum256([]byte("j")), For: "10.0.0.9:8471"}
	with := func(f func(*ownership.UseToken)) ownership.UseToken { u := use; f(&u); return u }
	r.refused(with(func(u *ownership.UseToken) { u.Name = "k" }), ownership.ErrUnknown, `using the token "k"`)
	r.refused(with(func(u *ownership.UseToken) { u.Hash = [32]byte{1} }), ownership.ErrUnknown, `using the token "j"`)
	r.refused(with(func(u *ownership.UseToken) { u.At = at(3600) }), ownership.ErrConflict, "it expired")
	r.refused(with(func(u *ownership.UseToken) { u.For = "" }), ownership.ErrConflict, "1 to 300 bytes")
	r.must(use)
	r.must(use) // the same use, tried again
	r.refused(with(func(u *ownership.UseToken) { u.For = "10.0.0.10:8471" }), ownership.ErrConflict, "something else")
	r.must(with(func(u *ownership.UseToken) { u.Done = true }))
	r.refused(use, ownership.ErrConflict, "it was used")
	r.refused(with(func(u *ownership.UseToken) { u.Done = true }), ownership.ErrConflict, "it was used")

	r.grant(3, doorToken("many"))
	many := ownership.UseToken{At: at(4), Name: "many", Hash: sha256.Sum256([]byte("many")), For: "x", Done: true}
	r.must(many)
	r.must(many)
}

func TestTokensAreBoundedAndForgotten(t *testing.T) {
	r := tokenRig(t)
	for i := range ownership.MaxDoorTokens {
		d := doorToken(fmt.Sprintf("t%04d", i))
		if i%2 == 0 {
			d.Expires = at(100)
		}
		r.grant(1, d)
	}
	full := ownership.GrantToken{At: at(200), Token: doorToken("late")}
	r.refused(full, ownership.ErrConflict, "revoke one first")
	full.At = at(100).Add(ownership.TokensKept + time.Second)
	r.must(full)
	if n := len(r.names()); n != ownership.MaxDoorTokens/2+1 {
		t.Errorf("%d tokens are left, want %d", n, ownership.MaxDoorTokens/2+1)
	}
	r.reopen()
	if n := len(r.names()); n != ownership.MaxDoorTokens/2+1 {
		t.Errorf("read back, %d tokens are left", n)
	}
}

// Software of before knows nothing of tokens: its log never holds one, and it
// refuses a file of a region that has them by that region's format.
func TestF26_TokensRaiseTheFormat(t *testing.T) {
	r := newRig(t)
	old := node("a")
	old.Format = 1
	r.must(ownership.Join{At: at(0), Node: old, Partitions: 2})
	r.refused(ownership.SetFormat{At: at(1), Format: ownership.FormatTokens}, ownership.ErrConflict, "node a reads only up to 1")
	b, err := record.EncodeAct(ownership.GrantToken{At: at(1), Token: doorToken("x")}, ownership.FormatTokens)
	if err != nil {
		t.Fatal(err)
	}
	b[1] = 1 // the format stands first: field 1, one byte
	if _, err := record.DecodeAct(b); !errors.Is(err, record.ErrBadCommand) {
		t.Errorf("a token's act that claims format 1 gives %v", err)
	}
}
