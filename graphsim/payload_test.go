package graphsim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// bodies writes one of everything, for some seeds.
func bodies(t *testing.T, each func(name, body string)) {
	t.Helper()
	for seed := range uint64(20) {
		cfg, err := Config{Seed: seed}.filled()
		if err != nil {
			t.Fatal(err)
		}
		keys, err := newKeyRing("")
		if err != nil {
			t.Fatal(err)
		}
		c := &Cloud{cfg: cfg, keys: keys, places: &places{}, ledger: newLedger()}
		k := c.newCall(draft{recording: seed%2 == 0, paired: seed%4 == 0, origin: nearby("apac"), thread: fmt.Sprintf("19:meeting_%d@thread.v2", seed)})
		each("incoming", c.incoming(k))
		each("legacy", legacy(k))
		for name, it := range map[string]item{
			"established": stateItem(k, "established"), "tone": toneItem(k, 3), "roster": rosterItem(k, 2),
			"delta roster": deltaRosterItem(k, 9), "sharing": sharingItem(k), "operation": operationItem(k),
			"joining": joiningItem(k), "end": endItem(k, "over"),
		} {
			each(name, c.envelope(k.dice, it, stateItem(k, "establishing")))
		}
	}
}

func TestEveryBodyIsJSONWithACallID(t *testing.T) {
	shapes := map[string]bool{}
	bodies(t, func(name, body string) {
		var in struct {
			CallState string `json:"callState"`
			Value     []struct {
				ChangeType, Resource, ResourceURL string
				ResourceData                      any
			} `json:"value"`
		}
		if err := json.Unmarshal([]byte(body), &in); err != nil {
			t.Fatalf("%s: %v in %s", name, err, body)
		}
		if name == "legacy" {
			if in.Value != nil || in.CallState != "incoming" {
				t.Errorf("legacy: %s", body)
			}
			return
		}
		for _, v := range in.Value {
			at := v.ResourceURL
			shapes["capital "+fmt.Sprint(strings.ToLower(v.ChangeType) != v.ChangeType)] = true
			shapes[fmt.Sprintf("data %T", v.ResourceData)] = true
			switch {
			case at == "":
				at = v.Resource
				shapes["resource only"] = true
			case v.Resource == "":
				shapes["resourceUrl only"] = true
			default:
				shapes["both"] = true
			}
			_, id, ok := strings.Cut(at, "/calls/")
			id, _, _ = strings.Cut(id, "/")
			shapes["dashed "+fmt.Sprint(strings.Contains(id, "-"))] = true
			if !ok || len(normal(id)) != 32 {
				t.Errorf("%s: no call id in %q", name, at)
			}
		}
	})
	for _, want := range []string{
		"capital true", "capital false", "data map[string]interface {}", "data []interface {}", "data <nil>",
		"resource only", "resourceUrl only", "both", "dashed true", "dashed false",
	} {
		if !shapes[want] {
			t.Errorf("no body had the shape %q", want)
		}
	}
}

func TestTheSameSeedTellsTheSameStory(t *testing.T) {
	var first, second []string
	bodies(t, func(_, body string) { first = append(first, body) })
	bodies(t, func(_, body string) { second = append(second, body) })
	// The items of one seed come in the order of a map, so compare the first bodies only.
	if len(first) == 0 || first[0] != second[0] || first[1] != second[1] {
		t.Fatal("two runs of one seed differ")
	}
}

func TestPlaces(t *testing.T) {
	p := &places{
		targets: []Target{
			{Region: "emea", Node: "emea-1", URL: "http://127.0.0.1:1"},
			{Region: "emea", Node: "emea-2", URL: "http://127.0.0.1:2"},
			{Region: "amer", Node: "amer-1", URL: "http://127.0.0.1:3/in/"},
		},
		regions: map[string]string{"emea": "https://emea.bot", "amer": "https://bot/amer"},
	}
	for _, tc := range []struct {
		raw    string
		kind   hopKind
		region string
		node   string // empty: any
		suffix string
	}{
		{"http://127.0.0.1:2/api/calls?x=1", hopNode, "emea", "emea-2", "/api/calls?x=1"},
		{"https://bot/amer/api/calls/amer/1/1/r?s=1", hopRegion, "amer", "amer-1", ":3/in/api/calls/amer/1/1/r?s=1"},
		{"https://emea.bot/api/calls", hopRegion, "emea", "", "/api/calls"},
		{"https://emea.bot.evil.example/api/calls", hopStray, "", "", ""},
		{"http://127.0.0.1:22/api/calls", hopStray, "", "", ""},
		{"https://bot/americas", hopStray, "", "", ""},
	} {
		got := p.resolve(tc.raw, newDice(1, 1))
		if got.kind != tc.kind || got.region != tc.region || tc.node != "" && got.node != tc.node || !strings.HasSuffix(got.url, tc.suffix) {
			t.Errorf("%s resolves to %+v", tc.raw, got)
		}
		if (tc.kind == hopRegion) != (got.name != "") {
			t.Errorf("%s: the Host header is %q", tc.raw, got.name)
		}
	}
	if at := p.elsewhere(p.resolve("https://emea.bot/api/calls/emea/1/1/r?s=1", newDice(1, 1)), newDice(1, 1)); at.node != "amer-1" ||
		at.url != "http://127.0.0.1:3/in/api/calls/emea/1/1/r?s=1" || at.name != "emea.bot" {
		t.Errorf("astray it resolves to %+v", at)
	}
	count := map[string]int{}
	d := newDice(1, 1)
	for range 1000 {
		t, _ := p.pick("emea", d)
		count[t.Node]++
	}
	if count["amer-1"] > 0 || count["emea-1"] <= count["emea-2"] {
		t.Errorf("the spread is not skewed: %v", count)
	}
	if _, ok := (&places{}).pick("emea", d); ok {
		t.Error("no node, and still one was picked")
	}
}

