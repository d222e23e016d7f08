package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/ledger"
	"tandem/ownership"
)

// shownLedger is a ledger in memory whose heads and proofs hold.
type shownLedger struct {
	fakeLedger
	signer *ledger.Signer
	lines  [][]byte
	all    []ledger.Entry
	tree   ledger.Tree
	whole  map[ledger.Subtree]ledger.Hash
}

// withLedger gives a door a ledger of n calls and one change.
func withLedger(t *testing.T, n int) func(*Config, *Deps) {
	signer, err := ledger.NewSigner(ledger.NameOf("contoso-bots", "emea"), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	l := &shownLedger{signer: signer, whole: map[ledger.Subtree]ledger.Hash{}}
	for i := range n {
		l.add(t, ledger.Entry{Kind: []ledger.Kind{ledger.Ended, ledger.Lost}[i%5/4], At: start.Add(time.Duration(i) * time.Hour), Call: fmt.Sprintf("c%02d", i), App: "app-1",
			Tenant: fmt.Sprintf("tenant-%d", i%3), Node: "emea-1", Partition: 1, ClaimedAt: start, Reason: "the cloud ended it"})
	}
	l.add(t, ledger.Entry{Kind: ledger.Change, At: start.Add(time.Hour), By: "alice", From: "10.0.0.9:1", Action: "drain-node", Subject: "/v1/nodes/emea-2/drain", Status: 204, Reason: "until noon <b>"})
	return func(_ *Config, d *Deps) { d.Ledger = l }
}

func (l *shownLedger) add(t *testing.T, e ledger.Entry) {
	e.N = l.tree.Size()
	line := ledger.Encode(e)
	l.lines, l.all = append(l.lines, line), append(l.all, e)
	if err := l.tree.Push(0, ledger.HashOf(line), func(s ledger.Subtree, h ledger.Hash) { l.whole[s] = h }); err != nil {
		t.Fatal(err)
	}
}

func (l *shownLedger) List(f ledger.Filter, cursor uint64, limit int, newest bool) (page api.LedgerPage, err error) {
	m, all := f.Matcher(), slices.Clone(l.all)
	if !newest {
		return l.fakeLedger.List(f, cursor, limit, newest)
	}
	for _, e := range slices.Backward(all) {
		if _, chosen, err := m.Match(l.lines[e.N]); err != nil || !chosen || cursor > 0 && e.N >= cursor {
			continue
		}
		if len(page.Items) == limit {
			page.More = true
			break
		}
		page.Items, page.Next = append(page.Items, e), e.N
	}
	return page, nil
}

func (l *shownLedger) Head(uint64) (out api.LedgerHead, err error) {
	out = api.LedgerHead{Key: l.signer.Key, Keys: []string{l.signer.Key}, Size: l.tree.Size(), Keep: ownership.Keep{Days: 90, EndedDays: 7}}
	out.Head, err = l.signer.Sign(ledger.Head{Size: out.Size, Root: l.tree.Root(), At: start})
	return out, err
}

func (l *shownLedger) Prove(n uint64) (out api.LedgerProof, err error) {
	hashes, err := ledger.Prove(l.tree.Size(), n, func(s ledger.Subtree) (ledger.Hash, error) { return l.whole[s], nil })
	if err != nil {
		return out, fmt.Errorf("%w: %w", err, ownership.ErrUnknown)
	}
	head, err := l.Head(0)
	out = api.LedgerProof{Entry: l.lines[n], Head: head.Head}
	for _, h := range hashes {
		out.Hashes = append(out.Hashes, h.String())
	}
	return out, err
}

// TestTheLedgerIsShown, the newest entries first, filtered, with its head, and each entry with
// its proof, which the page has checked.
func TestTheLedgerIsShown(t *testing.T) {
	t.Parallel()
	r := openRoom(t, withLedger(t, 120))
	r.someCalls(3)
	for path, c := range map[string]struct {
		rows  int
		wants []string
	}{
		"":                           {100, []string{`ledger/120"`, "Older than entry 21", `<span class="pill good">good</span>`, "<dd>121</dd>", "90 days, those of ended calls 7 days", "tandem/contoso-bots/emea&#43;"}},
		"?cursor=21":                 {21, []string{`ledger/0"`, "Newest"}},
		"?kind=change":               {1, []string{"drain-node", "alice", "until noon &lt;b&gt;", "Clear"}},
		"?kind=lost&tenant=tenant-1": {8, nil},
		"?call=C07":                  {1, []string{`href="/console/calls/c07"`}},
		"?since=2026-11-23T10:30&until=2026-11-24T00:00": {15, []string{"What is chosen", "/console/ledger/export?format=csv&amp;since=2026-11-23T10%3A30&amp;until=2026-11-24T00%3A00"}},
		"?thread=19:x":                           {0, []string{"No entry matches."}},
		"/120":                                   {0, []string{"proven", "ledger of 121 entries", "/v1/nodes/emea-2/drain", "10.0.0.9:1", "tandem ledger prove 120"}},
		"/7":                                     {0, []string{`<span class="pill good">proven</span>`, `href="/console/calls/c07"`, `&#34;n&#34;:7`}},
		"?until=2026-11-23T10:30:01&kind=change": {1, nil},
	} {
		page := r.ask("GET", "/console/ledger"+path, "").want(t, 200).text
		if n := strings.Count(page, `<td class="number"><a href="/console/ledger/`); n != c.rows {
			t.Errorf("%q shows %d entries, want %d", path, n, c.rows)
		}
		for _, want := range c.wants {
			if !strings.Contains(page, want) {
				t.Errorf("%q does not show %q:\n%s", path, want, page)
			}
		}
	}
	for path, status := range map[string]int{"/121": 404, "/x": 400, "?since=soon": 400, "?until=2026-11-29": 400, "/export?since=soon": 400, "/export?format=pdf": 400, "/x/proof": 400, "/121/proof": 404, "/7/x": 404, "?kind=none": 400, "?cursor=x": 400, "?call=a%20b": 400} {
		if a := r.ask("GET", "/console/ledger"+path, ""); a.StatusCode != status {
			t.Errorf("%q: %d, want %d", path, a.StatusCode, status)
		}
	}
	if page := r.ask("GET", "/console/calls/c01", "").want(t, 200).text; !strings.Contains(page, `href="/console/ledger?call=c01"`) {
		t.Error("a call's page does not lead to its entries")
	}
}

// TestTheLedgerIsTakenAlong as a file, as it is filtered, and so is the proof of an entry, by
// whoever may read the pages, and nobody else.
func TestTheLedgerIsTakenAlong(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t, withLedger(t, 9))
	reader := r.session(api.RoleRead)
	csv := r.ask("GET", "/console/ledger/export?format=csv&kind=lost", "", reader).want(t, 200)
	if csv.text != "export csv=true kind=lost\n" || !strings.Contains(csv.Header.Get("Content-Disposition"), `filename="tandem-emea-ledger.csv"`) {
		t.Errorf("the file is %q, %v", csv.text, csv.Header)
	}
	if all := r.ask("GET", "/console/ledger/export?format=jsonl", "", reader).want(t, 200); all.text != "export csv=false kind=\n" {
		t.Errorf("the file is %q", all.text)
	}
	var proof ledger.Proof
	if err := json.Unmarshal([]byte(r.ask("GET", "/console/ledger/4/proof", "", reader).want(t, 200).text), &proof); err != nil {
		t.Fatal(err)
	}
	if e, _, err := proof.Check(r.door.deps.Ledger.(*shownLedger).signer.Key); err != nil || e.N != 4 {
		t.Errorf("it proves entry %d, %v", e.N, err)
	}
	for _, path := range []string{"export", "4/proof"} {
		if a := r.ask("GET", "/console/ledger/"+path, ""); a.StatusCode != 303 || strings.Contains(a.text, "tenant") {
			t.Errorf("who has no session gets %s: %d %s", path, a.StatusCode, a.text)
		}
	}
}

