package token

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// answerAt replaces the answer on one path.
func answerAt(path string, f http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		f(w, r)
		return true
	}
}

// says answers with a text.
func says(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// TestF38_EndpointFaults breaks a real endpoint in many ways after the keys were
// loaded once. Each time the good keys serve on and the status names the problem.
func TestF38_EndpointFaults(t *testing.T) {
	var visited atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		visited.Add(1)
		writeJSON(w, obj{"keys": []obj{jwk("evil", keyC())}})
	}))
	defer elsewhere.Close()
	to := func(target string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", target)
			w.WriteHeader(http.StatusFound)
		}
	}
	cases := []struct {
		name    string
		path    string
		answer  http.HandlerFunc
		problem string
	}{
		{"500", keysPath, says(500, "{}"), "it answered 500"},
		{"404", keysPath, says(404, ""), "it answered 404"},
		{"204", keysPath, says(204, ""), "it answered 204"},
		{"empty body", keysPath, says(200, ""), "not JSON"},
		{"HTML", keysPath, says(200, "<html>sign in</html>"), "not JSON"},
		{"null", keysPath, says(200, "null"), "none of its 0 keys"},
		{"array", keysPath, says(200, "[]"), "wrong type"},
		{"empty keys", keysPath, says(200, `{"keys":[]}`), "none of its 0 keys"},
		{"keys null", keysPath, says(200, `{"keys":null}`), "none of its 0 keys"},
		{"no usable key", keysPath, says(200, `{"keys":[{"kty":"EC","kid":"x"},7]}`), "none of its 2 keys"},
		{"cut off", keysPath, says(200, `{"keys":[{"kty":"RSA"`), "not JSON"},
		{"redirect to another origin", keysPath, to(elsewhere.URL), "another origin"},
		{"redirect to a file", keysPath, to("file:///etc/passwd"), "another origin"},
		{"redirect to a file system path", keysPath, to("//" + strings.TrimPrefix(elsewhere.URL, "http://") + "/x"), "another origin"},
		{"redirect loop", keysPath, to(keysPath), "more than 3 times"},
		{"connection dropped", keysPath, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	}
	for _, tc := range cases {
		t.Run("F38 "+tc.name, func(t *testing.T) {
			c := &cloud{keys: []obj{jwk("a", keyA())}}
			server := quietServer(t, c)
			v, k := onServer(t, server.URL)
			c.answers(answerAt(tc.path, tc.answer))
			again(t, v, k)
			st := v.Status()[0]
			if !strings.Contains(st.Problem, tc.problem) || st.Keys != 1 {
				t.Errorf("the status says %q with %d keys, wanted %q with the key from before", st.Problem, st.Keys, tc.problem)
			}
			want(t, v, goodToken(k.Now(), "a", keyA(), 0), good)
		})
	}
	if n := visited.Load(); n != 0 {
		t.Errorf("%d requests followed a redirect to another origin", n)
	}
}

// TestF38_MetadataFaults breaks the metadata of a Verifier that has none yet.
func TestF38_MetadataFaults(t *testing.T) {
	cases := []struct{ name, answer, problem string }{
		{"no jwks_uri", `{"issuer":"x"}`, "names no server"},
		{"jwks_uri a number", `{"jwks_uri":1}`, "wrong type"},
		{"jwks_uri a file", `{"jwks_uri":"file:///etc/passwd"}`, "names no server"},
		{"jwks_uri with http", `{"jwks_uri":"http://keys.example/v1/keys"}`, "is not https"},
		{"jwks_uri with a password", `{"jwks_uri":"https://me:secret@keys.example/"}`, "user name or password"},
		{"jwks_uri twice", `{"jwks_uri":"https://a.example/","jwks_uri":"https://b.example/"}`, "member twice"},
		{"HTML", `<html>`, "not JSON"},
	}
	for _, tc := range cases {
		t.Run("F38 "+tc.name, func(t *testing.T) {
			c := &cloud{}
			c.answers(answerAt(metaPath, says(200, tc.answer)))
			server := quietServer(t, c)
			k := newClock()
			v := start(t, Config{Now: k.Now, Profiles: []Profile{{Name: "public", OpenIDURL: []string{server.URL + metaPath}, Issuers: []string{ourIssuer}}}})
			firstAttempt(t, v)
			if st := v.Status()[0]; !strings.Contains(st.Problem, tc.problem) || strings.Contains(st.Problem, "secret") {
				t.Errorf("the status says %q, wanted %q and no password", st.Problem, tc.problem)
			}
			want(t, v, goodToken(k.Now(), "a", keyA(), 0), CodeKeysNotLoaded)
		})
	}
}

// TestF38_LoopbackKeysFromAfar has public metadata point at this machine.
func TestF38_LoopbackKeysFromAfar(t *testing.T) {
	c := &cloud{keysURL: "https://127.0.0.1/v1/keys", keys: []obj{jwk("a", keyA())}}
	v := start(t, c.config())
	firstAttempt(t, v)
	if st := v.Status()[0]; !strings.Contains(st.Problem, "loopback") {
		t.Errorf("the status says %q, wanted a refusal of the loopback address", st.Problem)
	}
}

