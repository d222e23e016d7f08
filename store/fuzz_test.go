package store

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"tandem/ownership"
	"tandem/store/record"
)

// FuzzApply: no sequence of readable commands stops the table or makes a file
// that cannot be loaded. Its seeds in testdata are one act of each kind.
func FuzzApply(f *testing.F) {
	f.Fuzz(func(t *testing.T, one, two []byte) {
		r := newRig(t)
		r.join("a", "b")
		for _, b := range [][]byte{one, two, one} {
			if _, err := record.DecodeAct(b); err == nil {
				r.entry(b)
			}
		}
		sum, _ := r.table.Hash()
		r.reopen()
		if now, _ := r.table.Hash(); now != sum || r.fatal != nil {
			t.Fatalf("after a restart the hash is %s, was %s; the node was told %v", now, sum, r.fatal)
		}
	})
}

// FuzzRestore gives any bytes as a snapshot, and the same with a checksum that
// fits, which is what a peer with evil in mind can make. Either it is refused
// and the table stays, or it is taken and the table works.
func FuzzRestore(f *testing.F) {
	b := filled(f).snapshotBytes()
	body := b[:len(b)-sha256.Size]
	f.Add(body)
	f.Add(body[:len(body)/2])
	f.Add([]byte("TANDEMSN" + "\x00\x00\x00\x00\xff\x05\x00table"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := Inspect(bytes.NewReader(body)); err == nil {
			t.Fatal("bytes without a checksum were taken for a snapshot")
		}
		sum := sha256.Sum256(body)
		whole := append(bytes.Clone(body), sum[:]...)
		info, err := Inspect(bytes.NewReader(whole))
		if err != nil || info.Region != "emea" || info.Deployment != "prod" {
			return // Restore reads it with the same code
		}
		r := newRig(t)
		if err := r.table.Restore(io.NopCloser(bytes.NewReader(whole))); err != nil {
			t.Fatalf("Inspect took it, Restore did not: %v", err)
		}
		r.readIndex(t)
		again := r.snapshotBytes()
		if next, err := Inspect(bytes.NewReader(again)); err != nil || next.Hash != info.Hash {
			t.Fatalf("the restored table gives %+v, %v", next, err)
		}
	})
}

// readIndex reads every call by its index.
func (r *rig) readIndex(t *testing.T) {
	for cursor := ""; ; {
		page, next, err := r.table.Calls(ownership.CallFilter{}, cursor, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page {
			if _, ok := r.table.Known(c.ID); !ok {
				t.Fatalf("call %q is listed but not known", c.ID)
			}
		}
		if cursor = next; next == "" {
			return
		}
	}
}
