package webhook

import (
	"strings"
	"testing"
	"time"

	"tandem/ownership"
	"tandem/policy"
)

var toAmer = []policy.RuleSpec{{When: `call.source.countryCode in ["US", "CA"]`, Region: "amer"}}

const fromUS = `"source":{"countryCode":"US","region":"amer"}`

// twoRegions starts emea and amer with the same rules.
func twoRegions(t *testing.T, s setup) (w *world, emea, amer *region) {
	t.Helper()
	w = newWorld()
	return w, newRegion(t, w, "emea", 2, s), newRegion(t, w, "amer", 2, s)
}

// TestRegionRedirect: one hop to the home region, one to the owner's node, and
// the clock of the first node goes with it.
func TestRegionRedirect(t *testing.T) {
	_, emea, amer := twoRegions(t, setup{rules: toAmer})
	amer.place = func(ownership.Claim) ownership.PartitionID { return 2 }
	start := time.Now()
	all := follow(t, emea.nodes["emea-1"].url+hookPath, incoming("c1", fromUS), 5)
	if len(all) != 3 || all[0].status != 302 || all[1].status != 302 || all[2].status != 202 {
		t.Fatalf("%+v", all)
	}
	if !strings.HasPrefix(all[0].location(), amer.nodes["amer-1"].url+hookPath+"?h=r.") || !strings.Contains(all[1].location(), "&h=rn.") {
		t.Errorf("Locations: %s, %s", all[0].location(), all[1].location())
	}
	emea.untouched(t)
	got, claims := amer.nodes["amer-2"].handed(), amer.claimed()
	if len(got) != 1 || len(claims) != 1 {
		t.Fatalf("%d hand-overs, %d claims", len(got), len(claims))
	}
	if got[0].Received.UnixMilli() != claims[0].Received.UnixMilli() || got[0].Received.Sub(start) > time.Second {
		t.Errorf("the first node saw it at %s", got[0].Received)
	}
}

// TestRegionStays lists when no region redirect happens.
func TestRegionStays(t *testing.T) {
	hard := []policy.RuleSpec{{When: `call.source.countryCode == "US"`, Region: "amer", Residency: "hard"}}
	for _, c := range []struct {
		name string
		s    setup
		down bool
		call string
		want int
	}{
		{"no rule matches", setup{rules: toAmer}, false, incoming("c1", `"source":{"countryCode":"HU"}`), 202},
		{"no source at all", setup{rules: toAmer}, false, incoming("c1"), 202},
		{"home region down, soft", setup{rules: toAmer}, true, incoming("c1", fromUS), 202},
		{"home region down, hard", setup{rules: hard}, true, incoming("c1", fromUS), 503},
		{"home region unknown, soft", setup{rules: []policy.RuleSpec{{When: "true", Region: "apac"}}}, false, incoming("c1"), 202},
		{"home region unknown, hard", setup{rules: []policy.RuleSpec{{When: "true", Region: "apac", Residency: "hard"}}}, false, incoming("c1"), 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, emea, _ := twoRegions(t, c.s)
			w.mu.Lock()
			w.down["amer"] = c.down
			w.mu.Unlock()
			a := post(t, emea.nodes["emea-1"].url+hookPath, c.call)
			if a.status != c.want || a.location() != "" {
				t.Fatalf("%+v", a)
			}
			if c.want == 503 {
				emea.untouched(t)
				if a.code(t) != "region_down" {
					t.Error(a.code(t))
				}
			}
		})
	}
}

// TestKnownCallsStay: rules that changed do not move a call that has an owner.
func TestKnownCallsStay(t *testing.T) {
	_, emea, _ := twoRegions(t, setup{rules: toAmer})
	emea.knows("c1", 1, ownership.CallClaimed)
	if a := post(t, emea.nodes["emea-1"].url+hookPath, incoming("c1", fromUS)); a.status != 202 {
		t.Errorf("%+v", a)
	}
}

// TestRegionsWithDifferentRules cannot play ball with a call: each thinks that
// the other is its home.
func TestRegionsWithDifferentRules(t *testing.T) {
	w := newWorld()
	emea := newRegion(t, w, "emea", 1, setup{rules: []policy.RuleSpec{{When: "true", Region: "amer"}}})
	amer := newRegion(t, w, "amer", 1, setup{rules: []policy.RuleSpec{{When: "true", Region: "emea"}}})
	all := follow(t, emea.nodes["emea-1"].url+hookPath, incoming("c1"), 5)
	if len(all) != 2 || all[1].status != 202 || len(amer.nodes["amer-1"].handed()) != 1 {
		t.Fatalf("%+v", all)
	}
	amer.nodes["amer-1"].door.SetPolicy(mustRules(t, policy.RuleSpec{When: "true", Region: "emea", Residency: "hard"}), nil)
	all = follow(t, emea.nodes["emea-1"].url+hookPath, incoming("c2"), 5)
	if len(all) != 2 || all[1].status != 503 {
		t.Fatalf("a hard rule of the target: %+v", all)
	}
}

