package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

const (
	secretCanary = "canary-client-secret-90aa"
	tokenCanary  = "canaryaccesstoken77fe"
)

// cloud is Graph as the real client meets it, over a transport that works in a
// bubble: the first answer wins, its repeat with the same URI is harmless, any
// other is 409.
type cloud struct {
	token  func(r *http.Request, n int) (*http.Response, error) // nil: a token
	before func(r *http.Request, n int) *http.Response          // nil response: go on
	lose   func(n int) bool                                     // the response, after the work

	mu      sync.Mutex
	tokens  int
	n       int
	winner  string
	uris    []string // of all answers that arrived
	epochs  []string
	settled time.Time
}

func (c *cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent struct {
		CallbackURI string `json:"callbackUri"`
	}
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(b, &sent)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.URL.Path == "/token" {
		c.tokens++
		if c.token != nil {
			n := c.tokens
			c.mu.Unlock()
			defer c.mu.Lock()
			return c.token(r, n)
		}
		return response(200, `{"access_token":"`+tokenCanary+`","token_type":"Bearer","expires_in":3600}`), nil
	}
	c.n++
	if c.before != nil {
		n := c.n
		c.mu.Unlock()
		res := c.before(r, n)
		c.mu.Lock()
		if res != nil {
			return res, nil
		}
		if r.Context().Err() != nil {
			return nil, r.Context().Err()
		}
	}
	res := response(200, fmt.Sprintf(`{"state":"established","callbackUri":%q}`, c.winner))
	switch {
	case strings.HasSuffix(r.URL.Path, "/answer"):
		c.uris, c.epochs = append(c.uris, sent.CallbackURI), append(c.epochs, r.Header.Get("Tandem-Epoch"))
		if c.winner == "" {
			c.winner, c.settled = sent.CallbackURI, time.Now()
		}
		res = response(202, "")
		if c.winner != sent.CallbackURI {
			res = response(409, `{"error":{"code":"Conflict"}}`)
		}
	case r.Method == http.MethodGet && c.winner == "":
		res = response(200, `{"state":"incoming"}`)
	}
	if c.lose != nil && c.lose(c.n) {
		return nil, errors.New("connection reset by peer")
	}
	return res, nil
}

func response(status int, body string, header ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ProtoMajor: 1, ProtoMinor: 1}
}

// newCloudStand is a dispatcher with the real client of the calls API.
func newCloudStand(t *testing.T, c *cloud) *stand {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secretCanary), 0o600); err != nil {
		t.Fatal(err)
	}
	return newStand(t, AnswerByRouter, func(conf *Config) {
		calls, err := graph.NewCalls(graph.Config{BaseURL: "https://graph.example/v1.0", TokenURL: "https://login.example/token",
			ClientID: "app", ClientSecretFile: file, Transport: c, Logger: conf.Logger, Metrics: conf.Metrics})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(calls.Close)
		conf.Apps[0].Graph = calls
	})
}

// Whatever Graph does, one call has one callback URI in an epoch, and the call
// is answered inside its clock if Graph lets it.
func TestF41_OneAnswerForACallAndEpoch(t *testing.T) {
	slow := func(until int) func(*http.Request, int) *http.Response {
		return func(r *http.Request, n int) *http.Response {
			if n <= until {
				<-r.Context().Done()
			}
			return nil
		}
	}
	fail := func(until int, res func() *http.Response) func(*http.Request, int) *http.Response {
		return func(_ *http.Request, n int) *http.Response {
			if n <= until {
				return res()
			}
			return nil
		}
	}
	tests := []struct {
		name      string
		recording bool
		cloud     *cloud
		answered  bool
	}{
		{"well", false, &cloud{}, true},
		{"slow twice", false, &cloud{before: slow(2)}, true},
		{"slow once, recording", true, &cloud{before: slow(1)}, true},
		{"slow for ever", false, &cloud{before: slow(1000)}, false},
		{"429 with seconds", false, &cloud{before: fail(2, func() *http.Response { return response(429, "", "Retry-After", "2") })}, true},
		{"429 with a date", false, &cloud{before: fail(1, func() *http.Response {
			return response(429, "", "Retry-After", time.Now().Add(3*time.Second).UTC().Format(http.TimeFormat))
		})}, true},
		{"429 without a time", false, &cloud{before: fail(3, func() *http.Response { return response(429, "") })}, true},
		{"429 with 1000000000 s", true, &cloud{before: fail(1, func() *http.Response { return response(429, "", "Retry-After", "1000000000") })}, true},
		{"5xx", false, &cloud{before: fail(4, func() *http.Response { return response(502, "<html>") })}, true},
		{"401 once", false, &cloud{before: fail(1, func() *http.Response { return response(401, "") })}, true},
		{"401 for ever", false, &cloud{before: fail(1000, func() *http.Response { return response(401, "") })}, false},
		{"responses lost after the work", false, &cloud{lose: func(n int) bool { return n <= 3 }}, true},
		{"all responses lost", false, &cloud{lose: func(n int) bool { return n <= 20 }}, true},
		{"another region was first", false, &cloud{winner: otherURI}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := tt.cloud
				s := newCloudStand(t, c)
				clock := 15 * time.Second
				if tt.recording {
					clock = 5 * time.Second
				}
				start := time.Now()
				h := incoming("m1")
				h.Recording, h.Deadline = tt.recording, time.Time{} // the dispatcher knows the clocks
				if _, err := s.Incoming(t.Context(), h); err != nil {
					t.Fatal(err)
				}
				for _, m := range []string{"m2", "m3"} { // other data centres
					time.Sleep(time.Second)
					h.MessageID = m
					if _, err := s.Incoming(t.Context(), h); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(5 * time.Minute)
				c.mu.Lock()
				defer c.mu.Unlock()
				if uris := slices.Compact(c.uris); len(uris) > 1 || (len(uris) == 1 && uris[0] != ourURI) {
					t.Errorf("callback URIs %q, want only ours", uris)
				}
				if epochs := slices.Compact(c.epochs); len(epochs) > 1 || (len(epochs) == 1 && epochs[0] != "3") {
					t.Errorf("epochs %q", epochs)
				}
				if tt.answered && (c.winner != ourURI || c.settled.Sub(start) > clock) {
					t.Errorf("answered by %q after %v, the clock is %v", c.winner, c.settled.Sub(start), clock)
				}
				told, records := s.bot.words(), s.ledger.records()
				if tt.answered && (!slices.Equal(told, []string{"incoming m1"}) || !slices.Contains(records, "answered 3")) {
					t.Errorf("the bot was told %q, records %q", told, records)
				}
				if open := strings.Contains(s.logs.String(), "it is open whether"); open != (tt.name == "slow for ever") {
					t.Errorf("left open: %t", open)
				} else if !tt.answered && !open && (len(records) != 1 || !strings.HasPrefix(records[0], "release 3 ")) {
					t.Errorf("not answered: records %q, want a release", records)
				}
				if !tt.answered && len(told) != 0 {
					t.Errorf("not answered: the bot was told %q", told)
				}
				if tt.name == "another region was first" && !strings.Contains(records[0]+s.logs.String(), "lost") {
					t.Errorf("the loser does not say so: %q", records)
				}
			})
		})
	}
}

