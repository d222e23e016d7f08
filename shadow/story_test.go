package shadow

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/graphsim"
	"tandem/token"
)

const demoApp = "0efc74f7-41c3-47a4-8775-7259bfef4241"

// estate is what a team has today: three instances of a bot behind one ingress, which knows
// every call's instance, and is wrong where it is told to be. It notes each wrong.
type estate struct {
	t     *testing.T
	cloud *graphsim.Cloud
	back  string // where the callback URIs lead: the shadow
	token string
	clock *atomic.Int64 // what the shadow's clock is ahead, in nanoseconds

	mu     sync.Mutex
	calls  map[string]*estateCall
	lateBy time.Duration // before each answer

	misrouted, twice, elsewhere, wrongHandshakes, handshakes, late int
	lost, moved                                                    map[string]bool
}

type estateCall struct {
	number  int // in the order in which they rang
	home    string
	handled map[string]string // message to the instance that handled it
	strayed bool
}

func (e *estate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var in struct {
		Value []struct {
			ChangeType, Resource, ResourceURL string
			ResourceData                      json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &in); err != nil {
		w.WriteHeader(400)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if in.Value == nil {
		e.handshakes++
		if e.handshakes%4 == 0 {
			e.wrongHandshakes++
			w.WriteHeader(200)
			return
		}
		w.WriteHeader(204)
		return
	}
	n := in.Value[0]
	_, path, _ := strings.Cut(n.Resource+n.ResourceURL, "/calls/")
	id, _, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(path, "-", "")), "/")
	id = id[:32]
	var data struct{ State string }
	_ = json.Unmarshal(n.ResourceData, &data) // a roster is a list, and has none
	k, known := e.calls[id]
	if !known {
		k = &estateCall{number: len(e.calls), home: instanceOf(id), handled: map[string]string{}}
		e.calls[id] = k
	}
	at, status := k.home, 202
	switch incoming := strings.EqualFold(data.State, "incoming"); {
	case !known && incoming:
		e.answer(id)
	case k.number%5 == 1 && strings.EqualFold(data.State, "established") && !k.strayed:
		k.strayed = true
		at = other(k.home)
	case k.number%5 == 3 && data.State == "":
		status = 503
		e.lost[id] = true
	}
	message := r.Header.Get("X-Microsoft-Skype-Message-Id")
	switch before, again := k.handled[message]; {
	case status == 202 && again:
		e.twice++
		if before != at {
			e.elsewhere++
		}
	case status == 202:
		k.handled[message] = at
	}
	if at != k.home {
		e.misrouted++
		e.moved[id] = true
	}
	w.Header().Set("X-Served-By", at)
	w.WriteHeader(status)
}

func instanceOf(id string) string {
	h := fnv.New32a()
	_, _ = io.WriteString(h, id)
	return fmt.Sprint("bot-", h.Sum32()%3)
}

func other(home string) string {
	return map[string]string{"bot-0": "bot-1", "bot-1": "bot-2", "bot-2": "bot-0"}[home]
}

// answer answers a call as bots do, past the ingress. Late ones are so by the shadow's clock.
func (e *estate) answer(id string) {
	if e.lateBy > 0 {
		e.clock.Add(int64(e.lateBy))
		e.late++
	}
	body := fmt.Sprintf(`{"callbackUri":%q,"acceptedModalities":["audio"],"mediaConfig":{"@odata.type":"#microsoft.graph.serviceHostedMediaConfig"}}`, e.back+"/api/calls")
	r := request(e.t, http.MethodPost, e.cloud.GraphURL()+"/communications/calls/"+id+"/answer", strings.NewReader(body), "Authorization", "Bearer "+e.token)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		e.t.Errorf("answering: %v", err)
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 202 {
		e.t.Errorf("the answer was answered with %d", resp.StatusCode)
	}
}

