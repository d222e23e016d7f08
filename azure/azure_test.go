package azure

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tandem/graphsim/machine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers stands in for the network: one answer after the other, the last one for ever.
type answers struct {
	list []answer
	at   []time.Time
	seen []*http.Request
}

type answer struct {
	status int
	body   string
	err    error
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	one := a.list[min(len(a.at), len(a.list)-1)]
	a.at, a.seen = append(a.at, time.Now()), append(a.seen, r)
	if one.err != nil {
		return nil, one.err
	}
	return &http.Response{StatusCode: one.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(one.body))}, nil
}

const canary = "canary-token-of-the-machine-0c4f"

var good = answer{status: 200, body: `{"access_token":"` + canary + `","expires_in":"3599","expires_on":"1506484173","token_type":"Bearer"}`}

// TestRetriesAsThePageAsks: what may heal is tried five times, 2, 6, 14 and 30 s apart or a
// fifth beside it; what is a mistake is not.
func TestRetriesAsThePageAsks(t *testing.T) {
	for name, c := range map[string]struct {
		list     []answer
		attempts int
		ok       bool
		refused  bool
	}{
		"at once":           {[]answer{good}, 1, true, false},
		"updating":          {[]answer{{status: 404}, {status: 410}, good}, 3, true, false},
		"throttled":         {[]answer{{status: 429}, good}, 2, true, false},
		"ill":               {[]answer{{status: 500}, {status: 503}, {err: errors.New("reset")}, {status: 502}, good}, 5, true, false},
		"ill for long":      {[]answer{{status: 500, body: canary}}, 5, false, false},
		"a mistake":         {[]answer{{status: 400, body: `{"error":"invalid_resource","error_description":"` + canary + `"}`}}, 1, false, true},
		"nobody's":          {[]answer{{status: 401}}, 1, false, true},
		"sent elsewhere":    {[]answer{{status: 302}}, 1, false, true},
		"no token in it":    {[]answer{{status: 200, body: `{"access_token":""}`}}, 5, false, false},
		"a token that ends": {[]answer{{status: 200, body: `{"access_token":"a","expires_on":"1"}`}}, 5, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			net := &answers{list: c.list}
			m := New("", net)
			got, err := m.Token(t.Context(), "https://graph.microsoft.com", "id-1")
			if (err == nil) != c.ok || len(net.at) != c.attempts || err != nil && (Refused(err) != c.refused || strings.Contains(err.Error(), canary)) {
				t.Errorf("%s: %v after %d attempts", name, err, len(net.at))
			}
			if c.ok && (got.Value != canary || got.Life != 3599*time.Second) {
				t.Errorf("%s: %v", name, got.Life)
			}
			for i := range net.at[1:] {
				if apart, want := net.at[i+1].Sub(net.at[i]), pauses[i]; apart < want*4/5 || apart > want*6/5 {
					t.Errorf("%s: attempt %d came %s after the one before, wanted about %s", name, i+2, apart, want)
				}
			}
			r := net.seen[0]
			if r.Header.Get("Metadata") != "true" || r.URL.String() != DefaultURL+"/metadata/identity/oauth2/token?api-version=2018-02-01&client_id=id-1&resource=https%3A%2F%2Fgraph.microsoft.com" {
				t.Errorf("it asked %s with %v", r.URL, r.Header)
			}
		})
	}
}

func TestAMachineThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		begun, net := time.Now(), &answers{list: []answer{{status: 404}}}
		if _, err := New("", net).Token(ctx, "r", ""); err == nil || time.Since(begun) > 9*time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}

// TestWithASimulatedMachine: over real HTTP, with a service that is particular.
func TestWithASimulatedMachine(t *testing.T) {
	vm, err := machine.Start(t.Context(), machine.Config{Name: "emea-1", Tokens: func(id string) (string, bool) { return canary, id == "mine" }})
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	m := New(vm.URL(), nil)
	defer m.Close()
	if name, err := m.Name(t.Context()); err != nil || name != "emea-1" {
		t.Errorf("it is called %q, %v", name, err)
	}
	if got, err := m.Token(t.Context(), "https://graph.microsoft.com", "mine"); err != nil || got.Value != canary || got.Life < time.Hour-time.Minute {
		t.Errorf("a token for %s, %v", got.Life, err)
	}
	if _, err := m.Token(t.Context(), "https://graph.microsoft.com", ""); !Refused(err) || !strings.Contains(err.Error(), "400 (invalid_request)") {
		t.Errorf("an identity that it has not: %v", err)
	}
	at := time.Date(2026, 11, 29, 18, 29, 47, 0, time.UTC)
	vm.Announce(machine.Event{ID: "e1", EventType: "Freeze", NotBefore: at.Format(http.TimeFormat), Description: "Host\nserver", DurationInSeconds: 9})
	vm.Announce(machine.Event{ID: "e2", EventType: "Reboot", Resources: []string{"other_1"}, EventSource: "User", DurationInSeconds: -1})
	all, err := m.Events(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	if e := all[0]; e.ID != "e1" || e.Type != Freeze || e.Status != "Scheduled" || e.Source != "Platform" || !e.NotBefore.Equal(at) || e.Duration != 9*time.Second || e.Description != "Host server" || !e.For("EMEA-1") || e.For("emea-10") {
		t.Errorf("%+v", e)
	}
	if e := all[1]; e.For("emea-1") || e.Source != "User" || e.Duration >= 0 || !e.NotBefore.IsZero() {
		t.Errorf("%+v", e)
	}
	if err := m.Begin(t.Context(), "e1"); err != nil {
		t.Error(err)
	}
	if err := m.Begin(t.Context(), "e9"); err == nil {
		t.Error("an event that is none may begin")
	}
	if got := vm.Begun(); len(got) != 1 || got[0] != "e1" {
		t.Errorf("these may begin: %v", got)
	}
	if all, err = m.Events(t.Context()); err != nil || all[0].ID != "e2" && all[0].Status != Started {
		t.Errorf("%+v, %v", all, err)
	}
	vm.Fail(http.StatusInternalServerError)
	if _, err := m.Events(t.Context()); err == nil || !strings.Contains(err.Error(), "it answered 500") {
		t.Errorf("%v", err)
	}
}

// FuzzAnswers: whatever a metadata service answers, what is made of it stays within bounds
// and is fit for logs.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{good.body, `{"access_token":"a","expires_in":3599}`, `{"access_token":"a","expires_in":-1}`, `{"access_token":"a","expires_in":1e300}`, `{"access_token":"a","expires_on":"99999999999999999999"}`,
		`{"Events":[{"EventId":"1","EventType":"Freeze","NotBefore":"Mon, 19 Sep 2016 18:29:47 GMT","Resources":["a"],"DurationInSeconds":9223372036854775807}]}`, `{"Events":[{"EventId":"\u0000","EventType":"\n","Description":"é"}]}`, `{"error":"x"}`, `[]`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if got, err := readToken(body, time.Unix(1796040000, 0)); err == nil && (got.Value == "" || got.Life < 0) {
			t.Errorf("%+v", got)
		}
		all, err := readEvents(body)
		if err == nil && len(all) > maxEvents {
			t.Errorf("%d events", len(all))
		}
		for _, e := range all {
			for _, text := range []string{e.ID, e.Type, e.Status, e.Source, e.Description} {
				if len(text) > maxText || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
					t.Errorf("%q", text)
				}
			}
			if e.Duration > 24*time.Hour {
				t.Errorf("%+v", e)
			}
		}
		if code := codeOf(body); len(code) > 40 {
			t.Errorf("%q", code)
		}
	})
}
