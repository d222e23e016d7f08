package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 123456789, time.UTC)

func entry(n uint64) Entry {
	return Entry{N: n, At: noon.Add(time.Duration(n) * time.Second), Kind: Ended, Call: fmt.Sprintf("%032x", n), App: "0efc74f7-41c3-47a4-8775-7259bfef4241",
		Tenant: "8986d25d-0000-4000-8000-000000000001", Chain: fmt.Sprintf("chain-%d", n), Thread: "19:meeting_<x>@thread.v2", ClaimedAt: noon, Node: "emea-1", Reason: "the cloud ended it"}
}

func signer(t testing.TB, seed byte) *Signer {
	t.Helper()
	s, err := NewSigner(NameOf("contoso", "emea"), bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// whole is a ledger of so many entries, kept as simply as it can be.
type whole struct {
	lines  [][]byte
	hashes map[Subtree]Hash
	tree   Tree
}

func grown(n int) *whole {
	w := &whole{hashes: map[Subtree]Hash{}}
	for i := range n {
		w.add(entry(uint64(i)))
	}
	return w
}

func (w *whole) add(e Entry) {
	line := Encode(e)
	w.lines = append(w.lines, line)
	_ = w.tree.Push(0, HashOf(line), func(s Subtree, h Hash) { w.hashes[s] = h })
}

func (w *whole) roots(s Subtree) (Hash, error) {
	h, ok := w.hashes[s]
	if !ok {
		return h, fmt.Errorf("there is no subtree %+v", s)
	}
	return h, nil
}

func (w *whole) head(t testing.TB, s *Signer) string {
	t.Helper()
	h, err := s.Sign(Head{Size: w.tree.Size(), Root: w.tree.Root(), At: noon})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// export writes it out; a line that is empty was deleted.
func (w *whole) export(t testing.TB, s *Signer) []byte {
	t.Helper()
	var b bytes.Buffer
	for i, line := range w.lines {
		if line == nil {
			line = Line(Gap{Why: GapDeleted, First: uint64(i), Hash: w.hashes[Subtree{0, uint64(i)}]})
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	b.Write(Line(End{Head: w.head(t, s), Key: s.Key}))
	b.WriteByte('\n')
	return b.Bytes()
}

// The tree is tlog's, at every size.
func TestTheTreeIsTheOneOfTransparencyLogs(t *testing.T) {
	var stored []Hash
	read := tlog.HashReaderFunc(func(indexes []int64) (out []Hash, err error) {
		for _, i := range indexes {
			out = append(out, stored[i])
		}
		return out, nil
	})
	w := grown(0)
	for n := range 200 {
		want, err := tlog.TreeHash(int64(n), read)
		if err != nil || want != w.tree.Root() || w.tree.Size() != uint64(n) {
			t.Fatalf("the root of %d entries is %s, want %s (%v)", n, w.tree.Root(), want, err)
		}
		line := Encode(entry(uint64(n)))
		more, err := tlog.StoredHashes(int64(n), line, read)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
		w.add(entry(uint64(n)))
	}
}

func TestAnEntryIsProved(t *testing.T) {
	s, w := signer(t, 1), grown(100)
	head := w.head(t, s)
	for n := range uint64(100) {
		hashes, err := Prove(100, n, w.roots)
		if err != nil {
			t.Fatal(err)
		}
		p := Proof{Entry: w.lines[n], Head: head, Hashes: hashes}
		if e, h, err := p.Check(s.Key); err != nil || e.N != n || h.Size != 100 || h.Name != "tandem/contoso/emea" || !h.At.Equal(noon.Truncate(time.Second)) {
			t.Fatalf("entry %d: %+v, %+v, %v", n, e, h, err)
		}
		p.Entry = bytes.Replace(p.Entry, []byte(`"emea-1"`), []byte(`"emea-2"`), 1)
		if _, _, err := p.Check(s.Key); !errors.Is(err, ErrForged) {
			t.Fatalf("a changed entry %d was proved: %v", n, err)
		}
		p.Entry = w.lines[(n+1)%100]
		if _, _, err := p.Check(s.Key); !errors.Is(err, ErrForged) {
			t.Fatalf("another entry than %d was proved: %v", n, err)
		}
	}
	if _, err := Prove(100, 100, w.roots); err == nil {
		t.Error("an entry that is not there was proved")
	}
	hashes, _ := Prove(100, 7, w.roots)
	p := Proof{Entry: w.lines[7], Head: head, Hashes: hashes}
	if _, _, err := p.Check(signer(t, 2).Key); !errors.Is(err, ErrForged) {
		t.Errorf("a head of another key was taken: %v", err)
	}
	beyond := Proof{Entry: Encode(entry(100)), Head: head, Hashes: hashes}
	if _, _, err := beyond.Check(s.Key); !errors.Is(err, ErrForged) {
		t.Errorf("an entry beyond the head was proved: %v", err)
	}
}

func TestAKeptHeadBindsWhatWasBefore(t *testing.T) {
	s, w := signer(t, 1), grown(70)
	before, err := Open(w.head(t, s), s.Key)
	if err != nil {
		t.Fatal(err)
	}
	for n := uint64(70); n < 150; n++ {
		w.add(entry(n))
	}
	hashes, err := ProveGrowth(150, 70, w.roots)
	if err != nil {
		t.Fatal(err)
	}
	now := w.tree.Root()
	if err := tlog.CheckTree(hashes, 150, now, 70, before.Root); err != nil {
		t.Error(err)
	}
	forged := before
	forged.Root[3] ^= 1
	if err := tlog.CheckTree(hashes, 150, now, 70, forged.Root); err == nil {
		t.Error("a ledger that begins otherwise was proved")
	}
	longer := before
	longer.Size = 151
	export := w.export(t, s)
	for name, tc := range map[string]struct {
		before Head
		says   string
	}{
		"itself": {before, ""}, "another beginning": {forged, "the first 70 entries are not those"},
		"a longer one": {longer, "now it has 150"}, "the present one": {Head{Name: before.Name, Size: 150, Root: w.tree.Root()}, ""},
		"an empty one": {Head{Name: before.Name, Root: new(Tree).Root()}, ""}, "of another region": {Head{Name: "x"}, "it is the ledger of"},
	} {
		r, err := Verify(bytes.NewReader(export), Known{Keys: []string{s.Key}, Before: &tc.before})
		if said := strings.Join(r.Problems, "; "); err != nil || (said == "") != (tc.says == "") || !strings.Contains(said, tc.says) || r.Begins != (tc.says == "") && tc.before.Name == before.Name {
			t.Errorf("%s: %+v, %v, want %q", name, r, err, tc.says)
		}
	}
}

// Every single byte of an export, changed, is found.
func TestAnyChangedByteOfAnExportIsFound(t *testing.T) {
	s, w := signer(t, 1), grown(5)
	w.lines[3] = nil // deleted
	w.add(Entry{N: 5, At: noon, Kind: Deleted, Count: 1, Total: 1})
	export := w.export(t, s)
	if r, err := Verify(bytes.NewReader(export), Known{Keys: []string{s.Key}}); err != nil || len(r.Problems) > 0 || r.Entries != 5 || r.Deleted != 1 || r.Size != 6 || !r.Pinned {
		t.Fatalf("the whole export: %+v, %v", r, err)
	}
	for at := range export {
		for _, bit := range []byte{1, 0x20} {
			changed := bytes.Clone(export)
			changed[at] ^= bit
			if r, err := Verify(bytes.NewReader(changed), Known{Keys: []string{s.Key}}); err != nil || len(r.Problems) == 0 {
				t.Fatalf("byte %d (%q) with bit %#x changed was not found: %+v, %v", at, export[at], bit, r, err)
			}
		}
	}
	for cut := range export {
		if r, _ := Verify(bytes.NewReader(export[:cut]), Known{Keys: []string{s.Key}}); len(r.Problems) == 0 {
			t.Fatalf("cut at byte %d: not found", cut)
		}
	}
}

func TestWhatIsMissingFromAnExportIsTold(t *testing.T) {
	s := signer(t, 1)
	for name, tc := range map[string]struct {
		spoil func(w *whole, lines [][]byte) [][]byte
		says  string
	}{
		"an entry":         {func(_ *whole, l [][]byte) [][]byte { return slices.Delete(l, 4, 6) }, "line 5: entries 4 to 5 are missing"},
		"the last one":     {func(_ *whole, l [][]byte) [][]byte { return slices.Delete(l, 9, 10) }, "the head is over 10 entries, the export has 9"},
		"one twice":        {func(_ *whole, l [][]byte) [][]byte { return slices.Insert(l, 4, l[3]) }, "line 5: entry 3 follows entry 3"},
		"the end":          {func(_ *whole, l [][]byte) [][]byte { return l[:10] }, "the export has no end"},
		"more":             {func(_ *whole, l [][]byte) [][]byte { return append(l, l[0]) }, "line 12 follows the end"},
		"a changed number": {func(_ *whole, l [][]byte) [][]byte { l[2] = Encode(Entry{N: 2, At: noon, Kind: Lost}); return l }, "at least one was changed"},
		"one taken out": {func(w *whole, l [][]byte) [][]byte {
			l[6] = Line(Gap{Why: GapDeleted, First: 6, Hash: w.hashes[Subtree{0, 6}]})
			return l
		}, "1 entries are gone, the ledger tells of 0 that were deleted by policy"},
		"no line":   {func(_ *whole, l [][]byte) [][]byte { l[1] = bytes.Repeat([]byte("x"), 5000); return l }, "line 2 is longer"},
		"a bad gap": {func(_ *whole, l [][]byte) [][]byte { l[1] = Line(Gap{Why: "other", First: 1}); return l }, "line 2: it is no gap"},
	} {
		w := grown(10)
		lines := bytes.Split(bytes.TrimSuffix(w.export(t, s), []byte("\n")), []byte("\n"))
		export := append(bytes.Join(tc.spoil(w, lines), []byte("\n")), '\n')
		r, err := Verify(bytes.NewReader(export), Known{Keys: []string{s.Key}})
		if err != nil || len(r.Problems) == 0 || !strings.Contains(strings.Join(r.Problems, "; "), tc.says) {
			t.Errorf("%s: %+v, %v, want %q", name, r.Problems, err, tc.says)
		}
	}
	// Whoever re-signs it with a key of his own is found by the key that is known.
	forged := grown(10)
	forged.lines, forged.tree, forged.hashes = nil, Tree{}, map[Subtree]Hash{}
	forged.add(Entry{At: noon, Kind: Lost})
	export := forged.export(t, signer(t, 9))
	if r, _ := Verify(bytes.NewReader(export), Known{}); len(r.Problems) > 0 || r.Pinned {
		t.Errorf("by its own word it is well: %+v", r)
	}
	if r, _ := Verify(bytes.NewReader(export), Known{Keys: []string{s.Key}}); len(r.Problems) == 0 {
		t.Error("by the region's key it is forged")
	}
}

// TestModel: subtrees that are deleted leave the root and the proofs of the others as
// they were.
func TestDeletedSubtreesLeaveTheRootAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := grown(rapid.IntRange(1, 130).Draw(t, "entries"))
		size := w.tree.Size()
		gone := map[uint64]bool{}
		for n := range size {
			gone[n] = rapid.IntRange(0, 3).Draw(t, "gone") > 0
		}
		isGone := func(s Subtree) bool {
			for n := s.First(); n < s.First()+s.Count(); n++ {
				if n >= size || !gone[n] {
					return false
				}
			}
			return true
		}
		kept := map[Subtree]Hash{} // no more than has to be kept
		var again Tree
		for again.Size() < size {
			at := Subtree{0, again.Size()}
			for at.Index%2 == 0 && isGone(at.Parent()) {
				at = at.Parent()
			}
			h, err := w.roots(at)
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Push(at.Level, h, func(s Subtree, h Hash) { kept[s] = h }); err != nil {
				t.Fatal(err)
			}
		}
		if again.Root() != w.tree.Root() {
			t.Fatalf("the root of %d entries became another", size)
		}
		for n := range size {
			if gone[n] {
				continue
			}
			hashes, err := Prove(size, n, func(s Subtree) (Hash, error) {
				h, ok := kept[s]
				if !ok {
					return h, fmt.Errorf("subtree %+v was not kept", s)
				}
				return h, nil
			})
			if err == nil {
				err = tlog.CheckRecord(hashes, int64(size), again.Root(), int64(n), HashOf(w.lines[n]))
			}
			if err != nil {
				t.Fatalf("proving entry %d of %d: %v", n, size, err)
			}
		}
	})
}

func TestAProofHasLessThan2KB(t *testing.T) {
	long := strings.Repeat("<ü", 400)
	e := Entry{N: MaxEntries - 1, At: noon, Kind: Change, Call: long, App: long, Tenant: long, Chain: long, Thread: long, ClaimedAt: noon, AnsweredAt: noon,
		Node: long, Partition: 1 << 31, Reason: long, By: long, From: long, Action: long, Subject: long, Status: 500, Count: 1 << 60, Total: 1 << 60}
	line := Encode(e)
	if len(line) > MaxEntry {
		t.Errorf("the longest entry has %d bytes", len(line))
	}
	if _, err := Decode(line); err != nil {
		t.Error(err)
	}
	s, w := signer(t, 1), grown(0)
	head, err := s.Sign(Head{Size: 1 << 20, Root: w.tree.Root(), At: noon})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(Proof{Entry: line, Head: head, Hashes: make([]Hash, 20)})
	if err != nil || len(text) > 2000 {
		t.Errorf("the proof of the longest entry in a ledger of a million has %d bytes, %v", len(text), err)
	}
}

func TestAnEntryHasOneSpelling(t *testing.T) {
	line := string(Encode(entry(7)))
	for _, other := range []string{
		" " + line, line + " ", strings.Replace(line, `"n":7`, `"n": 7`, 1), strings.Replace(line, `"n":7,`, "", 1), strings.Replace(line, `"n":7`, `"N":7`, 1),
		strings.Replace(line, `"n":7`, `"n":7,"x":1`, 1), strings.Replace(line, `"kind":"ended"`, `"kind":"over"`, 1), line + line, "", "null", "7",
		strings.Replace(line, `\u003c`, "<", 1), strings.Replace(line, "Z", "+00:00", 1), strings.Replace(line, `"n":7`, `"n":281474976710656`, 1),
	} {
		if other == line {
			t.Fatalf("the case does not differ: %s", other)
		}
		if _, err := Decode([]byte(other)); !errors.Is(err, ErrNoEntry) {
			t.Errorf("%s was read: %v", other, err)
		}
	}
	if e, err := Decode([]byte(line)); err != nil || e != entry(7) {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestAHeadIsItsRegionsOwn(t *testing.T) {
	s := signer(t, 1)
	other, err := NewSigner(NameOf("contoso", "amer"), bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := other.Sign(Head{At: noon})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(theirs, s.Key); !errors.Is(err, ErrForged) {
		t.Errorf("another region's head was taken: %v", err)
	}
	// A key of this region that signs another one's text.
	mixed := strings.Replace(theirs, "amer", "emea", 1)
	if _, err := Open(mixed, s.Key, other.Key); !errors.Is(err, ErrForged) {
		t.Errorf("a changed head was taken: %v", err)
	}
	// A known key of another region that signs a head in this one's name.
	text, _, _ := strings.Cut(mixed, "\n\n")
	alien, err := note.Sign(&note.Note{Text: text + "\n"}, other.signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(string(alien), s.Key, other.Key); !errors.Is(err, ErrForged) || !strings.Contains(err.Error(), "has signed the head of") {
		t.Errorf("another region's word for this one was taken: %v", err)
	}
	for _, bad := range []string{"", "x", strings.Repeat("x", 2000)} {
		if _, err := Open(bad, s.Key); !errors.Is(err, ErrForged) {
			t.Errorf("%.20q was taken for a head: %v", bad, err)
		}
		if _, err := Open(theirs, bad); err == nil || errors.Is(err, ErrForged) {
			t.Errorf("%.20q was taken for a key: %v", bad, err)
		}
	}
	if _, err := NewSigner("x", []byte("short")); err == nil {
		t.Error("a short seed was taken")
	}
	if _, err := NewSigner("a b", make([]byte, 32)); err == nil {
		t.Error("a name with a blank was taken")
	}
}
