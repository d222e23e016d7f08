package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
)

// live counts the live calls of the rig's table by its list.
func (r *rig) live() int {
	n := 0
	for _, p := range r.table.Partitions() {
		n += p.Live
	}
	return n
}

var signKey, otherKey = bytes.Repeat([]byte("k"), 32), bytes.Repeat([]byte("o"), 32)

func signed(t testing.TB, snapshot, key []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := SignTo(&b, key)
	for part := range bytes.Lines(snapshot) { // in pieces, as they come
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Sign(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func opened(t testing.TB, b []byte) Saved {
	t.Helper()
	s, err := OpenSaved(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestD10_ACraftedSnapshotIsNotSigned: whoever has no key of the deployment can make no
// snapshot that passes, out of nothing or out of a good one.
func TestD10_ACraftedSnapshotIsNotSigned(t *testing.T) {
	b := filled(t).snapshotBytes()
	good := signed(t, b, signKey)
	s := opened(t, good)
	if err := s.Verify([][]byte{otherKey, signKey}); err != nil { // the older of two keys
		t.Errorf("a good one: %v", err)
	}
	if back, err := io.ReadAll(s); err != nil || !bytes.Equal(back, b) {
		t.Errorf("what was signed does not come back: %d of %d bytes, %v", len(back), len(b), err)
	}
	changed := bytes.Clone(good)
	changed[len(b)/2] ^= 1
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	for name, bad := range map[string][]byte{
		"of another key": signed(t, b, otherKey), "changed": changed, "its signature changed": forged, "without a signature": b, "cut short": good[:len(good)-1],
		"longer": append(bytes.Clone(good), 0), "signed twice": signed(t, good, otherKey), "empty": nil, "a signature alone": good[len(b):],
	} {
		if err := opened(t, bad).Verify([][]byte{signKey}); !errors.Is(err, ErrUnsigned) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestD10_TheTokensOfTodayStay: a snapshot comes in with the tokens that the region has,
// not with its own, and is whole all the same.
func TestD10_TheTokensOfTodayStay(t *testing.T) {
	grant := func(r *rig, name string) {
		r.do(ownership.SetFormat{At: t0, Format: CommandFormat})
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
		info, err := WithTokens(bytes.NewReader(b), &out, today)
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
	if info, err := WithTokens(bytes.NewReader(filled(t).snapshotBytes()), &out, now.table.DoorTokens()); err != nil || info.Tokens != 0 {
		t.Errorf("in a snapshot of an old format: %d tokens, %v", info.Tokens, err)
	}
}

// FuzzOpenSaved gives any bytes as a saved snapshot. It verifies only as what SignTo
// makes of a shorter one.
func FuzzOpenSaved(f *testing.F) {
	b := []byte("a snapshot\nof two lines")
	f.Add(b)
	f.Add(signed(f, b, signKey))
	f.Add(signed(f, nil, signKey))
	f.Add([]byte(signMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := opened(t, b)
		inside, err := io.ReadAll(s)
		if err != nil || !bytes.HasPrefix(b, inside) {
			t.Fatalf("%d bytes come out of %d: %v", len(inside), len(b), err)
		}
		if err := s.Verify([][]byte{signKey}); (err == nil) != bytes.Equal(b, signed(t, inside, signKey)) {
			t.Fatalf("verifying gives %v", err)
		}
	})
}
