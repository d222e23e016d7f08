package shadow

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// believing takes the token "good".
type believing struct{}

func (believing) Verify(_ context.Context, h http.Header) (token.Claims, error) {
	if h.Get("Authorization") == "Bearer good" {
		return token.Claims{Tenant: "t1"}, nil
	}
	return token.Claims{}, &token.Refusal{Status: http.StatusUnauthorized, Code: token.CodeBadSignature}
}

// front starts an upstream, and a shadow in front of it.
func front(t *testing.T, upstream http.HandlerFunc, change ...func(*ProxyConfig)) (*Proxy, *httptest.Server) {
	t.Helper()
	behind := httptest.NewServer(upstream)
	t.Cleanup(behind.Close)
	return before(t, behind.URL, change...)
}

// before starts a shadow in front of an address.
func before(t *testing.T, address string, change ...func(*ProxyConfig)) (*Proxy, *httptest.Server) {
	t.Helper()
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c := ProxyConfig{Upstreams: []Upstream{{URL: to}}, Tokens: believing{}, Instance: Source{byHeader, "X-Served-By"}}
	for _, f := range change {
		f(&c)
	}
	p, err := NewProxy(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return p, s
}

// request makes a request of the test's context.
func request(t *testing.T, method, target string, body io.Reader, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// do makes a request and reads the response.
func do(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	return resp, string(text)
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain: " + what)
		}
	}
}

// incoming is a notification of a new call.
func incoming(id string) string {
	return `{"value":[{"changeType":"created","resource":"/app/calls/` + id + `","resourceData":{"@odata.type":"#microsoft.graph.call","state":"incoming","direction":"incoming"}}]}`
}

// update is a later notification.
func update(id string) string {
	return strings.NewReplacer("created", "updated", `"state":"incoming"`, `"state":"established"`).Replace(incoming(id))
}

// post sends a notification with a good token.
func post(t *testing.T, to, body string, header ...string) (*http.Response, string) {
	t.Helper()
	return do(t, request(t, http.MethodPost, to+"/api/calls", strings.NewReader(body), append([]string{"Authorization", "Bearer good", "Content-Type", "application/json"}, header...)...))
}

// errBroken is how a test's reader fails.
var errBroken = errors.New("broken")
