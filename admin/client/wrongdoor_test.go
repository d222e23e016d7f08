package client

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWhoeverAnswersIsTold: at a wrong address people hear what is there, and where the
// admin door is; it is neither "not found" nor a reason to wait.
func TestWhoeverAnswersIsTold(t *testing.T) {
	t.Parallel()
	saying := func(status int, kind, text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		})
	}
	plain := func(h http.Handler) string { s := httptest.NewServer(h); t.Cleanup(s.Close); return s.URL }
	secure := func(h http.Handler) string {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	door := saying(200, "application/json", `{}`)
	for name, c := range map[string]struct{ addr, says string }{
		"public door": {plain(saying(404, "application/json", `{"error":{"code":"not_found","message":"There is nothing here."}}`)), "is the public door of a node"},
		"a web page":  {plain(saying(200, "text/html", `<html>`)), "is no admin door of Tandem (200 OK)"},
		"another 404": {plain(saying(404, "text/plain", "404 page not found")), "is no admin door of Tandem (404 Not Found)"},
		"http for it": {strings.Replace(secure(door), "https:", "http:", 1), "speaks https, and was asked with plain http: write https://127.0.0.1:"},
		"https of it": {strings.Replace(plain(door), "http:", "https:", 1), "speaks plain http, and was asked with https: write http://127.0.0.1:"},
		"a stranger":  {secure(door), "--cacert or TANDEM_CACERT"},
	} {
		c2, err := New(c.addr, "", "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = c2.Status(t.Context())
		c2.Close()
		var p *Problem
		if !errors.As(err, &p) || !p.Stranger || !strings.Contains(err.Error(), c.says) || NotFound(err) || Unavailable(err) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(c.says, "door") && !strings.Contains(err.Error(), "http://127.0.0.1:8470") {
			t.Errorf("%s: it does not say where the admin door is: %v", name, err)
		}
	}
	// A balancer speaks for the doors behind it.
	for _, status := range []int{502, 503, 504} {
		c, err := New(plain(saying(status, "text/html", "<html>no node")), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Status(t.Context()); !Unavailable(err) {
			t.Errorf("%d of a balancer: %v", status, err)
		}
		c.Close()
	}
}

// TestDotsAreNames: a node that is called by dots is asked for, and not its parent.
func TestDotsAreNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{".": "/v1/nodes/%2E", "..": "/v1/nodes/%2E%2E", "a/b": "/v1/nodes/a%2Fb"} {
		asked := ""
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.EscapedPath()
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(404)
		}))
		c, err := New(s.URL, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.call(t.Context(), http.MethodGet, nodePath("x")[:len("/v1/nodes/")]+segment(name), nil, nil); !NotFound(err) || asked != want {
			t.Errorf("%s asks for %s, %v", name, asked, err)
		}
		c.Close()
		s.Close()
	}
}
