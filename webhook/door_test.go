package webhook

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/graph"
	"tandem/ownership"
	"tandem/token"
)

// everybody takes any token, where a test is not about tokens.
type everybody struct{}

func (everybody) Verify(context.Context, http.Header) (token.Claims, error) {
	return token.Claims{App: ourApp, Tenant: ourTenant}, nil
}

func (e everybody) Look(ctx context.Context, h http.Header) (token.Claims, error) {
	return e.Verify(ctx, h)
}

// newRequest makes a notification for ServeHTTP without a connection.
func newRequest(t testing.TB, nd *node, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, nd.url+hookPath, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

func recorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func TestNewRefuses(t *testing.T) {
	nd := oneNode(t, setup{})
	sound := nd.door.cfg
	deps := Deps{Tokens: everybody{}, Table: nd, Dispatcher: nd, Regions: newWorld(), Handles: testKeys()}
	if _, err := New(sound, deps); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config, *Deps){
		"a path without a slash":       func(c *Config, _ *Deps) { c.Path = "api" },
		"a path with a slash behind":   func(c *Config, _ *Deps) { c.Path = "/api/" },
		"a path with a wildcard":       func(c *Config, _ *Deps) { c.Path = "/:x" },
		"a path with dots":             func(c *Config, _ *Deps) { c.Path = "/a/../b" },
		"a region with a slash":        func(c *Config, _ *Deps) { c.Region = "a/b" },
		"no node":                      func(c *Config, _ *Deps) { c.Node = "" },
		"a plain region URL":           func(c *Config, _ *Deps) { c.RegionURL = "http://bot.example" },
		"a region URL with a slash":    func(c *Config, _ *Deps) { c.RegionURL = "https://bot.example/" },
		"no region URL":                func(c *Config, _ *Deps) { c.RegionURL = "" },
		"a public URL that is none":    func(c *Config, _ *Deps) { c.PublicURL = "javascript:x" },
		"a redirect that changes POST": func(c *Config, _ *Deps) { c.RedirectStatus = 303 },
		"another word for midcall":     func(c *Config, _ *Deps) { c.Midcall = "proxy" },
		"no table":                     func(_ *Config, d *Deps) { d.Table = nil },
		"no handles":                   func(_ *Config, d *Deps) { d.Handles = nil },
	} {
		c, d := sound, deps
		change(&c, &d)
		if _, err := New(c, d); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	deps.Metrics = prometheus.NewRegistry()
	if _, err := New(sound, deps); err != nil {
		t.Fatal(err)
	}
	if _, err := New(sound, deps); err == nil {
		t.Error("the same metrics were registered twice without a word")
	}
}

// TestCrash: a crash is one 500 with a fixed text, and the door stays open.
func TestCrash(t *testing.T) {
	nd := oneNode(t, setup{})
	nd.reply = func(ownership.HandOver) (ownership.Reply, error) { panic("CANARY") }
	a := post(t, nd.url+hookPath, incoming("c1"))
	if a.status != 500 || a.code(t) != "internal" || strings.Contains(a.body, "CANARY") {
		t.Errorf("%+v", a)
	}
	if !strings.Contains(nd.log.String(), "CANARY") {
		t.Error("the log does not say why")
	}
	if a := post(t, nd.url+hookPath, `{"value":[`+entry("created", "c2", `"state":"incoming"`)+","+entry("created", "c3", `"state":"incoming"`)+`]}`); a.status != 503 || a.code(t) != "partly_handled" {
		t.Errorf("%+v", a)
	}
	nd.reply = nil
	if a := post(t, nd.url+hookPath, update("c1")); a.status != 202 {
		t.Errorf("%+v", a)
	}
	nd.reply = func(ownership.HandOver) (ownership.Reply, error) { panic(http.ErrAbortHandler) }
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("net/http's own way to end a connection was swallowed")
		}
	}()
	nd.door.tokens = everybody{}
	nd.door.ServeHTTP(recorder(), newRequest(t, nd, update("c1")))
}

// TestIDsAgree: graph normalises ids by itself, being of the same floor as
// ownership; both must do it alike.
func TestIDsAgree(t *testing.T) {
	for _, raw := range []string{"57DAB8B1894C409AB240BD8BEAE78896", "57dab8b1-894c-409a-b240-bd8beae78896", "a", "-A-", strings.Repeat("Z", 128)} {
		msg, err := graph.Decode([]byte(`{"value":[{"resource":"/app/calls/`+raw+`"}]}`), graph.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := ownership.ParseCallID(raw)
		if got := msg.Notifications[0].CallID; err != nil || got != string(want) {
			t.Errorf("%s: %q here, %q there, %v", raw, got, want, err)
		}
	}
	for _, raw := range []string{"", "---", "a/b", "a.b", strings.Repeat("Z", 129), "é"} {
		_, here := graph.Decode([]byte(`{"value":[{"resource":"/app/calls/`+raw+`"}]}`), graph.Limits{})
		if _, there := ownership.ParseCallID(raw); (here == nil) != (there == nil) {
			if raw != "a/b" { // there it is an id, here an id and a part
				t.Errorf("%q: %v here, %v there", raw, here, there)
			}
		}
	}
}

// TestQuery reads parameters that stand once.
func TestQuery(t *testing.T) {
	for _, c := range []struct {
		raw, want string
		found, ok bool
	}{
		{"", "", false, true}, {"s=a", "a", true, true}, {"x=1&s=a&y", "a", true, true}, {"s", "", true, true},
		{"s=a&s=b", "", true, false}, {"xs=a", "", false, true}, {"s=a=b", "a=b", true, true}, {"&&s=a&&", "a", true, true}, {"%73=a", "", false, true},
	} {
		if got, found, ok := query(c.raw, "s"); got != c.want || found != c.found || ok != c.ok {
			t.Errorf("%q: %q, %v, %v", c.raw, got, found, ok)
		}
	}
}

// TestMetricsAreFixed: whatever comes in, no new series appear.
func TestMetricsAreFixed(t *testing.T) {
	nd := oneNode(t, setup{})
	count := func() int {
		families, err := nd.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	before := count()
	for _, body := range []string{incoming("c1"), update("c2"), "{", legacyBody} {
		post(t, nd.url+hookPath, body)
	}
	if after := count(); after != before {
		t.Errorf("%d series, then %d", before, after)
	}
}
