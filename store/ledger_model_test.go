package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/ledger"
	"tandem/ownership"
	"tandem/store/record"
)

// TestModelOfTheLedger holds it against a list of lines while entries come, days pass,
// and the store is opened anew.
func TestModelOfTheLedger(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRegion(t, "a")
		defer r.close()
		keep := ownership.Keep{Days: rapid.IntRange(1, 5).Draw(rt, "days"), EndedDays: rapid.IntRange(1, 5).Draw(rt, "ended")}
		r.must(ownership.SetKeep{At: at(0), Keep: keep})
		keep.EndedDays = min(keep.EndedDays, keep.Days)
		now, n := t0, 0
		var model []ledger.Entry // all that are there
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"end", "end", "end", "change", "day", "forget", "open", "flush"}).Draw(rt, "step") {
			case "end":
				n++
				r.must(ownership.Release{At: now, Call: callID(n), App: "app", Told: true})
				model = append(model, ledger.Entry{Kind: ledger.Ended, At: now})
			case "change":
				r.must(ownership.Note{At: now, By: "alice"})
				model = append(model, ledger.Entry{Kind: ledger.Change, At: now})
			case "day":
				now = now.AddDate(0, 0, rapid.IntRange(1, 3).Draw(rt, "days"))
			case "forget":
				r.must(ownership.Forget{At: now})
				had := len(model)
				model = slices.DeleteFunc(model, func(e ledger.Entry) bool {
					days := keep.Days
					if e.Kind == ledger.Ended {
						days = keep.EndedDays
					}
					return e.At.Before(now.AddDate(0, 0, -days).Truncate(24 * time.Hour))
				})
				if len(model) < had {
					model = append(model, ledger.Entry{Kind: ledger.Deleted, At: now})
				}
			case "flush":
				if err := r.table.Flush(); err != nil {
					rt.Fatal(err)
				}
			case "open":
				r.reopen()
			}
		}
		got := r.entries()
		if len(got) != len(model) {
			rt.Fatalf("the ledger holds %d entries, want %d: %s", len(got), len(model), told(got))
		}
		for i, e := range got {
			if e.Kind != model[i].Kind || !e.At.Equal(model[i].At) {
				rt.Fatalf("entry %d is %+v, want %+v", i, e, model[i])
			}
		}
		r.verified()
		l := r.ledger()
		defer l.Close()
		for from := range l.Size() {
			first := l.Size()
			if err := l.Walk(from, func(leaf record.Leaf) (bool, error) { first = leaf.First; return false, nil }); err != nil || first > from {
				rt.Fatalf("a walk from %d begins at %d, %v", from, first, err)
			}
		}
		var there, back []uint64
		note := func(all *[]uint64) func(record.Leaf) (bool, error) {
			return func(leaf record.Leaf) (bool, error) { *all = append(*all, leaf.First); return true, nil }
		}
		piece := rapid.Uint64Range(1, 8).Draw(rt, "piece")
		if err := errors.Join(l.Walk(0, note(&there)), l.walkBack(l.Size(), piece, note(&back))); err != nil {
			rt.Fatal(err)
		}
		if slices.Reverse(back); !slices.Equal(there, back) {
			rt.Fatalf("there are the records %v, on the way back by %d: %v", there, piece, back)
		}
	})
}

// Any single byte that is changed among 100,000 entries is found, and the proof of one has
// less than 2 KB. That every byte of a line counts, ledger's own tests hold exhaustively.
func TestOneByteAmong100000Entries(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 20 s")
	}
	r := newRegion(t, "a")
	const all = 100_000
	for i := range all / 500 {
		over := ownership.Records{At: at(i)}
		for j := range 500 {
			over.Acts = append(over.Acts, ownership.Release{Call: callID(i*500 + j), App: "0efc74f7-41c3-47a4-8775-7259bfef4241", Told: true, Why: "the cloud ended it before anybody had claimed it"})
		}
		r.must(over)
		if i%40 == 0 { // the file and what waits for it, both
			if err := r.table.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := regionSigner(t)
	var b bytes.Buffer
	r.writeLedger(&b, s)
	export, known := b.Bytes(), ledger.Known{Keys: []string{s.Key}}
	began := time.Now()
	if rep, err := ledger.Verify(bytes.NewReader(export), known); err != nil || len(rep.Problems) > 0 || rep.Entries != all {
		t.Fatalf("the whole export: %+v, %v", rep, err)
	}
	t.Logf("%d entries, %d bytes, checked in %s", all, len(export), time.Since(began))
	rng := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		at, bit := rng.IntN(len(export)), byte(1)<<rng.IntN(8)
		export[at] ^= bit
		if rep, err := ledger.Verify(bytes.NewReader(export), known); err != nil || len(rep.Problems) == 0 {
			t.Errorf("byte %d (%q) changed by %#x was not found: %+v, %v", at, export[at]^bit, bit, rep, err)
		}
		export[at] ^= bit
	}
	l := r.ledger()
	defer l.Close()
	head, err := s.Sign(ledger.Head{Size: l.Size(), Root: l.Root(), At: t0})
	if err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	for range 100 {
		n := rng.Uint64N(all)
		line, err := l.Entry(n)
		if err != nil {
			t.Fatal(err)
		}
		hashes, err := ledger.Prove(l.Size(), n, l.Subroot)
		if err != nil {
			t.Fatal(err)
		}
		p := ledger.Proof{Entry: line, Head: head, Hashes: hashes}
		if e, _, err := p.Check(s.Key); err != nil || e.N != n {
			t.Fatalf("entry %d: %+v, %v", n, e, err)
		}
		if text, err := json.Marshal(p); err != nil || len(text) > 2048 {
			t.Fatalf("the proof of entry %d has %d bytes, %v", n, len(text), err)
		}
	}
	t.Logf("100 proofs in %s", time.Since(began))
}
