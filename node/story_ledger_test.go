package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/graphsim"
	evidence "tandem/ledger"
	"tandem/ownership"
)

// oneLedger waits until all nodes hold the same ledger, and gives its size and root.
func (s *stage) oneLedger() (size uint64, root evidence.Hash) {
	s.t.Helper()
	eventually(s.t, "one ledger on all nodes", func() error {
		for i, x := range s.seats {
			l, err := x.node.table.Ledger()
			if err != nil {
				return err
			}
			n, h := l.Size(), l.Root()
			l.Close()
			if i == 0 {
				size, root = n, h
			}
			if n != size || h != root {
				return fmt.Errorf("%s has %d entries with the root %s, %s %d with %s", s.seats[0].name, size, root, x.name, n, h)
			}
		}
		return nil
	})
	return size, root
}

// forgotten has the region drop every tombstone: what is then known of a call is in the
// ledger alone.
func (s *stage) forgotten() {
	s.t.Helper()
	eventually(s.t, "no call left in the table", func() error {
		lead := s.leader("emea")
		now := time.Now()
		if _, err := lead.node.region.Do(s.t.Context(), ownership.Forget{At: now, Before: now}); err != nil {
			return err
		}
		for _, x := range s.seats {
			calls, _, err := x.node.table.Calls(ownership.CallFilter{}, "", 10)
			if err != nil {
				return err
			}
			if len(calls) > 0 {
				return not(false, "%d calls on %s", len(calls), x.name)
			}
		}
		return nil
	})
}

// reconciled compares with the cloud once that has made all its records.
func (s *stage) reconciled(since time.Time, records int) (out api.Reconciled) {
	s.t.Helper()
	eventually(s.t, "the cloud's records", func() (err error) {
		out, err = s.seats[1].api().ReconcileLedger(s.t.Context(), api.ReconcileAsk{Since: since, Until: time.Now().Add(time.Minute)})
		if err != nil {
			return err
		}
		return not(out.Records == records, "%d records, want %d", out.Records, records)
	})
	return out
}

