package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"tandem/ledger"
	"tandem/ownership"
	"tandem/store/record"
)

// view looks at the ledger for as long as the test runs.
func (r *rig) ledger() *Ledger {
	r.Helper()
	l, err := r.table.Ledger()
	if err != nil {
		r.Fatal(err)
	}
	return l
}

// entries reads all entries that are there.
func (r *rig) entries() (out []ledger.Entry) {
	r.Helper()
	l := r.ledger()
	defer l.Close()
	err := l.Walk(0, func(leaf record.Leaf) (bool, error) {
		if leaf.Line == nil {
			return true, nil
		}
		e, err := ledger.Decode(leaf.Line)
		out = append(out, e)
		return true, err
	})
	if err != nil {
		r.Fatal(err)
	}
	return out
}

// told is what entries say, in short.
func told(entries []ledger.Entry) string {
	var out []string
	for _, e := range entries {
		who := e.Call
		if e.Call == "" {
			who = e.By + e.Node
		}
		out = append(out, strings.TrimLeft(fmt.Sprintf("%s %s", e.Kind, strings.TrimLeft(who, "0")), " "))
	}
	return strings.Join(out, ", ")
}

// writeLedger exports the ledger as the admin door does.
func (r *rig) writeLedger(to io.Writer, s *ledger.Signer) {
	r.Helper()
	l := r.ledger()
	defer l.Close()
	err := l.Walk(0, func(leaf record.Leaf) (bool, error) {
		line := leaf.Line
		if line == nil {
			line = ledger.Line(ledger.Gap{Why: ledger.GapDeleted, First: leaf.First, Level: leaf.Level, Hash: leaf.Root})
		}
		_, err := fmt.Fprintf(to, "%s\n", line)
		return true, err
	})
	head, herr := s.Sign(ledger.Head{Size: l.Size(), Root: l.Root(), At: t0})
	_, werr := fmt.Fprintf(to, "%s\n", ledger.Line(ledger.End{Head: head, Key: s.Key}))
	if err := errors.Join(err, herr, werr); err != nil {
		r.Fatal(err)
	}
}

