package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/ledger"
	"tandem/ownership"
)

// fakeLedger is a ledger of one entry.
type fakeLedger struct {
	asked []string
	fail  error // what reading fails with, after half a line
}

func (l *fakeLedger) List(f ledger.Filter, cursor uint64, limit int, newest bool) (api.LedgerPage, error) {
	l.asked = append(l.asked, fmt.Sprintf("list %+v %d %d", f, cursor, limit))
	return api.LedgerPage{Next: 1}, nil
}

func (l *fakeLedger) Head(before uint64) (api.LedgerHead, error) {
	if before > 1 {
		return api.LedgerHead{}, fmt.Errorf("the ledger here has 1 entry: %w", ownership.ErrConflict)
	}
	return api.LedgerHead{Head: "signed", Size: 1, Keys: []string{"key"}}, nil
}

func (l *fakeLedger) Prove(n uint64) (api.LedgerProof, error) {
	if n > 0 {
		return api.LedgerProof{}, fmt.Errorf("the ledger has no entry %d: %w", n, ownership.ErrUnknown)
	}
	return api.LedgerProof{Entry: []byte(`{"n":0,"at":"2026-11-23T09:30:00Z","kind":"change","by":"<b>"}`), Hashes: []string{}}, nil
}

func (l *fakeLedger) Export(_ context.Context, to io.Writer, f ledger.Filter, csv bool) error {
	if l.fail != nil && f.Kind == "" {
		return l.fail
	}
	if _, err := fmt.Fprintf(to, "export csv=%t kind=%s\n", csv, f.Kind); err != nil {
		return err
	}
	return l.fail
}

func (l *fakeLedger) Reconcile(_ context.Context, ask api.ReconcileAsk) (api.Reconciled, error) {
	l.asked = append(l.asked, fmt.Sprintf("reconcile %s", ask.Until.Sub(ask.Since)))
	switch ask.App {
	case "none":
		return api.Reconciled{}, fmt.Errorf("app %q has no credentials: %w", ask.App, ownership.ErrUnknown)
	case "down":
		return api.Reconciled{}, errors.New("the cloud said 500")
	}
	return api.Reconciled{Records: 1}, nil
}

func TestTheLedgerIsAskedAsItIsMeant(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	led := r.door.deps.Ledger.(*fakeLedger)
	r.ask("GET", "/v1/ledger?kind=lost&tenant=ABC&call=AB-CD&thread=19:X&since=2026-11-22T00:00:00Z&limit=7&cursor=3", "").want(t, 200)
	since := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	want := fmt.Sprintf("list %+v 3 7", ledger.Filter{Kind: ledger.Lost, Tenant: "abc", Call: "abcd", Thread: "19:X", Since: since})
	if !slices.Contains(led.asked, want) {
		t.Errorf("it was asked %q, want %s", led.asked, want)
	}
	for _, path := range []string{
		"/v1/ledger?kind=other", "/v1/ledger?call=a/b", "/v1/ledger?since=noon", "/v1/ledger?before=3", "/v1/ledger/entries/x/proof", "/v1/ledger/export?format=xml",
		"/v1/ledger/export?call=a/b",
	} {
		if a := r.ask("GET", path, ""); a.StatusCode != 400 && a.StatusCode != 422 {
			t.Errorf("%s answered %d: %s", path, a.StatusCode, a.text)
		}
	}
	r.ask("GET", "/v1/ledger/head?before=9", "").want(t, 409)
	r.ask("GET", "/v1/ledger/entries/9/proof", "").want(t, 404)
	if a := r.ask("GET", "/v1/ledger/entries/0/proof", "").want(t, 200); !strings.Contains(a.text, `"kind":"change","by":"\u003cb\u003e"`) && !strings.Contains(a.text, `"by":"<b>"`) {
		t.Errorf("the line of an entry came as %s", a.text)
	}
}

func TestTheLedgerIsExported(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	led := r.door.deps.Ledger.(*fakeLedger)
	for query, want := range map[string]string{"": "csv=false kind=", "?format=csv": "csv=true kind=", "?kind=lost&format=jsonl": "csv=false kind=lost"} {
		a := r.ask("GET", "/v1/ledger/export"+query, "").want(t, 200)
		if !strings.Contains(a.text, want) {
			t.Errorf("%s gave %s", query, a.text)
		}
	}
	if a := r.ask("GET", "/v1/ledger/export", "", "Accept: text/csv").want(t, 200); !strings.Contains(a.text, "csv=true") ||
		a.Header.Get("Content-Type") != "text/csv" || !strings.Contains(a.Header.Get("Content-Disposition"), "tandem-emea-ledger.csv") {
		t.Errorf("by its Accept header: %s, %v", a.text, a.Header)
	}
	led.fail = fmt.Errorf("old entries were deleted meanwhile: %w", ownership.ErrBusy)
	r.ask("GET", "/v1/ledger/export", "").want(t, 503)
}