// TestF38_RedirectWithinTheOrigin is followed.
func TestF38_RedirectWithinTheOrigin(t *testing.T) {
	c := &cloud{keys: []obj{jwk("a", keyA())}, keysURL: "/"}
	server := quietServer(t, c)
	c.keysURL = server.URL + "/moved"
	c.answers(answerAt("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, keysPath, http.StatusFound) }))
	v, k := onServer(t, server.URL)
	want(t, v, goodToken(k.Now(), "a", keyA(), 0), good)
}

// TestF38_TLS refuses a certificate nobody vouches for, and takes one that the
// given client trusts.
func TestF38_TLS(t *testing.T) {
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	server := httptest.NewUnstartedServer(c)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	cfg := Config{Profiles: []Profile{{Name: "public", OpenIDURL: []string{server.URL + metaPath}, Issuers: []string{ourIssuer}}}}

	v := start(t, cfg)
	firstAttempt(t, v)
	if st := v.Status()[0]; !strings.Contains(st.Problem, "certificate") {
		t.Errorf("the status says %q, wanted a word on the certificate", st.Problem)
	}
	want(t, v, goodToken(time.Now(), "a", keyA(), 0), CodeKeysNotLoaded)

	cfg.HTTPClient = server.Client()
	want(t, ready(t, start(t, cfg)), goodToken(time.Now(), "a", keyA(), 0), good)
}

// TestF38_SizeCap sees the client hang up on 100 MB long before their end.
func TestF38_SizeCap(t *testing.T) {
	sent := make(chan int, 1)
	c := &cloud{}
	c.answers(answerAt(keysPath, func(w http.ResponseWriter, _ *http.Request) {
		n := 0
		defer func() { sent <- n }()
		for chunk := []byte(strings.Repeat(" ", 1<<20)); n < 100; n++ {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	server := quietServer(t, c)
	v := start(t, Config{Profiles: []Profile{{Name: "public", OpenIDURL: []string{server.URL + metaPath}, Issuers: []string{ourIssuer}}}})
	firstAttempt(t, v)
	if n := <-sent; n > 50 {
		t.Errorf("%d MB went out before the client hung up", n)
	}
	if st := v.Status()[0]; !strings.Contains(st.Problem, "longer than 1048576 bytes") {
		t.Errorf("the status says %q", st.Problem)
	}
}

// quietServer serves the cloud over HTTP without a word on aborted handlers.
func quietServer(t testing.TB, c *cloud) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(c)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// onServer starts a Verifier on a server and loads the keys.
func onServer(t testing.TB, base string) (*Verifier, *clock) {
	t.Helper()
	k := newClock()
	v := start(t, Config{Now: k.Now, Profiles: []Profile{{Name: "public", OpenIDURL: []string{base + metaPath}, Issuers: []string{ourIssuer}}}})
	return ready(t, v), k
}

// again moves the clock past the refresh interval and waits for the fetch that
// the next token sets off.
func again(t testing.TB, v *Verifier, k *clock) {
	t.Helper()
	untilBooked(t, v, k) // the first fetch may have given its keys and not ended yet
	k.Advance(2 * time.Hour)
	_, _ = verify(v, goodToken(k.Now(), "a", keyA(), 1))
	untilBooked(t, v, k)
}

// untilBooked waits until no fetch is due.
func untilBooked(t testing.TB, v *Verifier, k *clock) {
	t.Helper()
	for {
		tried := v.attempts.next()
		if v.Status()[0].NextAt.After(k.Now()) {
			return
		}
		await(t, tried)
	}
}

// firstAttempt waits until the first fetch has ended.
func firstAttempt(t testing.TB, v *Verifier) {
	t.Helper()
	tried := v.attempts.next()
	if st := v.Status()[0]; st.Failures == 0 {
		await(t, tried)
	}
}

// await waits for a channel, but not for ever.
func await(t testing.TB, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing happened within 20 s")
	}
}

// TestF38_RedirectRules asks the rule itself, also for what no test server does.
func TestF38_RedirectRules(t *testing.T) {
	f := newFetcher(nil)
	for target, allowed := range map[string]bool{
		"https://keys.example/other":      true,
		"http://keys.example/v1/keys":     false,
		"https://keys.example:8443/":      false,
		"https://keys.example.evil/":      false,
		"https://evil.example/v1/keys":    false,
		"file:///etc/passwd":              false,
		"https://169.254.169.254/latest/": false,
	} {
		first, next := httptest.NewRequest(http.MethodGet, "https://keys.example/v1/keys", nil), httptest.NewRequest(http.MethodGet, "https://keys.example/", nil)
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		next.URL = u
		if err := f.client.CheckRedirect(next, []*http.Request{first}); (err == nil) != allowed {
			t.Errorf("the redirect to %s: %v", target, err)
		}
	}
}

// TestCloseLetsGoOfConnections watches the endpoint's side of them.
func TestCloseLetsGoOfConnections(t *testing.T) {
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	server := httptest.NewUnstartedServer(c)
	closed := make(chan struct{}, 8)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	v, _ := onServer(t, server.URL)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, closed)
}
