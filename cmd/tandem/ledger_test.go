package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/ledger"
)

// exported writes a ledger of so many entries to a file, and gives the key of its region.
func exported(t *testing.T, file string, entries int) string {
	t.Helper()
	s, err := ledger.NewSigner(ledger.NameOf("contoso", "emea"), bytes.Repeat([]byte{5}, 32))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	var tree ledger.Tree
	var b bytes.Buffer
	for n := range entries {
		line := ledger.Encode(ledger.Entry{N: uint64(n), At: at, Kind: ledger.Lost, Call: "abc"})
		if err := tree.Push(0, ledger.HashOf(line), nil); err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	head, err := s.Sign(ledger.Head{Size: tree.Size(), Root: tree.Root(), At: at})
	if err != nil {
		t.Fatal(err)
	}
	b.Write(append(ledger.Line(ledger.End{Head: head, Key: s.Key}), '\n'))
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if entries == 1 { // and the proof of the only entry
		text, err := json.Marshal(ledger.Proof{Entry: bytes.Split(b.Bytes(), []byte("\n"))[0], Head: head, Hashes: []ledger.Hash{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+".proof", text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s.Key
}

// TestAnExportIsVerifiedOffline: without a node, by the key that somebody knows, and against
// the head of the last time.
func TestAnExportIsVerifiedOffline(t *testing.T) {
	dir := t.TempDir()
	file, head, longer, one := filepath.Join(dir, "ledger.jsonl"), filepath.Join(dir, "head"), filepath.Join(dir, "longer"), filepath.Join(dir, "one")
	key := exported(t, file, 5)
	exported(t, longer, 9)
	exported(t, one, 1)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed, other := filepath.Join(dir, "changed"), filepath.Join(dir, "other")
	for name, text := range map[string]string{changed: strings.Replace(string(text), `"abc"`, `"abd"`, 1), other: `{"head":"x"}` + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		line string
		code int
		says string
	}{
		{"ledger verify " + file, 0, "name the one that you know with --key"},
		{"ledger verify " + file + " --key " + key + " --head " + head, 0, "5 of 5"},
		{"ledger verify " + longer + " --key " + key + " --head " + head, 0, "begins as kept     yes"},
		{"ledger verify " + file + " --head " + head, 1, "the ledger had 9 entries when the head was kept, now it has 5"},
		{"ledger verify " + changed, 1, "at least one was changed"},
		{"ledger verify " + file + " --key contoso+00000000+AAAA", 1, "none of those that you named"},
		{"ledger verify " + file + " --head " + other, 1, "is to hold a head"},
		{"ledger verify " + filepath.Join(dir, "none"), 1, "no such file"},
		{"ledger prove --check " + one + ".proof --key " + key, 0, `{"n":0,`},
		{"ledger prove --check " + one + ".proof", 2, "needs --key"},
		{"ledger prove --check " + file + " --key " + key, 1, "no proof"},
		{"ledger prove", 2, "write the number of an entry"},
		{"ledger prove x", 2, "no number of an entry"},
		{"ledger list --kind other", 2, "change, ended, lost, late"},
		{"ledger list --since noon", 2, "write how long ago"},
		{"ledger list --limit 0", 2, "1 or more"},
		{"ledger list --call a/b", 2, "reading a call id"},
		{"ledger export --as xml", 2, "jsonl or csv"},
	} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(tc.line), &out, &errs); code != tc.code || !strings.Contains(out.String()+errs.String(), tc.says) {
			t.Errorf("tandem %s exits with %d, want %d and %q:\n%s%s", tc.line, code, tc.code, tc.says, &out, &errs)
		}
	}
}

func TestATimeAsPeopleWriteIt(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"": {}, "24h": now.Add(-24 * time.Hour), "7d": now.AddDate(0, 0, -7), "2026-11-01": time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), "2026-11-29T11:00:00Z": now.Add(-time.Hour),
	} {
		if at, err := moment("--since", s, now); err != nil || !at.Equal(want) {
			t.Errorf("%q is %s, %v, want %s", s, at, err, want)
		}
	}
	for _, s := range []string{"-1h", "d", "1y", "2026-13-01", "70000d"} {
		if at, err := moment("--since", s, now); err == nil {
			t.Errorf("%q is %s", s, at)
		}
	}
}
