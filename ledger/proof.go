package ledger

import (
	"encoding/json"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Proof shows that one entry is in a ledger, to whoever trusts the key of its head.
type Proof struct {
	Entry  json.RawMessage `json:"entry"`  // the line, as it is
	Head   string          `json:"head"`   // signed
	Hashes []Hash          `json:"hashes"` // from the entry up to the root
}

// Check returns the entry that the proof shows, and the head. The error is ErrForged or ErrNoEntry, or says
// what else is wrong.
func (p *Proof) Check(keys ...string) (Entry, Head, error) {
	fail := func(err error) (Entry, Head, error) {
		return Entry{}, Head{}, fmt.Errorf("checking the proof of an entry: %w", err)
	}
	h, err := Open(p.Head, keys...)
	if err != nil {
		return fail(err)
	}
	e, err := Decode(p.Entry)
	if err != nil {
		return fail(err)
	}
	if e.N >= h.Size {
		return fail(fmt.Errorf("the head is over %d entries, this is entry %d: %w", h.Size, e.N, ErrForged))
	}
	if err := tlog.CheckRecord(p.Hashes, int64(h.Size), h.Root, int64(e.N), HashOf(p.Entry)); err != nil {
		return fail(fmt.Errorf("the hashes do not lead from entry %d to the root: %w", e.N, ErrForged))
	}
	return e, h, nil
}