func mustRules(t *testing.T, specs ...policy.RuleSpec) *policy.Rules {
	t.Helper()
	r, err := policy.CompileRules(specs)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSeveralCalls: a body with calls of several owners reaches each of them
// once for each call, byte for byte.
func TestSeveralCalls(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 3, setup{})
	one, two, three := r.nodes["emea-1"], r.nodes["emea-2"], r.nodes["emea-3"]
	for call, p := range map[ownership.CallID]ownership.PartitionID{"a1": 1, "b2": 2, "c3": 3, "d3": 3} {
		r.knows(call, p, ownership.CallAnswered)
	}
	r.knows("e0", 1, ownership.CallEnded)
	body := `{"value":[` + strings.Join([]string{
		entry("updated", "a1", `"state":"established"`), entry("updated", "b2", `"state":"established"`),
		entry("updated", "c3", `"state":"established"`), entry("updated", "d3", `"state":"established"`),
		entry("updated", "C-3", `"state":"hold"`), entry("updated", "e0", `"state":"established"`),
	}, ",\n") + `]}`
	a := post(t, one.url+hookPath, body)
	if a.status != 202 || a.body != "" {
		t.Fatalf("%+v", a)
	}
	for nd, want := range map[*node]int{one: 1, two: 1, three: 2} {
		got := nd.handed()
		if len(got) != want {
			t.Errorf("%s got %d, want %d", nd.id, len(got), want)
		}
		for _, h := range got {
			if string(h.Body) != body || h.MessageID != "m-1" {
				t.Errorf("%s: %+v", nd.id, h)
			}
		}
	}
	// If one of them fails, the cloud repeats, and there is a record.
	two.leaseOff = true
	if a := post(t, one.url+hookPath, body); a.status != 503 || a.code(t) != "partly_handled" {
		t.Errorf("%+v", a)
	}
	if !strings.Contains(one.log.String(), `"call":"b2"`) || one.counter(t, "tandem_webhook_partly_handled_total", "") != 1 {
		t.Error("there is no record of the call that was not handled")
	}
}

// TestSeveralCallsOfOneOwner are redirected like one.
func TestSeveralCallsOfOneOwner(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	r.place = func(ownership.Claim) ownership.PartitionID { return 2 }
	body := `{"value":[` + entry("created", "c1", `"state":"incoming"`) + "," + entry("created", "c2", `"state":"incoming"`) + `]}`
	all := follow(t, r.nodes["emea-1"].url+hookPath, body, 3)
	if len(all) != 2 || all[0].status != 302 || all[1].status != 202 || len(r.nodes["emea-2"].handed()) != 2 {
		t.Errorf("%+v", all)
	}
}

// TestTheClockAndTheRoomDecideToo: a redirect that the answer's clock has no time for is
// none, and a full region yields where its rule allows.
func TestTheClockAndTheRoomDecideToo(t *testing.T) {
	overflow := []policy.RuleSpec{{When: "true", Region: "emea", Overflow: []ownership.Region{"amer"}}}
	hard := []policy.RuleSpec{{When: "true", Region: "emea", Residency: "hard"}}
	none := 0
	for _, c := range []struct {
		name  string
		rules []policy.RuleSpec
		set   func(w *world, emea *region)
		body  string
		want  int
		why   string
	}{
		{"time enough", toAmer, func(w *world, _ *region) { w.rtt = 150 * time.Millisecond }, incoming("c1", fromUS), 302, "rule 1"},
		{"no time for the way", toAmer, func(w *world, _ *region) { w.rtt = 8 * time.Second }, incoming("c1", fromUS), 202, "only"},
		{"a follow-up has no clock", toAmer, func(w *world, _ *region) { w.rtt = 8 * time.Second }, update("c1", fromUS), 202, "rule 1"},
		{"nobody has room here", overflow, func(_ *world, emea *region) { emea.room = &none }, incoming("c1"), 302, "amer stands in"},
		{"no room, it turns out", overflow, func(_ *world, emea *region) { emea.refuse = ownership.ErrFull }, incoming("c1"), 302, "amer stands in"},
		{"no bot, it turns out", overflow, func(_ *world, emea *region) { emea.refuse = ownership.ErrNoBot }, incoming("c1"), 302, "amer stands in"},
		{"no leader is no want of room", overflow, func(_ *world, emea *region) { emea.refuse = ownership.ErrNoLeader }, incoming("c1"), 503, "could not be placed"},
		{"a follow-up does not overflow", overflow, func(_ *world, emea *region) { emea.refuse = ownership.ErrFull }, update("c1"), 503, "could not be placed"},
		{"amer is full too", overflow, func(w *world, emea *region) { emea.refuse = ownership.ErrFull; w.holds("amer", 0) }, incoming("c1"), 503, "could not be placed"},
		{"amer is down", overflow, func(w *world, emea *region) { emea.refuse = ownership.ErrFull; w.fell("amer", true) }, incoming("c1"), 503, "could not be placed"},
		{"a hard rule", hard, func(_ *world, emea *region) { emea.refuse = ownership.ErrFull }, incoming("c1"), 503, "could not be placed"},
		{"no rule", nil, func(_ *world, emea *region) { emea.refuse = ownership.ErrFull }, incoming("c1"), 503, "could not be placed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, emea, _ := twoRegions(t, setup{rules: c.rules})
			c.set(w, emea)
			one := emea.nodes["emea-1"]
			e := one.door.Explain(t.Context(), ownership.Supposed{Body: []byte(c.body), App: ourApp})
			if told := e.Calls[0].Why + " / " + e.Calls[0].Region.Why; !strings.Contains(told, c.why) {
				t.Errorf("explain says %s", told)
			}
			if a := post(t, one.url+hookPath, c.body); a.status != c.want {
				t.Errorf("%+v", a)
			}
		})
	}
}

// TestAMarkedCallOverflowsNoMore: who was sent here by a region stays.
func TestAMarkedCallOverflowsNoMore(t *testing.T) {
	_, emea, amer := twoRegions(t, setup{rules: []policy.RuleSpec{{When: "true", Region: "emea", Overflow: []ownership.Region{"amer"}}}})
	emea.refuse, amer.refuse = ownership.ErrFull, ownership.ErrFull
	if all := follow(t, emea.nodes["emea-1"].url+hookPath, incoming("c1"), 5); len(all) != 2 || all[0].status != 302 || all[1].status != 503 || all[1].code(t) != "full" {
		t.Errorf("%+v", all)
	}
}