func regionSigner(t testing.TB) *ledger.Signer {
	t.Helper()
	s, err := ledger.NewSigner(ledger.NameOf("prod", "emea"), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// verified checks the whole ledger and every proof.
func (r *rig) verified() {
	r.Helper()
	s := regionSigner(r)
	var b bytes.Buffer
	r.writeLedger(&b, s)
	if rep, err := ledger.Verify(&b, ledger.Known{Keys: []string{s.Key}}); err != nil || len(rep.Problems) > 0 {
		r.Fatalf("the ledger is not well: %+v, %v", rep, err)
	}
	l := r.ledger()
	defer l.Close()
	for _, e := range r.entries() {
		line, err := l.Entry(e.N)
		if err != nil {
			r.Fatal(err)
		}
		hashes, err := ledger.Prove(l.Size(), e.N, l.Subroot)
		if err == nil {
			err = tlog.CheckRecord(hashes, int64(l.Size()), l.Root(), int64(e.N), ledger.HashOf(line))
		}
		if err != nil {
			r.Fatalf("proving entry %d of %d: %v", e.N, l.Size(), err)
		}
	}
}

func TestTheLedgerTellsWhatBecameOfCalls(t *testing.T) {
	r := newRegion(t, "a", "b")
	rings := func(n int) ownership.Claim {
		c := claim(callID(n))
		c.Tenant, c.Thread, c.Groups, c.Deadline = "t", "19:x", []ownership.GroupKey{ownership.ChainKey(fmt.Sprintf("chain-%d", n))}, at(10)
		return c
	}
	pinned := rings(6)
	pinned.Pinned = true
	r.claimOn(1, fit("a"), rings(1), rings(2), rings(3), rings(4), rings(5), pinned, rings(7))
	for _, n := range []int{1, 6} {
		r.must(ownership.Answered{At: at(2), Call: callID(n), Epoch: 1})
	}
	end := func(n, s int, fate ownership.Fate, why string) {
		t.Helper()
		r.must(ownership.Records{At: at(s), Acts: []ownership.Act{ownership.Release{Call: callID(n), Epoch: 1, Told: true, Fate: fate, Why: why}}})
	}
	end(1, 20, "", "the cloud ended it")
	end(2, 5, "", "the caller hung up")
	end(3, 20, "", "the cloud ended it")
	end(4, 12, ownership.FateLate, "not answered")
	end(5, 6, ownership.FateRejected, "rejected at the bot's word")
	end(7, 6, "what nobody knows", "over")
	r.must(ownership.Failover{At: at(30), Node: "a", Fitness: fit("b"), Lapsed: []ownership.AppID{ownership.AllApps}})
	r.must(ownership.Release{At: at(31), Call: callID(6), Why: "silent, and gone when asked", Told: true})
	r.must(ownership.Note{At: at(32), By: "alice", Action: "drain-node", Subject: "/v1/nodes/a/drain", Status: 204})
	if out := r.do(ownership.Claims{At: at(33), Fitness: map[ownership.NodeID]ownership.Fitness{}, Claims: []ownership.Claim{rings(8)}}); out.Errors[0] == nil {
		t.Fatal("a call was placed where nobody is fit")
	}
	want := "ended 1, ended 2, lost 3, late 4, rejected 5, ended 7, orphaned 6, change alice, rejected 8"
	entries := r.entries()
	if got := told(entries); got != want {
		t.Errorf("the ledger tells\n%s, want\n%s", got, want)
	}
	first := ledger.Entry{At: at(20), Kind: ledger.Ended, Call: string(callID(1)), App: "app-1", Tenant: "t", Chain: "chain-1", Thread: "19:x",
		ClaimedAt: at(1), AnsweredAt: at(2), Node: "a", Partition: entries[0].Partition, Reason: "the cloud ended it"}
	if entries[0] != first {
		t.Errorf("the first entry is\n%+v, want\n%+v", entries[0], first)
	}
	r.verified()
	hash, _ := r.table.Hash()
	r.reopen()
	if now, _ := r.table.Hash(); now != hash || told(r.entries()) != want {
		t.Errorf("after a restart the hash is %s, was %s, and the ledger tells %s", now, hash, told(r.entries()))
	}
	r.verified()
}

// The end of a call that nobody has claimed is entered with what its notification told, for the
// cloud's own records are found by that.
func TestAnEarlyEndIsEnteredWithItsChain(t *testing.T) {
	r := newRegion(t, "a")
	r.must(ownership.Release{At: at(5), Call: callID(1), App: "app-1", Tenant: "t", Chain: "chain-1", Told: true, Why: "early"})
	want := ledger.Entry{At: at(5), Kind: ledger.Ended, Call: string(callID(1)), App: "app-1", Tenant: "t", Chain: "chain-1", Reason: "early"}
	if e := r.entries(); len(e) != 1 || e[0] != want {
		t.Errorf("the ledger has %+v, want %+v", e, want)
	}
	if c := r.call(callID(1)); c.Tenant != "t" {
		t.Errorf("the tombstone is %+v", c)
	}
}

// A region of an older format has none, so that its table stays what older software makes of it.
func TestARegionOfAnOlderFormatKeepsNoLedger(t *testing.T) {
	r := newRig(t)
	r.must(ownership.SetFormat{At: at(0), Format: ownership.FormatLedger - 1})
	r.join("a")
	r.claimOn(1, fit("a"), claim(callID(1)))
	r.must(ownership.Release{At: at(2), Call: callID(1), Why: "over"})
	r.refused(ownership.Note{At: at(3)}, ownership.ErrConflict, "it needs 5")
	r.refused(ownership.SetKeep{At: at(3), Keep: ownership.Keep{Days: 1}}, ownership.ErrConflict, "it needs 5")
	if e := r.entries(); len(e) > 0 {
		t.Errorf("it has %+v", e)
	}
}

func TestOldEntriesAreDeletedAndTheRootStays(t *testing.T) {
	r := newRegion(t, "a")
	r.refused(ownership.SetKeep{At: at(0), Keep: ownership.Keep{}}, ownership.ErrConflict, "keeping the ledger for 0 days")
	r.must(ownership.SetKeep{At: at(0), Keep: ownership.Keep{Days: 3, EndedDays: 1}})
	day := func(n int) time.Time { return t0.AddDate(0, 0, n) }
	n := 0
	for d := range 5 {
		for i := range 20 {
			n++
			r.claimOn(1, fit("a"), claim(callID(n)))
			fate := ownership.Fate("")
			if i%7 == 0 {
				fate = ownership.FateLost
			}
			r.must(ownership.Release{At: day(d), Call: callID(n), Epoch: 1, Told: true, Fate: fate, Why: "over"})
		}
		before := r.ledger()
		root, size := before.Root(), before.Size()
		before.Close()
		r.must(ownership.Forget{At: day(d), Before: day(d)})
		r.verified()
		l := r.ledger()
		// What is left of the ledger of before proves that it is the same.
		if hashes, err := ledger.ProveGrowth(l.Size(), size, l.Subroot); err != nil {
			t.Errorf("day %d: %v", d, err)
		} else if err := tlog.CheckTree(hashes, int64(l.Size()), l.Root(), int64(size), root); err != nil {
			t.Errorf("day %d: the first %d entries became others: %v", d, size, err)
		}
		l.Close()
	}
	for _, e := range r.entries() {
		if most := map[bool]int{true: 1, false: 3}[e.Kind == ledger.Ended]; e.At.Before(day(4 - most).Truncate(24 * time.Hour)) {
			t.Errorf("entry %d (%s) of %s is still there on %s", e.N, e.Kind, e.At, day(4))
		}
	}
	last := r.entries()[len(r.entries())-1]
	if last.Kind != ledger.Deleted || last.Count == 0 || last.Total != r.ledger0().gone {
		t.Errorf("the last entry is %+v", last)
	}
	l := r.ledger()
	if _, err := l.Entry(1); !errors.Is(err, ownership.ErrUnknown) || !strings.Contains(err.Error(), "deleted by policy") {
		t.Errorf("a deleted entry: %v", err)
	}
	if _, err := l.Entry(1 << 40); !errors.Is(err, ownership.ErrUnknown) {
		t.Errorf("an entry that was never written: %v", err)
	}
	l.Close()
	hash, _ := r.table.Hash()
	tell := told(r.entries())
	r.reopen()
	if now, _ := r.table.Hash(); now != hash || told(r.entries()) != tell {
		t.Errorf("after a restart the hash is %s, was %s; told %s", now, hash, told(r.entries()))
	}
	r.verified()
	r.must(ownership.Forget{At: day(60), Before: day(4)})
	r.verified()
	if e := r.entries(); len(e) != 1 || e[0].Kind != ledger.Deleted {
		t.Errorf("after two months it holds %s", told(e))
	}
}

func (r *rig) ledger0() *ledgerState { return &r.table.st.ledger }

// Calls that ended as calls do leave no entry where the region wants none.
func TestEndedCallsNeedNotLeaveAnEntry(t *testing.T) {
	r := newRegion(t, "a")
	r.must(ownership.SetKeep{At: at(0), Keep: ownership.Keep{Days: 3}})
	r.claimOn(1, fit("a"), claim(callID(1)), claim(callID(2)))
	r.must(ownership.Release{At: at(2), Call: callID(1), Why: "over"})
	r.must(ownership.Release{At: at(2), Call: callID(2), Why: "over", Fate: ownership.FateLost})
	if got := told(r.entries()); got != "lost 2" {
		t.Errorf("it tells %s", got)
	}
	if k := r.table.Keep(); k != (ownership.Keep{Days: 3}) {
		t.Errorf("it is kept for %+v", k)
	}
}

// A restore is about calls: what was written into the ledger since stays in it.
func TestARestoreForgetsNothingOfTheLedger(t *testing.T) {
	r := newRegion(t, "a")
	r.claimOn(1, fit("a"), claim(callID(1)))
	r.must(ownership.Note{At: at(2), By: "alice", Action: "one"})
	saved := r.snapshotBytes()
	r.must(ownership.SetKeep{At: at(3), Keep: ownership.Keep{Days: 30, EndedDays: 5}})
	r.must(ownership.Note{At: at(4), By: "bob", Action: "two"})
	l := r.ledger()
	var with bytes.Buffer
	info, err := Today{Ledger: l}.With(bytes.NewReader(saved), &with)
	l.Close()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Inspect(bytes.NewReader(with.Bytes())); err != nil || again.Ledger != 2 || info.Ledger != 2 || again.Hash != info.Hash {
		t.Errorf("%+v, %v, was told %+v", again, err, info)
	}
	if err := r.table.Restore(io.NopCloser(&with)); err != nil {
		t.Fatal(err)
	}
	if got := told(r.entries()); got != "change alice, change bob" || r.table.Keep().Days != 30 {
		t.Errorf("after the restore the ledger tells %s and is kept for %+v", got, r.table.Keep())
	}
	r.verified()
	if err := r.table.Restore(io.NopCloser(bytes.NewReader(saved))); err != nil {
		t.Fatal(err)
	}
	if got := told(r.entries()); got != "change alice" {
		t.Errorf("the snapshot alone tells %s", got)
	}
}

// A ledger of which a record was lost, or stands in another's place, is not loaded.
func TestALedgerWithAHoleIsNotLoaded(t *testing.T) {
	line := func(n uint64) []byte { return ledger.Encode(ledger.Entry{N: n, At: t0, Kind: ledger.Change}) }
	for name, load := range map[string]func(s *ledgerState) error{
		"a hole": func(s *ledgerState) error { return s.load(record.LedgerKey(1), record.SealEntry(1, line(1))) },
		"another's number": func(s *ledgerState) error {
			return s.load(record.LedgerKey(0), record.SealBytes(record.LedgerKey(0), line(1)))
		},
		"no entry":    func(s *ledgerState) error { return s.load(record.LedgerKey(0), record.SealEntry(0, []byte("{}"))) },
		"nothing":     func(s *ledgerState) error { return s.load(record.LedgerKey(0), record.SealEntry(0, nil)) },
		"a short key": func(s *ledgerState) error { return s.load([]byte{0}, record.SealBytes([]byte{0}, line(0))) },
		"a flipped bit": func(s *ledgerState) error {
			v := record.SealEntry(0, line(0))
			v[9] ^= 1
			return s.load(record.LedgerKey(0), v)
		},
		"a subtree that cannot be": func(s *ledgerState) error {
			return s.load(record.LedgerKey(0), record.SealGone(ledger.Subtree{Level: 60}, ledger.Hash{}))
		},
	} {
		if err := load(&ledgerState{}); err == nil {
			t.Errorf("%s was loaded", name)
		}
	}
}
