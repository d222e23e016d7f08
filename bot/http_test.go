package bot

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
)

// newHTTPStand is a dispatcher before a real HTTP bot.
func newHTTPStand(t *testing.T, serve http.HandlerFunc, change func(*HTTPConfig, *App)) *stand {
	t.Helper()
	srv := httptest.NewServer(serve)
	t.Cleanup(srv.Close)
	hc := HTTPConfig{URL: srv.URL + "/bot?x=1"}
	return newStand(t, AnswerByBot, func(c *Config) {
		if change != nil {
			change(&hc, &c.Apps[0])
		}
		b, err := NewHTTPBot(hc)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		c.Apps[0].Bot = b
	})
}

func TestHTTPBotIsSentWhatTheCloudSent(t *testing.T) {
	requests, bodies := make(chan *http.Request, 1), make(chan []byte, 1)
	s := newHTTPStand(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		requests <- r
		bodies <- b
	}, nil)
	h := incoming("m1")
	h.Deadline = time.Date(2026, 11, 23, 12, 0, 15, 250e6, time.FixedZone("", 3600))
	h.Header = map[string][]string{
		"Content-Type":                 {"application/json; charset=utf-8"},
		"User-Agent":                   {"Microsoft-Skype/3.0,(Calling/1.0)"},
		"X-Microsoft-Skype-Chain-ID":   {"chain"},
		"x-microsoft-skype-message-id": {"m1"},
		"Accept-Encoding":              {"br"},
		"Authorization":                {"Bearer " + bearerCanary},
		"authorization":                {"Bearer " + bearerCanary},
		"Proxy-Authorization":          {"Basic eDp5"},
		"Connection":                   {"close, X-Only-Here"},
		"X-Only-Here":                  {"1"},
		"Keep-Alive":                   {"5"},
		"Transfer-Encoding":            {"chunked"},
		"Te":                           {"trailers"},
		"Upgrade":                      {"h2c"},
		"Content-Length":               {"99999"},
		"Host":                         {"evil.example"},
		"Tandem-Event":                 {"rejoin"},
		"tandem-epoch":                 {"99"},
		"Tandem-Invented":              {"1"},
	}
	h.Body = []byte("{\"value\" : [ ] ,\r\n\"\u00e9\":1}\n")
	if _, err := s.Incoming(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	got, body := <-requests, <-bodies
	want := http.Header{
		"Content-Type":                 {"application/json; charset=utf-8"},
		"User-Agent":                   {"Microsoft-Skype/3.0,(Calling/1.0)"},
		"X-Microsoft-Skype-Chain-Id":   {"chain"},
		"X-Microsoft-Skype-Message-Id": {"m1"},
		"Accept-Encoding":              {"br"},
		"Content-Length":               {"26"},
		"Tandem-Event":                 {"incoming"},
		"Tandem-Call":                  {"c1"},
		"Tandem-App":                   {string(appID)},
		"Tandem-Partition":             {"7"},
		"Tandem-Epoch":                 {"3"},
		"Tandem-Callback-Uri":          {ourURI},
		"Tandem-Deadline":              {"2026-11-23T11:00:15.25Z"},
	}
	if d := cmp.Diff(want, got.Header); d != "" {
		t.Errorf("headers (-want +got):\n%s", d)
	}
	if !bytes.Equal(body, h.Body) || got.Method != "POST" || got.RequestURI != "/bot?x=1" || strings.Contains(got.Host, "evil") {
		t.Errorf("%s %s of %s with %q", got.Method, got.RequestURI, got.Host, body)
	}
}

// The bot's status, headers and body reach the cloud byte for byte: a reply to
// participantJoiningNotification has a meaning.
func TestReplyPassesThrough(t *testing.T) {
	invite, err := os.ReadFile("testdata/response-participantjoining-invitenewbot.json")
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(invite)
	_ = z.Close()
	for name, want := range map[string]ownership.Reply{
		"inviteNewBotResponse":     {Status: 200, Body: invite, Header: map[string][]string{"Content-Type": {"application/json"}, "X-Bot": {"a", "b"}}},
		"compressed":               {Status: 200, Body: zipped.Bytes(), Header: map[string][]string{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}},
		"the bot's own refusal":    {Status: 403, Body: []byte("no"), Header: map[string][]string{"Content-Type": {"text/plain"}}},
		"the bot's own failure":    {Status: 500, Body: []byte("sorry"), Header: map[string][]string{"Content-Type": {"text/plain"}, "Retry-After": {"2"}}},
		"no content":               {Status: 204, Header: map[string][]string{}},
		"instruction of an update": {Status: 200, Body: []byte(`{"reject":{"reason":"busy"}}`), Header: map[string][]string{"Content-Type": {"application/json"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHTTPStand(t, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range want.Header {
					w.Header()[k] = v
				}
				w.Header().Set("Keep-Alive", "timeout=5")
				w.Header().Set("Location", "https://elsewhere.example/")
				w.WriteHeader(want.Status)
				_, _ = w.Write(want.Body)
			}, nil)
			got, err := s.Update(t.Context(), update("m1"))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want.Header, got.Header); d != "" || got.Status != want.Status || !bytes.Equal(got.Body, want.Body) {
				t.Errorf("%d %q, want %d %q; headers (-want +got):\n%s", got.Status, got.Body, want.Status, want.Body, d)
			}
			if len(s.graph.rejects) != 0 {
				t.Error("the reply to an update was taken for an instruction")
			}
		})
	}
}

