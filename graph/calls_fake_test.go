package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretCanary = "canary-client-secret-7d1f"
	tokenCanary  = "canaryaccesstoken5e0b"
	callID       = "57dab8b1-894c-409a-b240-bd8beae78896"
	callbackURI  = "https://emea.bot.example/api/calls/emea/7/3/ref?s=sig"
)

// fakeGraph stands in for the network: it answers the token endpoint and the
// calls API and keeps what it was sent. It works inside a synctest bubble.
type fakeGraph struct {
	token func(n int, r *http.Request) (*http.Response, error) // nil: a token of one hour
	api   func(n int, r *http.Request) (*http.Response, error) // n counts from 1

	mu     sync.Mutex
	tokens int
	sent   []sent
	asked  []string // bodies of token requests
}

type sent struct {
	method, path, body, requestID, authorization string
	header                                       http.Header
	at                                           time.Time
}

func (f *fakeGraph) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	f.mu.Lock()
	if r.URL.Path == "/token" {
		f.tokens++
		n := f.tokens
		f.asked = append(f.asked, string(body))
		f.mu.Unlock()
		if f.token == nil {
			return tokenReply(tokenCanary, 3600), nil
		}
		return f.token(n, r)
	}
	f.sent = append(f.sent, sent{r.Method, r.URL.Path, string(body), r.Header.Get("client-request-id"),
		r.Header.Get("Authorization"), r.Header, time.Now()})
	n := len(f.sent)
	f.mu.Unlock()
	return f.api(n, r)
}

func (f *fakeGraph) requests() []sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]sent(nil), f.sent...)
}

func (f *fakeGraph) fetches() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tokens
}

func reply(status int, body string, header ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func tokenReply(token string, seconds int) *http.Response {
	b, _ := json.Marshal(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": seconds})
	return reply(200, string(b))
}

// always answers every request of the calls API the same way.
func always(status int, body string, header ...string) func(int, *http.Request) (*http.Response, error) {
	return func(int, *http.Request) (*http.Response, error) { return reply(status, body, header...), nil }
}

// hang answers when the request is given up.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// brokenBody breaks off after its text.
type brokenBody struct{ io.Reader }

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = errors.New("connection reset by peer")
	}
	return n, err
}
func (brokenBody) Close() error { return nil }

func secretFile(t *testing.T, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secretCanary+"\n"), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// logs is what a client wrote, safe to read while it writes.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newTestCalls(t *testing.T, f *fakeGraph) (*Calls, *logs, *prometheus.Registry) {
	t.Helper()
	var l logs
	reg := prometheus.NewRegistry()
	c, err := NewCalls(Config{
		BaseURL: "https://graph.example/v1.0", TokenURL: "https://login.example/token", ClientID: "app-1",
		ClientSecretFile: secretFile(t, 0o600), Transport: f, Metrics: reg,
		Logger: slog.New(slog.NewJSONHandler(&l, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, &l, reg
}