func TestReconcileAsksForNoMoreThanTheCloudKeeps(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	for body, status := range map[string]int{
		`{"since":"2026-11-22T00:00:00Z","until":"2026-11-21T00:00:00Z"}`:              400,
		`{"since":"2026-09-22T00:00:00Z","until":"2026-11-21T00:00:00Z"}`:              400,
		`{"since":"2026-11-20T00:00:00Z","until":"2026-11-21T00:00:00Z","app":"None"}`: 404,
		`{"since":"2026-11-20T00:00:00Z","until":"2026-11-21T00:00:00Z","app":"down"}`: 502,
		`{"since":"2026-11-20T00:00:00Z","until":"2026-11-21T00:00:00Z"}`:              200,
	} {
		r.ask("POST", "/v1/ledger/reconcile", body).want(t, status)
	}
}

// What is asked of the door is in the region's ledger, once there is a leader, in its order;
// attempts without the right are there too, but not without bound.
func TestChangesAreInTheLedger(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	r.fake.format = ownership.FormatLedger
	r.ask("PUT", "/v1/ledger/keep", `{"days":90,"ended_days":7}`, as(api.RoleOperate)).want(t, 204)
	r.ask("PUT", "/v1/ledger/keep", `{"days":0,"ended_days":7}`, as(api.RoleOperate)).want(t, 400)
	r.fake.mu.Lock()
	r.fake.fail = ownership.ErrNoLeader
	r.fake.mu.Unlock()
	r.ask("DELETE", "/v1/nodes/emea-3", "", as(api.RoleOperate)).want(t, 503)
	for range refusedAMinute + 20 {
		r.ask("DELETE", "/v1/nodes/emea-3", "", as(api.RoleRead)).want(t, 403)
	}
	if n := len(r.fake.notes()); n != 2 {
		t.Errorf("without a leader %d changes were entered, want the 2 before", n)
	}
	r.fake.mu.Lock()
	r.fake.fail = nil
	r.fake.mu.Unlock()
	r.door.FlushAudit(t.Context())
	notes := r.fake.notes()
	if len(notes) != 3+refusedAMinute {
		t.Fatalf("the ledger has %d changes, want %d", len(notes), 3+refusedAMinute)
	}
	first, third := notes[0], notes[2]
	if first.Action != "set-ledger-keep" || first.Status != 204 || first.By == "" || first.Detail != "90 days, ended calls 7" || first.At.IsZero() {
		t.Errorf("the first is %+v", first)
	}
	if third.Action != "remove-node" || third.Status != 503 || third.Subject != "/v1/nodes/emea-3" || notes[3].Status != 403 {
		t.Errorf("the third is %+v, the next %+v", third, notes[3])
	}
	if r.fake.Keep() != (ownership.Keep{Days: 90, EndedDays: 7}) {
		t.Errorf("it is kept for %+v", r.fake.Keep())
	}
}

// notes are those that the fake has entered.
func (f *fake) notes() []ownership.Note {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.noted)
}

func (f *fake) Rollouts() []ownership.Rollout { f.mu.Lock(); defer f.mu.Unlock(); return f.rollouts }

func (f *fake) Keep() ownership.Keep { f.mu.Lock(); defer f.mu.Unlock(); return f.keep }

func (f *fake) applyLedger(a ownership.Act) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch a := a.(type) {
	case ownership.Note:
		f.noted = append(f.noted, a)
	case ownership.SetKeep:
		f.keep = a.Keep
	}
}

// TestWhoHadANodeLeaveIsInTheLedger, from before it went: out of the region it enters nothing. Where
// it could not leave, that stands there, too.
func TestWhoHadANodeLeaveIsInTheLedger(t *testing.T) {
	t.Parallel()
	for line, act := range map[string]string{"POST /v1/leave": "leave", "DELETE /v1/nodes/emea-1": "remove emea-1"} {
		r := tokenRoom(t)
		r.fake.format = ownership.FormatLedger
		method, path, _ := strings.Cut(line, " ")
		r.ask(method, path, "", as(api.RoleOperate))
		asked := r.fake.done()
		if i, j := slices.Index(asked, "do ownership.Note"), slices.Index(asked, act); i < 0 || j < i {
			t.Errorf("%s: the region was asked %q", line, asked)
		}
		if notes := r.fake.notes(); len(notes) != 1 || notes[0].By != "operate-er" || notes[0].Status != 202 || notes[0].Subject != path || !strings.Contains(notes[0].Detail, "emea-1") {
			t.Errorf("%s: its ledger holds %+v", line, notes)
		}
	}
	r := tokenRoom(t)
	r.fake.format = ownership.FormatLedger
	r.ask("DELETE", "/v1/nodes/emea-2", "", as(api.RoleOperate)).want(t, 204)
	if notes := r.fake.notes(); len(notes) != 1 || notes[0].Status != 204 {
		t.Errorf("of another node's removal it holds %+v", notes)
	}
}
