package webhook

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"tandem/ownership"
)

// TestO11_HealthPath: probes of balancers are told whether requests should come here,
// with nothing else, and nothing of it in the log.
func TestO11_HealthPath(t *testing.T) {
	var sick atomic.Bool
	nd := oneNode(t, setup{
		config: func(c *Config) { c.HealthPath = "/healthz" },
		deps:   func(d *Deps) { d.Healthy = func(context.Context) bool { return !sick.Load() } },
	})
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		nd.door.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	for _, want := range []int{200, 503} {
		sick.Store(want == 503)
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if w := ask(method, "/healthz"); w.Code != want || w.Body.Len() > 0 {
				t.Errorf("%s: %d with %d bytes, want %d with none", method, w.Code, w.Body.Len(), want)
			}
		}
	}
	if strings.Contains(nd.log.String(), "/healthz") {
		t.Error("probes are in the log")
	}
	if w := ask(http.MethodPost, "/healthz"); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow: %s", w.Code, w.Header().Get("Allow"))
	}
	if w := ask(http.MethodGet, "/health"); w.Code != 404 {
		t.Errorf("another path: %d", w.Code)
	}
}

// TestO16_APathInTheBase: callback URIs and Locations begin with it, and what comes
// back is taken with and without it, for what stands in front may take it away.
func TestO16_APathInTheBase(t *testing.T) {
	nd := oneNode(t, setup{config: func(c *Config) {
		c.RegionURL, c.PublicURL = "https://bot.example/bots/tandem", "https://emea-1.bot.example/own"
	}})
	uri := nd.door.CallbackURI(1, 1, "421f050006d44cd4bd541d8e0fb5c3f1")
	at, ok := strings.CutPrefix(uri, "https://bot.example/bots/tandem"+hookPath+"/")
	if !ok {
		t.Fatalf("the callback URI is %s", uri)
	}
	for _, prefix := range []string{"", "/bots/tandem", "/own"} {
		for _, rest := range []string{"", "/" + at} {
			r := httptest.NewRequest(http.MethodPost, prefix+hookPath+rest, strings.NewReader(legacyBody))
			r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + mint(t, ourApp, ourTenant)}}
			w := httptest.NewRecorder()
			nd.door.ServeHTTP(w, r)
			if w.Code != 204 {
				t.Errorf("%s%s: %d %s", prefix, rest, w.Code, w.Body)
			}
			x := nd.door.Explain(t.Context(), ownership.Supposed{Target: prefix + hookPath + rest, Body: []byte(legacyBody)})
			if x.Response.Status != 204 {
				t.Errorf("explaining %s%s: %+v", prefix, rest, x.Response)
			}
		}
	}
	if w := httptest.NewRecorder(); true {
		nd.door.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/bots"+hookPath, nil))
		if w.Code != 404 {
			t.Errorf("half of the path: %d", w.Code)
		}
	}
}