func TestHTTPBotFails(t *testing.T) {
	down := httptest.NewServer(nil)
	down.Close()
	tests := []struct {
		name   string
		serve  http.HandlerFunc
		change func(*HTTPConfig, *App)
		want   error
	}{
		{"unreachable", nil, func(h *HTTPConfig, _ *App) { h.URL = down.URL }, ErrUnreachable},
		{"no reply in time", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, func(_ *HTTPConfig, a *App) { a.Timeout = 50 * time.Millisecond }, ErrTimeout},
		{"half a body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("half"))
			panic(http.ErrAbortHandler)
		}, nil, ErrUnreachable},
		{"a body that stalls", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = w.Write([]byte("half"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, func(_ *HTTPConfig, a *App) { a.Timeout = 50 * time.Millisecond }, ErrTimeout},
		{"too large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 101)) },
			func(h *HTTPConfig, _ *App) { h.ReplySize = 100 }, ErrReply},
		{"headers without end", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, nil, ErrUnreachable},
		{"redirect", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(307)
		}, nil, ErrReply},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newHTTPStand(t, tt.serve, tt.change)
			_, err := s.Update(t.Context(), update("m1"))
			var e *Error
			if !errors.Is(err, tt.want) || !errors.As(err, &e) || e.Call != "c1" {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestHTTPBotHealth(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		want   Report
		sick   bool
	}{
		"200 alone":        {200, "", Report{}, false},
		"with a load":      {200, `{"load":0.4,"capacity":50,"draining":true,"more":1}`, Report{Load: .4, Capacity: 50, Draining: true}, false},
		"text":             {200, "OK", Report{}, false},
		"500":              {500, `{"load":0}`, Report{}, true},
		"204":              {204, "", Report{}, true},
		"a redirect":       {302, "", Report{}, true},
		"a string as load": {200, `{"load":"high"}`, Report{}, false},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		}))
		b, err := NewHTTPBot(HTTPConfig{URL: srv.URL, HealthURL: srv.URL})
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.Health(t.Context())
		if got != tt.want || (err != nil) != tt.sick {
			t.Errorf("%s: %+v, %v, want %+v, sick %t", name, got, err, tt.want, tt.sick)
		}
		b.Close()
		srv.Close()
	}
}

func TestHTTPBotAddresses(t *testing.T) {
	for address, want := range map[string]bool{
		"http://127.0.0.1:9442/": true, "https://bot.internal/x": true,
		"": false, "http://bot.internal/x": false, "127.0.0.1:9442": false, "ftp://bot": false, "http://": false, "http://u:pw@bot/": false, "http://bot/%zz": false,
	} {
		_, err := NewHTTPBot(HTTPConfig{URL: address})
		if (err == nil) != want {
			t.Errorf("url %q: %v, want accepted %t", address, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("the refusal repeats the address: %v", err)
		}
		if address == "" {
			continue
		}
		if _, err := NewHTTPBot(HTTPConfig{URL: "https://bot/", HealthURL: address}); (err == nil) != want {
			t.Errorf("health_url %q: %v, want accepted %t", address, err, want)
		}
	}
}

// A bot in this process does not get the token either.
func TestBotInProcessGetsNoToken(t *testing.T) {
	s := newStand(t, AnswerByBot, nil)
	h := incoming("m1")
	if _, err := s.Incoming(context.Background(), h); err != nil {
		t.Fatal(err)
	}
	if got := http.Header(s.bot.handed()[0].Header); got.Get("Authorization") != "" || got.Get("Content-Type") == "" {
		t.Errorf("headers %v", got)
	}
	if http.Header(h.Header).Get("Authorization") == "" {
		t.Error("the caller's own headers were changed")
	}
}
