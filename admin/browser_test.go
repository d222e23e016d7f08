package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// browser starts a real Chromium, or skips the test loudly: Debian's package chromium is
// enough.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED, THE PAGES WERE SEEN BY NO BROWSER: there is no chromium on this machine (apt-get install chromium)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	t.Cleanup(cancel)
	ctx, quit := chromedp.NewContext(ctx, chromedp.WithAllocatorOptions(chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU))
	t.Cleanup(quit)
	return ctx
}

// visit opens a page in a window of some width, in light or dark.
func visit(t *testing.T, ctx context.Context, url string, width int64, scheme string) {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), colours(scheme), chromedp.Navigate(url)); err != nil {
		t.Fatalf("opening %s: %v", url, err)
	}
}

// picture keeps what the window shows where TANDEM_SHOTS names a folder.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("TANDEM_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// consolePages are all pages, as a region with something on each of them shows them.
var consolePages = []string{
	"", "?region=emea", "calls", "calls?tenant=tenant-1", "calls/c00", "search?q=nobody", "nodes", "nodes?act=halt&app=0efc74f7-41c3-47a4-8775-7259bfef4241&version=2.4.1", "nodes/emea-2", "nodes/emea-2?act=drain", "nodes/emea-3?act=undrain", "nodes/emea-2?act=remove", "calls/c01?act=release", "ledger", "ledger?kind=change&since=2026-11-23T10:00", "ledger/7",
	"partitions", "partitions/1", "partitions/1?act=move", "regions", "regions/emea", "regions/emea?act=evacuate&to=amer", "regions/amer", "pulse", "pulse?node=emea-1",
	"events", "events?kind=claimed", "rules", "rules?number=1", "peers", "certificates", "tokens", "tokens?act=revoke&name=ci", "audit", "login",
}

// busyRoom is a region with something on each page; no promise is broken but those of an
// open door.
func busyRoom(t *testing.T) *room {
	r := openRoom(t, func(_ *Config, d *Deps) { d.Pulse = fakePulse }, withLedger(t, 30))
	r.someCalls(30)
	r.make(`{"name":"ci","roles":["read"]}`)
	r.ask("PUT", "/v1/rules", `{"text":"rules: []","expect":0,"note":"first"}`).want(t, 200)
	r.ask("PUT", "/v1/rules", `{"text":"rules: [] #","expect":1}`).want(t, 200)
	if err := json.Unmarshal([]byte(`{"live":12,"new_calls":[{"region":"amer","before":3,"after":20,"per_minute":4.5,"needs":9,"room":6},{"region":"emea","before":17,"room":40,"enough":true}]}`), &r.fake.plan); err != nil {
		t.Fatal(err)
	}
	r.fake.set(func() {
		r.fake.fitness.Versions = []ownership.VersionState{
			{VersionTally: ownership.VersionTally{App: "0efc74f7-41c3-47a4-8775-7259bfef4241", Version: "2.4.1", Taken: 111, Well: 5, Short: 106}, Nodes: []ownership.NodeID{"emea-1", "emea-3"}, Proven: true},
			{VersionTally: ownership.VersionTally{App: "0efc74f7-41c3-47a4-8775-7259bfef4241", Version: "2.5.0", Taken: 5, Bad: 5}, Nodes: []ownership.NodeID{"emea-2"}, Hurt: 5, Bound: 5},
		}
		r.fake.rollouts = []ownership.Rollout{{App: "0efc74f7-41c3-47a4-8775-7259bfef4241", Version: "2.5.0", Share: 100, Halted: true, Reason: "halted: 5 of its 5 calls ended badly (the last one: 408/8544), of the other versions' 14 calls 0.0 %"}}
		r.fake.forecast = api.NodeForecast{Live: 12, Bound: 9, Movable: 2, Ringing: 1, Room: 8, Needs: 14}
		r.fake.fitness.Silent = []ownership.Silence{{Node: "emea-2", Since: start.Add(-time.Minute), Cause: ownership.Refuses}}
	})
	r.fake.tell(history.Event{Kind: history.Moved, Partition: 7, Node: "emea-2", From: "emea-3", Epoch: 2, At: start.Add(-time.Second)})
	return r
}

// fakePulse is an hour of three nodes, one of which says nothing.
func fakePulse(_ context.Context, ask api.PulseAsk) []api.PulseNode {
	all := []api.PulseNode{{Node: "emea-3", Error: "asking node emea-3: connection refused"}}
	for k, id := range []ownership.NodeID{"emea-1", "emea-2"} {
		if ask.Node != "" && ask.Node != id {
			continue
		}
		n := api.PulseNode{Node: id, Bots: []api.PulseBot{{App: "app-1", Healthy: k == 0}}, Ends: []api.End{{What: "public.tls.cert_file", At: start.Add(time.Duration(k) * 20 * 24 * time.Hour)}}}
		for i := range ask.Points {
			wave := 10 + 5*math.Sin(float64(i)/8+float64(k))
			s := api.PulseSample{At: start.Add(time.Duration(i-ask.Points+1) * time.Minute), Here: wave, Claims: wave / 3, P50: 20 * wave, P99: 90 * wave}
			if i%20 == 5 {
				s.P50, s.P99 = 0, 0
			}
			n.Samples = append(n.Samples, s)
		}
		all = append(all, n)
	}
	return all
}

