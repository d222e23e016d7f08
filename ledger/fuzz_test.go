package ledger

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
)

// FuzzEntry: what is read is spelled in one way only, and any texts make a line that can
// be read.
func FuzzEntry(f *testing.F) {
	f.Add(Encode(entry(7)))
	f.Add([]byte(`{"n":0,"at":"0001-01-01T00:00:00Z","kind":"deleted","total":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := Decode(b); err == nil && !bytes.Equal(Encode(e), b) {
			t.Errorf("%q has a second spelling: %q", b, Encode(e))
		}
		s := strings.ToValidUTF8(string(b), "")
		line := Encode(Entry{Kind: Change, Thread: s, Reason: s, By: s, Subject: s, Call: s})
		e, err := Decode(line)
		if err != nil || len(line) > MaxEntry {
			t.Errorf("%d bytes, %v: %s", len(line), err, line)
		}
		var out bytes.Buffer
		w := csv.NewWriter(&out)
		if err := WriteCSV(w, e); err != nil {
			t.Error(err)
		}
		w.Flush()
		if rows, err := csv.NewReader(&out).ReadAll(); err != nil || len(rows) != 1 || len(rows[0]) != len(CSVHead) {
			t.Errorf("as CSV: %v, %v", rows, err)
		}
	})
}

// FuzzVerify: no bytes are an export that a key has signed, but that one.
func FuzzVerify(f *testing.F) {
	s, w := signer(f, 1), grown(5)
	whole := w.export(f, s)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(`{"gap":"deleted","first":0,"level":3,"hash":""}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Verify(bytes.NewReader(b), Known{Keys: []string{s.Key}})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Problems) == 0 && !bytes.Equal(b, whole) && r.LeftOut == 0 {
			t.Errorf("it was taken for what the region has signed: %+v\n%q", r, b)
		}
		_, _ = Verify(bytes.NewReader(b), Known{})
	})
}

// FuzzHead: no text opens that was not signed.
func FuzzHead(f *testing.F) {
	s := signer(f, 1)
	signed, err := s.Sign(Head{Size: 7, At: noon})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed, s.Key)
	f.Fuzz(func(t *testing.T, text, key string) {
		if _, err := Open(text, s.Key); err == nil && text != signed {
			t.Errorf("it opened: %q", text)
		}
		_, _ = Open(signed, key)
	})
}
