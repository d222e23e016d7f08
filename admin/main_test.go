package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The secrets of the test tokens, one for each role. No answer, log line or
// page may ever hold one.
var secrets = map[api.Role]string{
	api.RoleRead: "canary-read-5b1d", api.RoleOperate: "canary-operate-77aa", api.RoleBot: "canary-bot-c0de", api.RoleJoin: "canary-join-9e4f",
}

const expiredSecret = "canary-expired-1111"

// tokensYAML is a tokens file with one token for each role, and an expired one.
func tokensYAML() string {
	var b strings.Builder
	b.WriteString("tokens:\n")
	for _, r := range []api.Role{api.RoleRead, api.RoleOperate, api.RoleBot, api.RoleJoin} {
		fmt.Fprintf(&b, "  - {name: %s-er, roles: [%s], sha256: %s}\n", r, r, HashToken(secrets[r]))
	}
	fmt.Fprintf(&b, "  - {name: old, roles: [operate], sha256: %s, expires: 2026-01-01T00:00:00Z}\n", HashToken(expiredSecret))
	return b.String()
}

// room is a door on a real listener, with the fake behind it.
type room struct {
	t    testing.TB
	fake *fake
	door *Door
	url  string
	logs *logBuffer
	file string // the tokens file; empty: open
	at   *clock
}

// clock is the fake's time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time          { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}
func (l *logBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.buf.String() }

// openRoom starts a door without tokens, tokenRoom one with them; change may
// alter what it is built from.
func openRoom(t testing.TB, change ...func(*Config, *Deps)) *room { return newRoom(t, "", change) }

func tokenRoom(t *testing.T, change ...func(*Config, *Deps)) *room {
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	if err := os.WriteFile(file, []byte(tokensYAML()), 0o600); err != nil {
		t.Fatal(err)
	}
	return newRoom(t, file, change)
}

func newRoom(t testing.TB, file string, change []func(*Config, *Deps)) *room {
	t.Helper()
	r := &room{t: t, fake: newFake(), logs: &logBuffer{}, file: file, at: &clock{now: start}}
	cfg := Config{
		Identity:  api.Identity{Deployment: "contoso-bots", Region: "emea", Node: "emea-1", Incarnation: "inc-emea-1", Version: "0.1.0"},
		StartedAt: start.Add(-time.Hour), URL: "https://emea.bot.contoso.com", Loopback: true, TokensFile: file,
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tandem_live_calls"}, func() float64 { return 3 }))
	deps := Deps{
		Table: r.fake, Ledger: &fakeLedger{}, Rulebook: r.fake, Captures: r.fake, Evacuations: r.fake, Journal: r.fake, Cluster: r.fake, Regions: r.fake.Regions, Metrics: metrics, LastLog: func() []byte { return []byte("{}\n") }, Config: func() map[string]any { return map[string]any{"deployment": "contoso-bots"} }, Now: r.at.Now,
		Logger: slog.New(slog.NewJSONHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Checks: []Check{{Name: "lease", Ask: func(context.Context) error { return r.fake.ready() }}},
		Explain: func(_ context.Context, n ownership.Supposed) (api.Explanation, error) {
			return api.Explanation{Status: 202, Verdict: fmt.Sprintf("%d bytes for %s, authorization %q, scenario %q",
				len(n.Body), cmp.Or(n.Target, "the webhook"), http.Header(n.Header).Get("Authorization"), http.Header(n.Header).Get("Scenario-Id"))}, nil
		},
		Callbacks: func(_ context.Context, a api.CallbackBody) (api.CallbackURI, error) {
			if a.App != "app-1" {
				return api.CallbackURI{}, fmt.Errorf("finding the app %s: %w", a.App, ownership.ErrUnknown)
			}
			return api.CallbackURI{URI: "https://emea.bot.contoso.com/api/calls/emea/1/1/x?s=y&g=" + a.Group, Partition: 1, Epoch: 1}, nil
		},
	}
	for _, c := range change {
		c(&cfg, &deps)
	}
	var err error
	if r.door, err = New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + l.Addr().String()
	srv := NewServer(r.door)
	srv.Handler = r.witnessed(srv.Handler)
	srv.ErrorLog = slog.NewLogLogger(deps.Logger.Handler(), slog.LevelWarn)
	served := make(chan error, 1)
	way := Listener(l, 512)
	way.Watch(srv)
	go func() { served <- srv.Serve(way) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("shutting the door's server down: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server ended with %v", err)
		}
		r.noSecret("the log", r.logs.String())
	})
	return r
}

// noSecret fails the test if a text holds a token.
func (r *room) noSecret(where, text string) {
	r.t.Helper()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			r.t.Errorf("B110: %s holds a token", where)
		}
	}
}

// client is the Go client with a role's token; role empty: without one.
func (r *room) client(role api.Role) *client.Client {
	r.t.Helper()
	c, err := client.New(r.url, secrets[role], "")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// answered is one answer in full.
type answered struct {
	*http.Response
	text string
}

// ask sends one request; header lines are "Name: value".
func (r *room) ask(method, path, body string, header ...string) answered {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, in)
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	res, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.noSecret(method+" "+path, string(text))
	return answered{res, string(text)}
}

// told reads what a path answers to a role; empty: without a token.
func told[T any](r *room, role api.Role, path string) (out T) {
	r.t.Helper()
	var header []string
	if role != "" {
		header = []string{as(role)}
	}
	if err := json.Unmarshal([]byte(r.ask("GET", path, "", header...).want(r.t, 200).text), &out); err != nil {
		r.t.Fatalf("reading the answer of %s: %v", path, err)
	}
	return out
}

// as returns the Authorization line of a role.
func as(role api.Role) string { return "Authorization: Bearer " + secrets[role] }

// want checks an answer's status and, for refusals, the shape of RFC 9457.
func (a answered) want(t testing.TB, status int) answered {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s answered %d, want %d: %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.text)
	}
	if status < 400 {
		return a
	}
	var p struct {
		Title, Detail string
		Status        int
	}
	if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("%s %s: a refusal has the type %q", a.Request.Method, a.Request.URL.Path, ct)
	}
	if err := json.Unmarshal([]byte(a.text), &p); err != nil || p.Status != status || p.Title != http.StatusText(status) || p.Detail == "" {
		t.Errorf("%s %s: not a problem of RFC 9457 (%v): %s", a.Request.Method, a.Request.URL.Path, err, a.text)
	}
	return a
}

// ready is the fake's check for /readyz.
func (f *fake) ready() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.LeaseUntil.IsZero() {
		return ownership.ErrFenced
	}
	return nil
}