// TestTheLedgerOfARegion: what became of calls and what operators did is on every node,
// also after a restart; it is verified and proved from any node; and calls of which the
// region has no entry are found by the cloud's records.
func TestTheLedgerOfARegion(t *testing.T) {
	long(t, "it takes 10 s")
	t.Parallel()
	s := deploy(t, plan{sim: func(c *graphsim.Config) {
		c.Rates = &graphsim.Rates{}
		c.Timings.TalkMin, c.Timings.TalkMax = 50*time.Millisecond, 100*time.Millisecond
	}})
	began := time.Now().Add(-time.Minute)
	one, two := s.seats[0], s.seats[1]
	s.asked("drain", func() error { return one.api().Drain(t.Context(), s.seats[2].id(), time.Time{}) })
	s.asked("undrain", func() error { return two.api().Undrain(t.Context(), s.seats[2].id()) })
	s.asked("how long it is kept", func() error { return two.api().SetLedgerKeep(t.Context(), ownership.Keep{Days: 30, EndedDays: 3}) })
	s.runAll(graphsim.Load{Rate: 50, MaxCalls: 9})
	must(t, s.cloud.Settle(t.Context()))

	var ended int
	eventually(t, "an entry for each call and each change", func() error {
		page, err := two.api().Ledger(t.Context(), evidence.Filter{Kind: evidence.Ended}, 0, 100, false)
		if err != nil {
			return err
		}
		ended = len(page.Items)
		for _, e := range page.Items {
			if e.Tenant == "" || e.Chain == "" || e.AnsweredAt.IsZero() || e.Node == "" || e.At.IsZero() || e.Reason == "" {
				return fmt.Errorf("the entry of a call is %+v", e)
			}
		}
		return not(ended == 9, "%d ended calls", ended)
	})
	changes, err := s.seats[2].api().Ledger(t.Context(), evidence.Filter{Kind: evidence.Change}, 0, 100, false)
	must(t, err)
	var newest []evidence.Entry
	for next, more := uint64(0), true; more; {
		page, err := s.seats[2].api().Ledger(t.Context(), evidence.Filter{Kind: evidence.Change}, next, 2, true)
		must(t, err)
		newest, next, more = append(newest, page.Items...), page.Next, page.More
	}
	if slices.Reverse(newest); !slices.Equal(newest, changes.Items) {
		t.Errorf("the newest first, two at a time, are\n%+v, want\n%+v", newest, changes.Items)
	}
	var did []string
	for _, e := range changes.Items {
		did = append(did, fmt.Sprintf("%s %s %d", e.Action, e.Subject, e.Status))
	}
	for _, want := range []string{"drain-node /v1/nodes/emea-3/drain 204", "undrain-node /v1/nodes/emea-3/drain 204", "set-ledger-keep /v1/ledger/keep 204"} {
		if !strings.Contains(strings.Join(did, "\n"), want) {
			t.Errorf("the changes are %q, without %q", did, want)
		}
	}

	size, root := s.oneLedger()
	head, err := one.api().LedgerHead(t.Context())
	must(t, err)
	if head.Size != size || head.Keep != (ownership.Keep{Days: 30, EndedDays: 3}) || len(head.Keys) == 0 {
		t.Errorf("the head is %+v, of %d entries", head, size)
	}
	kept, err := evidence.Open(head.Head, head.Key)
	must(t, err)
	if kept.Root != root || kept.Name != evidence.NameOf(one.node.cfg.Deployment, "emea") {
		t.Errorf("the signed head is %+v, the root %s", kept, root)
	}
	for _, n := range []uint64{0, size - 1} {
		told, err := two.api().ProveLedger(t.Context(), n)
		must(t, err)
		text, err := json.Marshal(told)
		must(t, err)
		var p evidence.Proof
		must(t, json.Unmarshal(text, &p))
		if e, _, err := p.Check(head.Key); err != nil || e.N != n || len(text) > 2048 {
			t.Errorf("the proof of entry %d has %d bytes: %+v, %v", n, len(text), e, err)
		}
	}

	// The cloud knows nine calls and so does the ledger, when the table has forgotten them.
	s.forgotten()
	if r := s.reconciled(began, 9); r.Known != 9 || len(r.Unknown) > 0 {
		t.Errorf("compared with the cloud: %+v", r)
	}
	// The planted fault: calls that end leave nothing.
	if _, err := s.leader("emea").node.region.Do(t.Context(), ownership.SetKeep{At: time.Now(), Keep: ownership.Keep{Days: 30}}); err != nil {
		t.Fatal(err)
	}
	s.runAll(graphsim.Load{Rate: 50, MaxCalls: 4})
	must(t, s.cloud.Settle(t.Context()))
	s.forgotten()
	r := s.reconciled(began, 13)
	if r.Known != 9 || len(r.Unknown) != 4 {
		t.Errorf("of 13 calls, 4 of them without an entry, the comparison found %+v", r)
	}
	for _, u := range r.Unknown {
		if u.ID == "" || u.Start.IsZero() || u.End.Before(u.Start) {
			t.Errorf("an unknown call is %+v", u)
		}
	}

	// A restart of all changes nothing, and what was kept is what it begins with.
	size, root = s.oneLedger()
	for _, x := range s.seats {
		x.stop()
		x.start()
	}
	s.ready(s.seats...)
	if n, h := s.oneLedger(); n < size || n == size && h != root {
		t.Errorf("after a restart the ledger has %d entries, had %d", n, size)
	}
	var b bytes.Buffer
	must(t, s.seats[2].api().ExportLedger(t.Context(), &b, evidence.Filter{}, false))
	if rep, err := evidence.Verify(&b, evidence.Known{Keys: head.Keys, Before: &kept}); err != nil || len(rep.Problems) > 0 || !rep.Begins || rep.Entries < size {
		t.Errorf("the whole of it: %+v, %v", rep, err)
	}
	must(t, s.seats[2].api().ExportLedger(t.Context(), &b, evidence.Filter{Kind: evidence.Change}, false))
	if rep, err := evidence.Verify(&b, evidence.Known{Keys: head.Keys}); err != nil || len(rep.Problems) > 0 || rep.LeftOut == 0 || rep.Entries < 3 {
		t.Errorf("a part of it: %+v, %v", rep, err)
	}
	var rows bytes.Buffer
	must(t, s.seats[0].api().ExportLedger(t.Context(), &rows, evidence.Filter{Kind: evidence.Ended}, true))
	if n := strings.Count(rows.String(), "\n"); n != 10 || !strings.HasPrefix(rows.String(), "n,at,kind,") {
		t.Errorf("as CSV it has %d lines:\n%s", n, &rows)
	}
}
