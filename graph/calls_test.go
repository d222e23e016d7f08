package graph

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCallsRequests(t *testing.T) {
	with := json.RawMessage(`{"acceptedModalities":["audio"],"CallbackUri":"https://evil.example","mediaConfig":{"@odata.type":"#microsoft.graph.serviceHostedMediaConfig"}}`)
	tests := []struct {
		name, method, path, body string
		status                   int
		do                       func(context.Context, *Calls) error
	}{
		{"answer", "POST", "/answer", `{"acceptedModalities":["audio"],"callbackUri":"` + callbackURI + `","mediaConfig":{"@odata.type":"#microsoft.graph.serviceHostedMediaConfig"}}`, 202,
			func(ctx context.Context, c *Calls) error {
				return c.Answer(ctx, callID, AnswerPayload{CallbackURI: callbackURI, With: with}, Permit{Epoch: 3})
			}},
		{"reject", "POST", "/reject", `{"reason":"busy","callbackUri":"` + callbackURI + `"}`, 202,
			func(ctx context.Context, c *Calls) error {
				return c.Reject(ctx, callID, RejectPayload{Reason: "busy", CallbackURI: callbackURI}, Permit{Epoch: 3})
			}},
		{"keepAlive", "POST", "/keepAlive", "", 200,
			func(ctx context.Context, c *Calls) error { return c.KeepAlive(ctx, callID, Permit{Epoch: 3}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeGraph{api: always(tt.status, "")}
			c, _, _ := newTestCalls(t, f)
			if err := tt.do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			got := f.requests()[0]
			want := sent{method: tt.method, path: "/v1.0/communications/calls/" + callID + tt.path, authorization: "Bearer " + tokenCanary}
			if got.method != want.method || got.path != want.path || got.authorization != want.authorization {
				t.Errorf("sent %s %s with %q, want %+v", got.method, got.path, got.authorization, want)
			}
			if got.header.Get("Tandem-Epoch") != "3" {
				t.Errorf("Tandem-Epoch is %q, want 3", got.header.Get("Tandem-Epoch"))
			}
			if len(got.requestID) != 36 {
				t.Errorf("client-request-id %q is no UUID", got.requestID)
			}
			if tt.body == "" {
				if got.body != "" {
					t.Errorf("body %q, want none", got.body)
				}
				return
			}
			var gotBody, wantBody any
			if json.Unmarshal([]byte(got.body), &gotBody) != nil || json.Unmarshal([]byte(tt.body), &wantBody) != nil {
				t.Fatalf("body %q is no JSON", got.body)
			}
			if d := cmp.Diff(wantBody, gotBody); d != "" {
				t.Errorf("body (-want +got):\n%s", d)
			}
		})
	}
}

func TestCallsErrorKinds(t *testing.T) {
	tests := []struct {
		status int
		body   string
		kind   error
		code   string
	}{
		{404, `{"error":{"code":"NotFound"}}`, ErrGone, "NotFound"},
		{400, `{"error":{"code":"7500","message":"x"}}`, ErrRefused, "7500"},
		{403, `not json`, ErrRefused, ""},
		{409, `{"error":{"code":"a b\nc"}}`, ErrRefused, ""},
		{302, ``, ErrRefused, ""},
		{304, ``, ErrRefused, ""},
	}
	for _, tt := range tests {
		f := &fakeGraph{api: always(tt.status, tt.body, "Location", "https://elsewhere.example/")}
		c, _, _ := newTestCalls(t, f)
		err := c.KeepAlive(t.Context(), callID, Permit{})
		var ce *CallError
		if !errors.As(err, &ce) || !errors.Is(err, tt.kind) || ce.Code != tt.code || ce.Status != tt.status || ce.Maybe {
			t.Errorf("status %d: %v (%+v), want kind %v, code %q", tt.status, err, ce, tt.kind, tt.code)
		}
		if n := len(f.requests()); n != 1 {
			t.Errorf("status %d: %d attempts, want 1", tt.status, n)
		}
	}
}

func TestCallsRefuseBadInput(t *testing.T) {
	f := &fakeGraph{api: always(202, "")}
	c, _, _ := newTestCalls(t, f)
	ctx := t.Context()
	for name, err := range map[string]error{
		"dots in the id":      c.KeepAlive(ctx, "../../users", Permit{}),
		"empty id":            c.KeepAlive(ctx, "", Permit{}),
		"long id":             c.KeepAlive(ctx, strings.Repeat("a", 129), Permit{}),
		"answer with a list":  c.Answer(ctx, callID, AnswerPayload{CallbackURI: callbackURI, With: []byte(`[]`)}, Permit{}),
		"answer with null":    c.Answer(ctx, callID, AnswerPayload{CallbackURI: callbackURI, With: []byte(`null`)}, Permit{}),
		"reject without word": c.Reject(ctx, callID, RejectPayload{Reason: "angry"}, Permit{}),
	} {
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
	if n := len(f.requests()) + f.fetches(); n != 0 {
		t.Errorf("%d requests left, want none", n)
	}
}

func TestCallsGet(t *testing.T) {
	f := &fakeGraph{api: func(n int, _ *http.Request) (*http.Response, error) {
		if n == 1 { // half a body: asked again
			res := reply(200, "")
			res.Body = brokenBody{strings.NewReader(`{"state":"estab`)}
			return res, nil
		}
		return reply(200, `{"state":"Established","callbackUri":"`+callbackURI+`","more":[1]}`), nil
	}}
	c, _, _ := newTestCalls(t, f)
	got, err := c.Get(t.Context(), callID)
	if want := (Remote{State: "Established", CallbackURI: callbackURI}); err != nil || got != want {
		t.Errorf("Get: %+v, %v, want %+v", got, err, want)
	}
	f.api = always(404, "")
	if _, err := c.Get(t.Context(), callID); !errors.Is(err, ErrGone) {
		t.Errorf("Get of an unknown call: %v, want ErrGone", err)
	}
}

func TestPermitIsAskedBeforeEachAttempt(t *testing.T) {
	f := &fakeGraph{api: always(503, "")}
	c, _, _ := newTestCalls(t, f)
	lost := errors.New("the lease is lost")
	asked := 0
	err := c.Answer(t.Context(), callID, AnswerPayload{CallbackURI: callbackURI}, Permit{Check: func() error {
		if asked++; asked == 3 { // each attempt asks twice: before it, and at its body
			return lost
		}
		return nil
	}})
	if err != lost {
		t.Errorf("Answer: %v, want the permit's own error", err)
	}
	if n := len(f.requests()); n != 1 || asked != 3 {
		t.Errorf("%d attempts after %d questions, want 1 and 3", n, asked)
	}
}

func TestStableID(t *testing.T) {
	a := stableID("answer", callID, callbackURI)
	if a != stableID("answer", callID, callbackURI) || a == stableID("answer", callID, callbackURI+"x") {
		t.Error("one action has one id, and another URI has another")
	}
	if a[14] != '8' || !strings.ContainsRune("89ab", rune(a[19])) {
		t.Errorf("%s is no UUID of version 8", a)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const forever = time.Duration(1<<63-1) / 2
	for in, want := range map[string]time.Duration{
		"":                              0,
		"3":                             3 * time.Second,
		" 3 ":                           3 * time.Second,
		"-3":                            0,
		"soon":                          0,
		"1e9":                           0,
		"1000000000":                    1e9 * time.Second,
		"99999999999999999999":          forever,
		"9223372036854775807":           forever,
		"Mon, 23 Nov 2026 12:00:07 GMT": 7 * time.Second,
		"Mon, 23 Nov 2026 11:00:00 GMT": 0,
		"Mon, 23 Nov 9999 12:00:07 GMT": forever,
	} {
		if got := retryAfter(in, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", in, got, want)
		}
	}
}