// look is one way to look at a page.
type look struct {
	width  int64
	scheme string
}

// looks are those of the test; of the pictures, all.
func looks() []look {
	two := []look{{1280, "light"}, {390, "dark"}}
	if os.Getenv("TANDEM_SHOTS") != "" {
		return append(two, look{1280, "dark"}, look{390, "light"}, look{1920, "dark"})
	}
	return two
}

// TestEveryPageIsAccessible, wide in light and narrow in dark, by axe-core's rules of WCAG 2.2 A and AA. axe-core is
// no part of this repository: TANDEM_AXE names its axe.min.js.
func TestEveryPageIsAccessible(t *testing.T) {
	source, err := os.ReadFile(os.Getenv("TANDEM_AXE"))
	if err != nil {
		t.Skipf("SKIPPED, NOBODY LOOKED WHETHER EVERYBODY CAN READ THE PAGES: set TANDEM_AXE to axe.min.js of axe-core (npm pack axe-core): %v", err)
	}
	ctx, r := browser(t), busyRoom(t)
	for _, page := range consolePages {
		for _, look := range looks() {
			visit(t, ctx, r.url+"/console/"+page, look.width, look.scheme)
			picture(t, ctx, fmt.Sprintf("%s-%d-%s", strings.NewReplacer("/", "_", "?", "_", "=", "_", "&", "_").Replace("page_"+page), look.width, look.scheme))
			if err := chromedp.Do(ctx, void(string(source)+";0")); err != nil {
				t.Fatal(err)
			}
			found, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"]}).then(r =>
				r.violations.filter(v => v.impact === "serious" || v.impact === "critical" || v.id === "heading-order").map(v => v.id + ": " + v.help + " " + v.nodes.slice(0, 3).map(n => n.target + " " + n.any.concat(n.all).map(c => c.message)).join(" | ")))`, chromedp.EvalAwaitPromise))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				t.Errorf("%q at %d %s: %s", page, look.width, look.scheme, f)
			}
			wide, err := chromedp.Run(ctx, chromedp.Evaluate[float64](`document.documentElement.scrollWidth - innerWidth`))
			if err != nil || wide > 0 {
				t.Errorf("%q at %d: it is %v pixels too wide (%v)", page, look.width, wide, err)
			}
		}
	}
}

// TestAPageRenewsItself: what changes takes the place of the old, the reader's focus stays, a
// lost connection is said in words and its end, too; and warnings that were folded away stay so.
func TestAPageRenewsItself(t *testing.T) {
	ctx := browser(t)
	var cut atomic.Bool
	r := busyRoom(t)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if cut.Load() {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		r.door.ServeHTTP(w, q)
	}))
	defer front.Close()
	visit(t, ctx, front.URL+"/console/", 1280, "light")
	must := func(what, js string) {
		t.Helper()
		eventually(t, what, func() bool {
			ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](js))
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			return ok
		})
	}
	if err := chromedp.Do(ctx, void(`document.querySelector('a[href="/console/partitions/9"]').focus(); document.getElementById("notes").open = false; document.getElementById("held").open = true`)); err != nil {
		t.Fatal(err)
	}
	r.fake.add(ownership.Call{ID: "fresh", Partition: 9, State: ownership.CallAnswered, ClaimedAt: start})
	must("the new call is counted", `document.querySelector('a[href="/console/partitions/9"] b').textContent === "4"`)
	must("the focus stays", `document.activeElement.getAttribute("href") === "/console/partitions/9"`)
	must("what was opened stays open", `document.getElementById("held").open`)
	cut.Store(true)
	must("the lost connection is said", `!document.getElementById("connection").hidden && document.getElementById("connection").textContent.startsWith("Connection lost at ")`)
	picture(t, ctx, "connection-lost")
	cut.Store(false)
	must("its end is said", `document.getElementById("connection").hidden`)
	visit(t, ctx, front.URL+"/console/calls", 1280, "light")
	must("warnings stay folded", `!document.getElementById("notes").open`)
	r.fake.set(func() { r.fake.events = nil })
}

// TestKeyboardReachesTheContentFirst: the first key leads past the menu.
func TestKeyboardReachesTheContentFirst(t *testing.T) {
	ctx, r := browser(t), busyRoom(t)
	visit(t, ctx, r.url+"/console/", 390, "light")
	if err := chromedp.Do(ctx, chromedp.KeyEvent("\t"), chromedp.KeyEvent("\r")); err != nil {
		t.Fatal(err)
	}
	at, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.activeElement.id`))
	if err != nil || at != "main" {
		t.Errorf("the first link leads to %q, %v", at, err)
	}
}

// void runs a script for its effect.
func void(js string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Evaluate[any](js)(ctx, t)
		return err
	})
}

// colours has the browser prefer light or dark.
func colours(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	})
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.After(30 * time.Second)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-late:
			t.Fatalf("in 30 s it did not come about that %s", what)
		case <-again.C:
		}
	}
}