func TestConfigsThatAreRefused(t *testing.T) {
	for name, cfg := range map[string]Config{
		"region URL": {RegionURLs: map[string]string{"emea": "emea.bot"}},
		"target URL": {Targets: []Target{{Region: "emea", Node: "n", URL: "%zz"}}},
		"listen":     {Listen: "127.0.0.1:-1"},
	} {
		if c, err := Start(t.Context(), cfg); err == nil {
			c.Close()
			t.Errorf("%s: started", name)
		}
	}
	cloud, _ := start(t, Config{})
	for name, load := range map[string]Load{"no end": {Rate: 1}, "no rate": {MaxCalls: 1}, "no node": {Rate: 1, MaxCalls: 1}} {
		if err := cloud.Run(t.Context(), load); err == nil {
			t.Errorf("%s: it ran", name)
		}
	}
}

func TestWatchAndTheEndsOfARun(t *testing.T) {
	timings := quick()
	timings.TalkMin, timings.TalkMax = time.Hour, time.Hour
	rates := Kind()
	cloud, _ := startToy(t, "", Config{Timings: timings, Rates: &rates})
	ctx, cancel := context.WithCancel(t.Context())
	happenings := cloud.Watch(ctx)
	if err := cloud.Run(ctx, Load{Rate: 500, MaxCalls: 5}); err != nil {
		t.Fatal(err)
	}
	for h := range happenings {
		if strings.HasPrefix(h.What, "answered in") {
			break
		}
	}
	cancel()
	if err := cloud.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range happenings { // it is closed by the end of its context
	}
	if r := cloud.Report(); r.Abandoned != 5 || r.Lost > 0 || r.AnsweredLate > 0 {
		explain(t, r)
		t.Error("calls that were cut off were judged")
	}
	cloud.Close()
	if _, open := <-cloud.Watch(t.Context()); open {
		t.Error("a closed cloud has happenings")
	}
	if err := cloud.Run(t.Context(), Load{Rate: 500, MaxCalls: 1}); err == nil {
		t.Error("a closed cloud made calls")
	}
}

func TestACallWithoutKeepAliveEnds(t *testing.T) {
	timings := quick()
	timings.TalkMin, timings.TalkMax, timings.KeepAlive = 2*time.Second, 2*time.Second, time.Millisecond
	rates := Kind()
	cloud, _ := startToy(t, "", Config{Timings: timings, Rates: &rates})
	if r := drive(t, cloud, 3); !r.OK() || r.NotificationsSent > 3*5 {
		explain(t, r)
		t.Fatal("the calls went on without keepAlive")
	}
}

func TestAnOutgoingCallBeginsWithAnUpdate(t *testing.T) {
	rates := Kind()
	cloud, toy := startToy(t, "", Config{Timings: quick(), Rates: &rates})
	client := toy.client
	body := fmt.Sprintf(`{"callbackUri":%q}`, toy.callback(toy.nodes[0], 1))
	url := cloud.GraphURL() + "/communications/calls"
	if status, _, _ := fetch(t, client, http.MethodPost, url, "guess", body); status != http.StatusUnauthorized {
		t.Errorf("without a bearer: %d", status)
	}
	// The toy finds owners by calls it has seen ring; hold the story until it knows this one.
	toy.mu.Lock()
	status, text, _ := fetch(t, client, http.MethodPost, url, toy.token, body)
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(text), &made); err != nil || status != http.StatusCreated {
		t.Fatalf("%d %s: %v", status, text, err)
	}
	toy.calls[normal(made.ID)] = &toyCall{owner: toy.nodes[0], replies: map[string]reply{}}
	toy.mu.Unlock()
	if err := cloud.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := cloud.Report()
	if r.Calls != 0 || r.NotificationsHandled < 4 || r.NotificationsHandled != r.NotificationsSent {
		explain(t, r)
		t.Error("the outgoing call's notifications were not handled")
	}
}

func TestTheBotRejects(t *testing.T) {
	rates := Kind()
	rates.Rejects = 0.5
	cloud, _ := startToy(t, "", Config{Timings: quick(), Rates: &rates, Answering: AnswerByBot})
	if r := drive(t, cloud, 40); !r.OK() || r.Rejected == 0 || r.Rejected+r.Answered != 40 {
		explain(t, r)
		t.Fatal("rejecting went wrong")
	}
}

func TestTheBotsHealth(t *testing.T) {
	cloud, client := start(t, Config{Capacity: 10})
	bot := cloud.Bot("emea-1")
	if status, text, _ := fetch(t, client, http.MethodGet, bot.HealthURL, "", ""); status != 200 || !strings.Contains(text, `"load":0`) {
		t.Errorf("healthy: %d %s", status, text)
	}
	bot.SetDraining(true)
	if _, text, _ := fetch(t, client, http.MethodGet, bot.HealthURL, "", ""); !strings.Contains(text, `"draining":true`) {
		t.Errorf("draining: %s", text)
	}
	bot.SetSick(true)
	if status, _, _ := fetch(t, client, http.MethodGet, bot.HealthURL, "", ""); status != 500 {
		t.Errorf("sick: %d", status)
	}
	if bot.Live() != 0 || cloud.Bot("emea-1") != bot {
		t.Error("there is one bot a node")
	}
}