func TestF42_AnswersThroughATokenOutage(t *testing.T) {
	down := func(_ *http.Request, n int) (*http.Response, error) { return nil, errors.New("no route") }
	t.Run("back in time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			c := &cloud{token: func(r *http.Request, n int) (*http.Response, error) {
				if time.Since(start) < 6*time.Second {
					return down(r, n)
				}
				return response(200, `{"access_token":"`+tokenCanary+`","token_type":"Bearer","expires_in":3600}`), nil
			}}
			s := newCloudStand(t, c)
			for i := range 30 {
				h := incoming("m1")
				h.Call = ownership.CallID(fmt.Sprint("c", i))
				if _, err := s.Incoming(t.Context(), h); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(15 * time.Second)
			if n := len(s.bot.handed()); n != 30 {
				t.Errorf("%d calls answered, want 30", n)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.tokens > 15 {
				t.Errorf("%d token fetches for 30 calls in 6 s of outage, want single flight and pauses", c.tokens)
			}
		})
	})
	t.Run("down: the calls are released when their clock is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newCloudStand(t, &cloud{token: down})
			if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if got := s.ledger.records(); len(got) != 1 || !strings.HasPrefix(got[0], "release 3 not answered") {
				t.Errorf("records %q", got)
			}
			if n := len(s.bot.handed()); n != 0 {
				t.Errorf("the bot was told of %d calls that were not answered", n)
			}
		})
	})
}

// The cloud's token, the app's secret and its access token: none in logs,
// errors, metrics or what the table records.
func TestB110_Secrets(t *testing.T) {
	var authorizations []string
	var mu sync.Mutex
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		authorizations = append(authorizations, r.Header.Get("Authorization"), string(b))
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/token":
			_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, tokenCanary)
		case strings.HasPrefix(r.URL.Path, "/communications"):
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, `{"error":{"code":%q,"message":%q}}`, r.Header.Get("Authorization"), tokenCanary)
		default:
			panic(http.ErrAbortHandler)
		}
	}))
	defer far.Close()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secretCanary), 0o600); err != nil {
		t.Fatal(err)
	}
	var texts strings.Builder
	s := newStand(t, AnswerByRouter, func(c *Config) {
		calls, err := graph.NewCalls(graph.Config{BaseURL: far.URL, TokenURL: far.URL + "/token", ClientID: "app",
			ClientSecretFile: file, Logger: c.Logger, Metrics: c.Metrics})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(calls.Close)
		b, err := NewHTTPBot(HTTPConfig{URL: far.URL + "/bot"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		c.Apps[0].Graph, c.Apps[0].Bot = calls, b
	})
	if _, err := s.Incoming(t.Context(), incoming("m1")); err != nil {
		t.Fatal(err)
	}
	h := update("m2")
	h.Call = "c2"
	_, err := s.Update(t.Context(), h)
	if err == nil {
		t.Error("a bot that breaks off gave a reply")
	}
	fmt.Fprintf(&texts, "%v %+v %#v ", err, err, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	fmt.Fprint(&texts, s.Close(ctx), s.ledger.records(), s.logs.String())
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		fmt.Fprint(&texts, f.String())
	}
	mu.Lock()
	defer mu.Unlock()
	if sent := strings.Join(authorizations, " "); !strings.Contains(sent, secretCanary) || !strings.Contains(sent, tokenCanary) || strings.Contains(sent, bearerCanary) {
		t.Errorf("far sides were sent %q: the app's own secrets, and not the cloud's token, are wanted", sent)
	}
	for _, canary := range []string{secretCanary, tokenCanary, bearerCanary} {
		if i := strings.Index(texts.String(), canary); i >= 0 {
			t.Errorf("%s in: …%s", canary, texts.String()[max(0, i-200):i+len(canary)])
		}
	}
	if !strings.Contains(texts.String(), "Graph action failed") {
		t.Error("nothing was logged: the test proves nothing")
	}
}