// TestAForgedLedgerIsSaidToBe by the page that shows it.
func TestAForgedLedgerIsSaidToBe(t *testing.T) {
	t.Parallel()
	r := openRoom(t, withLedger(t, 3))
	l := r.door.deps.Ledger.(*shownLedger)
	l.lines[1] = bytes.Replace(l.lines[1], []byte("the cloud ended it"), []byte("the cloud ended Ik"), 1)
	if page := r.ask("GET", "/console/ledger/1", "").want(t, 200).text; !strings.Contains(page, `<span class="pill bad">not proven</span>`) || !strings.Contains(page, "do not lead from entry 1 to the root") {
		t.Errorf("an entry that was changed:\n%s", page)
	}
	r.door.deps.Ledger = &fakeLedger{}
	if page := r.ask("GET", "/console/ledger", "").want(t, 200).text; !strings.Contains(page, `<span class="pill bad">not good</span>`) {
		t.Errorf("a head that nobody signed:\n%s", page)
	}
}

// TestWhatWouldBeLostIsSaidFirst, before a node is removed or a call is released, and the form is
// for operators alone.
func TestWhatWouldBeLostIsSaidFirst(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	r.someCalls(3)
	r.fake.set(func() {
		r.fake.forecast = api.NodeForecast{Live: 3, Bound: 2, Movable: 1, Room: 1, Needs: 4}
		c := r.fake.calls["c00"]
		c.State = ownership.CallEnded
		r.fake.calls["c00"] = c
	})
	reader, operator := r.session(api.RoleRead), r.session(api.RoleOperate)
	for path, c := range map[string]struct {
		wants []string
		form  string
	}{
		"nodes/emea-2?act=remove": {[]string{"emea-2 is alive:", "It has 3 live calls. 2 have their media on it and are <b>lost with it</b>. 1 moves to other nodes.", "room for 1, and 4 would come at once", "Draining"}, "nodes/emea-2/remove"},
		"calls/c01?act=release":   {[]string{"The call has been answered for", "told <b>lost</b>", "the cloud is not told"}, "calls/c01/release"},
		"calls/c00?act=release":   {[]string{"there is nothing to release"}, ""},
	} {
		for _, who := range []string{reader, operator} {
			page := r.ask("GET", "/console/"+path, "", who).want(t, 200).text
			for _, want := range c.wants {
				if !strings.Contains(page, want) {
					t.Errorf("%s does not say %q:\n%s", path, want, page)
				}
			}
			if form := strings.Contains(page, `action="/console/`+c.form+`"`); c.form != "" && form != (who == operator) {
				t.Errorf("%s: a form for the operator: %t, shown: %t", path, who == operator, form)
			}
		}
	}
}