// TestTheReportHasExactlyWhatWasInjected: the simulated cloud calls an estate that misroutes,
// loses, doubles and is late where it is told to; the shadow between them saw just that.
func TestTheReportHasExactlyWhatWasInjected(t *testing.T) {
	rates := graphsim.Kind()
	rates.Legacy, rates.Recording, rates.Duplicate, rates.Undashed, rates.OneResource, rates.Swapped = 0.3, 0.2, 0.2, 0.3, 0.5, 0.25
	cloud, err := graphsim.Start(t.Context(), graphsim.Config{
		Seed: 7, Rates: &rates, Switches: graphsim.Switches{KeepKey: true},
		Timings: graphsim.Timings{TalkMin: time.Millisecond, TalkMax: 20 * time.Millisecond, Attempts: 2, Backoff: time.Millisecond, Grace: time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	e := &estate{t: t, cloud: cloud, clock: new(atomic.Int64), calls: map[string]*estateCall{}, lost: map[string]bool{}, moved: map[string]bool{}}
	tokens := verifier(t, cloud)
	p, s := front(t, e.ServeHTTP, func(c *ProxyConfig) {
		c.Tokens = tokens
		c.Now = func() time.Time { return time.Now().Add(time.Duration(e.clock.Load())) }
	})
	e.back, e.token = s.URL, grant(t, cloud)
	if err := cloud.SetTargets([]graphsim.Target{{Region: "emea", Node: "front", URL: s.URL}}); err != nil {
		t.Fatal(err)
	}
	run := func(load graphsim.Load) {
		t.Helper()
		if err := cloud.Run(t.Context(), load); err != nil {
			t.Fatal(err)
		}
		settle, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := cloud.Settle(settle); err != nil {
			t.Fatal(err)
		}
	}
	run(graphsim.Load{Rate: 200, MaxCalls: 60})
	e.mu.Lock()
	e.lateBy = 16 * time.Second
	e.mu.Unlock()
	run(graphsim.Load{Rate: 1000, MaxCalls: 5, MaxLive: 1}) // one after the other: the clock is everybody's
	stranger, err := cloud.Mint(graphsim.TokenOptions{Key: graphsim.KeyStranger})
	if err != nil {
		t.Fatal(err)
	}
	do(t, request(t, http.MethodPost, s.URL+"/api/calls", strings.NewReader(`{"value":[{"resource":"/app/calls/`+strings.Repeat("f", 32)+`"}]}`), "Authorization", "Bearer "+stranger))
	p.Close() // judges what waits
	e.clock.Add(int64(10 * time.Minute))
	r := p.Report()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.calls, strings.Repeat("f", 32)) // what no token spoke for is no call
	if e.misrouted == 0 || e.twice == 0 || e.elsewhere == 0 || e.wrongHandshakes == 0 || e.late == 0 || len(e.lost) == 0 {
		t.Fatalf("too little was injected: %+v", e)
	}
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"calls", r.Calls, len(e.calls)}, {"misrouted", r.Misrouted, e.misrouted}, {"calls of these", r.MisroutedCalls, len(e.moved)}, {"handled twice", r.HandledTwice, e.twice},
		{"by another", r.HandledTwiceElsewhere, e.elsewhere}, {"late", r.AnsweredLate, e.late}, {"in time", r.AnsweredInTime, len(e.calls) - e.late},
		{"lost", r.LostCalls, len(e.lost)}, {"wrong handshakes", r.HandshakesWrong["200"], e.wrongHandshakes}, {"handshakes", r.Tandem.Handshakes, e.handshakes},
		{"refused tokens", r.Tandem.Refused[string(token.CodeBadSignature)], 1}, {"handled all the same", r.RefusedButHandled, 1},
		{"unanswered, never taken, unseen", r.Unanswered + r.NeverTaken + r.BeginningUnseen, 0}, {"unjudged", r.Unjudged.NoInstance + r.Unjudged.Cut + int(r.Unjudged.Dropped+r.Unjudged.Crashed), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: the report has %d, there were %d", c.what, c.got, c.want)
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for id := range e.calls {
		if bytes.Contains(bytes.ReplaceAll(text, []byte("-"), nil), []byte(id)) {
			t.Error("a call's id is in the report")
		}
	}
}

// verifier verifies the simulated cloud's tokens.
func verifier(t *testing.T, cloud *graphsim.Cloud) *token.Verifier {
	t.Helper()
	v, err := token.New(t.Context(), token.Config{Profiles: []token.Profile{{
		Name: "simulated", OpenIDURL: []string{cloud.OpenIDURL()}, Issuers: []string{graphsim.IssuerBotFramework, graphsim.IssuerGraph},
	}}}, []token.App{{ID: demoApp, Profile: "simulated"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	if err := v.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v
}

// grant gets a token of the calls API.
func grant(t *testing.T, cloud *graphsim.Cloud) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {demoApp}, "client_secret": {"secret"}}
	_, text := do(t, request(t, http.MethodPost, cloud.TokenURL(), strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded"))
	var granted struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(text), &granted); err != nil {
		t.Fatal(err)
	}
	return granted.AccessToken
}

// TestARunReports: on its page, in its file when asked, and in words at the end.
func TestARunReports(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Served-By", "<b>&"+r.Header.Get("X-At"))
	}))
	defer behind.Close()
	to, _ := url.Parse(behind.URL)
	var out bytes.Buffer
	ask, ready, ended := make(chan os.Signal), make(chan [2]string, 1), make(chan error, 1)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	c := Config{
		ProxyConfig: ProxyConfig{Upstreams: []Upstream{{URL: to}}, Tokens: believing{}, Instance: Source{byHeader, "X-Served-By"}},
		Listen:      "127.0.0.1:0", PageAt: "127.0.0.1:0", File: filepath.Join(t.TempDir(), "report.json"), Out: &out, Ask: ask,
		Ready: func(listen, page net.Addr) {
			ready <- [2]string{"http://" + listen.String(), "http://" + page.String()}
		},
	}
	go func() { ended <- Run(ctx, c) }()
	at := <-ready
	post(t, at[0], incoming("c1"), "X-At", "1")
	post(t, at[0], update("c1"), "X-At", "2")
	until(t, "the page shows it", func() bool {
		_, text := do(t, request(t, http.MethodGet, at[1]+"/", nil))
		return strings.Contains(text, "1 notifications of 1 calls") && strings.Contains(text, "&lt;b&gt;&amp;1") && !strings.Contains(text, "<b>")
	})
	_, text := do(t, request(t, http.MethodGet, at[1]+"/report.json", nil))
	var r Report
	if err := json.Unmarshal([]byte(text), &r); err != nil || r.Misrouted != 1 || len(r.Examples) != 1 || !strings.HasPrefix(r.Examples[0].Call, "h.") {
		t.Errorf("%s: %v", text, err)
	}
	ask <- os.Interrupt
	until(t, "the file is there", func() bool { _, err := os.Stat(c.File); return err == nil })
	end()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(c.File)
	if err != nil || json.Unmarshal(written, &r) != nil || r.Calls != 1 {
		t.Errorf("%s: %v", written, err)
	}
	for _, part := range []string{"misrouted            1 notifications of 1 calls (Tandem: each goes", "instance <b>&2       took 0 calls, got 1 later"} {
		if strings.Count(out.String(), part) != 2 {
			t.Errorf("the output has %q not twice:\n%s", part, &out)
		}
	}
}
