package webhook

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
	"tandem/policy"
)

// TestTheDoorRemembersWhatRang: new calls, each once, as far as the rules could see them;
// not those that another region sent, nor what explain asks about; and other rules are
// held against them.
func TestTheDoorRemembersWhatRang(t *testing.T) {
	_, emea, amer := twoRegions(t, setup{rules: toAmer})
	nd := emea.nodes["emea-1"]
	fromDE := `"source":{"countryCode":"DE"}`
	follow(t, nd.url+hookPath, incoming("c1", fromUS), 5) // it goes to amer
	post(t, nd.url+hookPath, incoming("c1", fromUS))      // again
	post(t, nd.url+hookPath, incoming("c2", fromDE))
	post(t, nd.url+hookPath, incoming("c3", fromDE))
	post(t, nd.url+hookPath, update("c3"))
	nd.door.Explain(t.Context(), ownership.Supposed{Body: []byte(incoming("c4"))})

	candidate, err := policy.ReadDocument([]byte(`{"rules": [{"when": "call.source.countryCode == \"DE\"", "region": "amer"}], "pins": [{"when": "true", "zone": "a"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	d := nd.door.Diff(candidate)
	if d.Recorded != 3 || d.Elsewhere != 3 || d.Repinned != 3 || d.Failing != 0 || len(d.Examples) != 3 || len(d.Routes) != 2 || d.Since.IsZero() {
		t.Errorf("the difference is %+v", d)
	}
	if e := d.Examples[0]; e.Call != "c3" || e.From != "emea" || e.To != "amer" || !strings.HasPrefix(e.Why, "region rule 1 matches") {
		t.Errorf("the newest example is %+v", e)
	}
	if d := amer.nodes["amer-1"].door.Diff(candidate); d.Recorded != 0 {
		t.Errorf("amer remembers %+v", d)
	}
	if same := nd.door.Diff(mustDocument(t, toAmer)); same.Recorded != 3 || same.Elsewhere != 0 || len(same.Examples) != 0 {
		t.Errorf("by the same rules it is %+v", same)
	}
}

func mustDocument(t *testing.T, rules []policy.RuleSpec) *policy.Compiled {
	t.Helper()
	c, err := policy.CompileDocument(policy.Document{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestI9_WhatTheDoorRemembersIsBounded: by number, and by the bytes of its facts.
func TestI9_WhatTheDoorRemembersIsBounded(t *testing.T) {
	var tr traffic
	call := func(i int) ownership.CallID { return ownership.CallID(fmt.Sprintf("call-%09d", i)) }
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 3 * trafficCalls {
		tr.note(at, call(i), policy.Facts{Tenant: "t"}, "")
	}
	if n := len(tr.all()); n != trafficCalls || len(tr.known) != n || tr.all()[0].call != call(2*trafficCalls) {
		t.Errorf("%d calls are remembered, %d known", n, len(tr.known))
	}
	long := strings.Repeat("x", 4096)
	for i := range 3 * trafficCalls {
		tr.note(at, call(i+1e6), policy.Facts{Thread: long}, "")
	}
	if n := len(tr.all()); tr.bytes > trafficBytes || n < trafficBytes/len(long)/2 || n >= trafficCalls || len(tr.known) != n {
		t.Errorf("%d calls with %d bytes are remembered, %d known", n, tr.bytes, len(tr.known))
	}
	tr.note(at, "huge", policy.Facts{Thread: strings.Repeat("x", trafficBytes+1)}, "")
	if tr.known["huge"] {
		t.Error("a call beyond all bounds is remembered")
	}
}

// TestTryHasNoEffect: other rules are tried without putting them in force.
func TestTryHasNoEffect(t *testing.T) {
	nd := oneNode(t, setup{})
	hard := mustDocument(t, []policy.RuleSpec{{When: "true", Region: "apac", Residency: "hard"}})
	x := nd.door.Try(t.Context(), ownership.Supposed{Body: []byte(incoming("c1")), App: ourApp, Tenant: ourTenant}, hard)
	if x.Response.Status != http.StatusServiceUnavailable || x.Calls[0].Region.Step != policy.StepRefuse {
		t.Errorf("by the candidate it is %+v", x)
	}
	if a := nd.door.Explain(t.Context(), ownership.Supposed{Body: []byte(incoming("c1")), App: ourApp, Tenant: ourTenant}); a.Calls[0].Region.Step != policy.StepHere {
		t.Errorf("the candidate is in force: %+v", a)
	}
}

// TestADryRunIsWhatThenHappens: an hour's calls, replayed after the change, go where the
// difference said, by number and reason, while the regions are as they were.
func TestADryRunIsWhatThenHappens(t *testing.T) {
	w, emea, _ := twoRegions(t, setup{rules: toAmer})
	nd := emea.nodes["emea-1"]
	r := rand.New(rand.NewPCG(7, 7))
	countries := []string{"US", "CA", "DE", "HU", "FR", ""}
	var calls []string // what each says of its source
	for range 600 {
		calls = append(calls, fmt.Sprintf(`"source":{"countryCode":%q}`, countries[r.IntN(len(countries))]))
	}
	posted := 0
	replay := func() map[string]int {
		went := map[string]int{}
		for _, source := range calls {
			posted++
			a := post(t, nd.url+hookPath, incoming(fmt.Sprintf("c%04d", posted), source))
			switch {
			case a.status == http.StatusFound && !strings.HasPrefix(a.location(), emea.nodes["emea-1"].url) && !strings.HasPrefix(a.location(), emea.nodes["emea-2"].url):
				went["amer"]++
			case a.status == http.StatusFound, a.status == http.StatusAccepted:
				went["emea"]++
			default:
				went[fmt.Sprint(a.status)]++
			}
		}
		return went
	}
	before := replay()
	candidate, err := policy.ReadDocument([]byte(`
rules:
  - {when: 'call.source.countryCode == "HU"', region: emea, residency: hard}
  - {when: 'call.source.countryCode in ["US", "CA"]', region: amer}
  - {when: 'call.source.countryCode == "FR"', region: emea, here: force}
evacuated: {emea: {to: [amer]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, down := range []bool{false, true} {
		w.fell("amer", down)
		says, of := map[string]int{}, map[string]int{}
		for _, route := range nd.door.Diff(candidate).Routes {
			says[string(route.To)] += route.Calls
			of[string(route.From)] += route.Calls
		}
		if !down && (of["amer"] != before["amer"] || of["emea"] != before["emea"]) {
			t.Errorf("they went %v, and are remembered as %v", before, of)
		}
		nd.door.SetPolicy(candidate.Rules, candidate.Pins)
		if went := replay(); went["amer"] != says["amer"] || went["emea"] != says["emea"] || went["amer"]+went["emea"] != len(calls) || down == (went["amer"] > 0) {
			t.Errorf("amer is down: %v; the dry run said %v, they went %v", down, says, went)
		}
		nd.door.SetPolicy(mustRules(t, toAmer...), nil)
		nd.door.traffic = traffic{} // the next round remembers its own
		w.fell("amer", false)
		replay()
	}
}
