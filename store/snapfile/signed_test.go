package snapfile

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"tandem/store/tablepb"
)

var signKey, otherKey = bytes.Repeat([]byte("k"), 32), bytes.Repeat([]byte("o"), 32)

// written is a snapshot of two records.
func written(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, &tablepb.SnapshotHead{Layout: 1, Deployment: "prod", Region: "emea", Applied: 7, Term: 3})
	_ = w.Record(1, []byte("emea-1"), bytes.Repeat([]byte("node\n"), 40)) // End tells
	_ = w.Record(KindMeta, []byte("table"), []byte("meta"))
	if n, err := w.End(); err != nil || n != int64(b.Len()) {
		t.Fatalf("%d bytes, %d are said: %v", b.Len(), n, err)
	}
	return b.Bytes()
}

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
	b := written(t)
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

// FuzzOpenSaved returns any bytes as a saved snapshot. It verifies only as what SignTo
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