// TestOtherRegionsNodesAreShownWithTheirLoad where a door of theirs answers, and without where
// none does.
func TestOtherRegionsNodesAreShownWithTheirLoad(t *testing.T) {
	t.Parallel()
	emea, _, between := twoRegions(t)
	emea.fake.set(func() {
		emea.fake.far = []api.Region{{Name: "amer", Healthy: true, Doors: []api.RegionDoor{{URL: "https://x", Answered: true}}, List: []api.SummaryNode{{ID: "emea-1", State: "active"}}}}
	})
	session := emea.session(api.RoleRead)
	_, amer, _ := strings.Cut(emea.ask("GET", "/console/", "", session).want(t, 200).text, `href="/console/?region=amer"`)
	for _, want := range []string{`href="/console/nodes/emea-1?region=amer"`, `7 <span class="soft">/ 50`, "3 partitions", `pill draining`} {
		if !strings.Contains(amer, want) {
			t.Errorf("amer is shown without %q:\n%s", want, amer)
		}
	}
	between.cut.Store(true)
	_, amer, _ = strings.Cut(emea.ask("GET", "/console/", "", session).want(t, 200).text, `href="/console/?region=amer"`)
	if !strings.Contains(amer, `href="/console/nodes/emea-1?region=amer"`) || strings.Contains(amer, `<div class="load">`) {
		t.Errorf("a region that does not answer:\n%s", amer)
	}
}
