package webhook

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
	"tandem/policy"
)

// abroad returns the callback URI of a call of another region, at a node of this one.
func (nd *node) abroad(region ownership.Region, p ownership.PartitionID, ref string) string {
	return testKeys().CallbackURI(nd.url+hookPath, Handle{Region: region, Partition: p, Epoch: 1, Ref: ref})
}

// bodyOf makes one body of several notifications.
func bodyOf(entries ...string) string { return `{"value":[` + strings.Join(entries, ",") + `]}` }

var talks = []string{`"state":"established"`}

// TestO31_AFollowUpAtTheWrongRegion goes to the owner by relay, as the cloud sent it; the
// cloud sees one answer, the owner's bot's.
func TestO31_AFollowUpAtTheWrongRegion(t *testing.T) {
	w, emea, amer := twoRegions(t, setup{})
	amer.knows("c1", 2, ownership.CallAnswered)
	one, owner := emea.nodes["emea-1"], amer.nodes["amer-2"]
	owner.reply = func(ownership.HandOver) (ownership.Reply, error) {
		return ownership.Reply{Status: http.StatusOK, Header: map[string][]string{"X-Bot": {"yes"}}, Body: []byte("from the bot")}, nil
	}
	a := post(t, one.abroad("amer", 2, "c1"), update("c1"), header("X-Odd", "kept"), header("Tandem-Calls", "c9"))
	if a.status != http.StatusOK || a.body != "from the bot" || a.header.Get("X-Bot") != "yes" {
		t.Fatalf("%+v", a)
	}
	got, letters := owner.handed(), w.sent()
	if len(got) != 1 || string(got[0].Body) != update("c1") || got[0].MessageID != "m-1" || got[0].Header["X-Odd"][0] != "kept" {
		t.Errorf("its owner got %+v", got)
	}
	if len(letters) != 1 || !strings.HasPrefix(letters[0].Target, hookPath+"/amer/2/1/c1?s=") || !strings.Contains(letters[0].Target, "&h=rn.") ||
		!strings.HasPrefix(letters[0].Header["Authorization"][0], "Bearer ") || letters[0].Header[headerCalls][0] != "c1" {
		t.Errorf("the letters are %+v", letters)
	}
	if _, leaked := got[0].Header["Authorization"]; leaked || strings.Contains(one.log.String()+owner.log.String(), letters[0].Header["Authorization"][0]) {
		t.Error("the token went on to the bot or into a log")
	}
	if n := one.counter(t, "tandem_webhook_hops_total", hopRegionRelay); n != 1 {
		t.Errorf("%v letters are counted", n)
	}
	// So does an end; and explain says the same.
	if a = post(t, one.abroad("amer", 2, "c1"), end("c1")); a.status != http.StatusOK || !owner.handed()[1].Ends {
		t.Errorf("an end: %+v", a)
	}
	e := one.door.Explain(t.Context(), ownership.Supposed{Target: strings.TrimPrefix(one.abroad("amer", 2, "c1"), one.url), Body: []byte(update("c1")), App: ourApp})
	if e.Response.Action != string(outcomeRegionRelayed) || e.Calls[0].Decision != "region" || len(w.sent()) != 2 {
		t.Errorf("explain says %+v", e)
	}
	emea.untouched(t)
}

// TestO31_WithoutALink a follow-up is redirected as before, unless it may have arrived or
// the region is down; and it is never sent on twice.
func TestO31_WithoutALink(t *testing.T) {
	w, emea, amer := twoRegions(t, setup{})
	amer.knows("c1", 2, ownership.CallAnswered)
	one := emea.nodes["emea-1"]
	foreign := one.abroad("amer", 2, "c1")
	w.cut("amer", ownership.ErrNotTaken)
	all := follow(t, foreign, update("c1"), 5)
	if len(all) != 2 || all[0].status != 302 || all[1].status != 202 || len(amer.nodes["amer-2"].handed()) != 1 ||
		!strings.HasPrefix(all[0].location(), amer.nodes["amer-1"].url+hookPath+"/amer/2/1/c1?s=") {
		t.Fatalf("%+v", all)
	}
	_, marked, _ := strings.Cut(all[0].location(), "&h=")
	if a := post(t, foreign+"&h="+marked, update("c1")); a.status != 503 || a.code(t) != "region_down" {
		t.Errorf("one that was sent here by a region: %+v", a)
	}
	w.cut("amer", ownership.ErrUnreachable)
	if a := post(t, foreign, update("c1")); a.status != 503 || a.code(t) != "region_down" || a.header.Get("Retry-After") == "" {
		t.Errorf("it may have arrived: %+v", a)
	}
	w.cut("amer", ownership.ErrNotTaken)
	w.fell("amer", true)
	if a := post(t, foreign, update("c1")); a.status != 503 || a.code(t) != "region_down" {
		t.Errorf("the region is down: %+v", a)
	}
	w.cut("amer", nil)
	if a := post(t, foreign, update("c1")); a.status != 202 {
		t.Errorf("called down, and answering by the link: %+v", a)
	}
	emea.untouched(t)
}

// TestMidcallRedirectHoldsAcrossRegions: where an operator chose it, follow-ups are
// redirected; what a redirect cannot carry is relayed all the same.
func TestMidcallRedirectHoldsAcrossRegions(t *testing.T) {
	w, emea, amer := twoRegions(t, setup{config: func(c *Config) { c.Midcall = MidcallRedirect }})
	amer.knows("c1", 2, ownership.CallAnswered)
	emea.knows("c2", 1, ownership.CallAnswered)
	one := emea.nodes["emea-1"]
	if a := post(t, one.abroad("amer", 2, "c1"), update("c1")); a.status != 302 || len(w.sent()) != 0 {
		t.Errorf("%+v", a)
	}
	if a := post(t, one.url+hookPath, bodyOf(entry("updated", "c1", talks...), entry("updated", "c2", talks...))); a.status != 202 || len(w.sent()) != 1 {
		t.Errorf("of two regions: %+v", a)
	}
}

// TestO29_EndsGoHome: a call that rings at home is hung up in another region. Its end
// goes to whoever knows it, else by the rules; while nobody can tell, it is not swallowed.
func TestO29_EndsGoHome(t *testing.T) {
	for name, rules := range map[string][]policy.RuleSpec{
		"by a rule":      {{When: `call.tenant == "` + ourTenant + `"`, Region: "amer"}},
		"without a rule": nil,
		"against a rule": {{When: "true", Region: "emea"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, emea, amer := twoRegions(t, setup{rules: rules})
			amer.knows("c1", 2, ownership.CallClaimed)
			one := emea.nodes["emea-1"]
			if a := post(t, one.url+hookPath, end("c1")); a.status != 202 {
				t.Fatalf("%+v", a)
			}
			if got := amer.nodes["amer-2"].handed(); len(got) != 1 || !got[0].Ends {
				t.Errorf("its owner heard %+v", got)
			}
			if one.asked != 1 || w.asked != 1 {
				t.Errorf("its own region was made sure of %d times, the others were asked %d times", one.asked, w.asked)
			}
			// One that nobody knows.
			if a := post(t, one.url+hookPath, end("c2")); a.status != 202 {
				t.Errorf("nobody's: %+v", a)
			}
			if told := map[bool]int{true: amer.ends, false: emea.ends}[name == "by a rule"]; told != 1 {
				t.Errorf("its home was told %d times", told)
			}
			// Nobody can tell.
			w.cut("amer", ownership.ErrNotTaken)
			w.fell("amer", true)
			if a := post(t, one.url+hookPath, end("c3")); a.status != 503 || a.code(t) != "region_down" || a.header.Get("Retry-After") == "" {
				t.Errorf("a region that may know it cannot be asked: %+v", a)
			}
			if c := emea.claimed(); len(c) != 0 {
				t.Errorf("claimed: %+v", c)
			}
			if got := one.handed(); len(got) != 0 {
				t.Errorf("a bot here heard %+v", got)
			}
		})
	}
}

// TestO30_AFollowUpOnThePlainPathIsNeverClaimedTwice: it goes to the region that knows
// its call, else home, and is claimed here only where no region knows it.
func TestO30_AFollowUpOnThePlainPathIsNeverClaimedTwice(t *testing.T) {
	w, emea, amer := twoRegions(t, setup{})
	amer.knows("c1", 2, ownership.CallAnswered)
	one := emea.nodes["emea-1"]
	if a := post(t, one.url+hookPath, update("c1")); a.status != 202 || len(amer.nodes["amer-2"].handed()) != 1 {
		t.Fatalf("%+v", a)
	}
	emea.untouched(t)
	// This node lags: its region knows the call, so nobody else is asked.
	emea.knows("c2", 1, ownership.CallAnswered)
	one.forgot.Store(true)
	if a := post(t, one.url+hookPath, update("c2")); a.status != 202 || len(one.handed()) != 1 || w.asked != 1 {
		t.Errorf("%+v, asked %d times", a, w.asked)
	}
	one.forgot.Store(true)
	one.cutOff = ownership.ErrNoLeader
	if a := post(t, one.url+hookPath, update("c2")); a.status != 503 || a.code(t) != "not_caught_up" {
		t.Errorf("cut off from its own region: %+v", a)
	}
	one.cutOff = nil
	// Nobody can tell whose it is.
	w.cut("amer", ownership.ErrUnreachable)
	if a := post(t, one.url+hookPath, update("c3")); a.status != 503 || a.code(t) != "region_down" || len(emea.claimed()) != 0 {
		t.Errorf("a region cannot be asked: %+v", a)
	}
	e := one.door.Explain(t.Context(), ownership.Supposed{Body: []byte(update("c3")), App: ourApp})
	if e.Response.Status != 503 || !strings.Contains(e.Calls[0].Why, "cannot be asked") {
		t.Errorf("explain says %+v", e)
	}
	w.cut("amer", nil)
	// Nobody's, and no rule places it.
	if a := post(t, one.url+hookPath, update("c3")); a.status != 202 || len(emea.claimed()) != 1 {
		t.Errorf("nobody's: %+v", a)
	}
	// Nobody's, and at home in amer: claimed there, also while the rule is soft and the
	// region called down.
	one.door.SetPolicy(mustRules(t, policy.RuleSpec{When: "true", Region: "amer"}), nil)
	if a := post(t, one.url+hookPath, update("c4")); a.status != 202 || len(amer.claimed()) != 1 || len(emea.claimed()) != 1 {
		t.Errorf("at home in amer: %+v", a)
	}
	w.fell("amer", true)
	w.cut("amer", ownership.ErrNotTaken)
	if a := post(t, one.url+hookPath, update("c5")); a.status != 503 || a.code(t) != "region_down" || len(emea.claimed()) != 1 {
		t.Errorf("home is down: %+v", a)
	}
}

// TestACallThatABotStartedIsItsRegions: on a callback URI that a bot here asked for,
// nobody elsewhere is asked.
func TestACallThatABotStartedIsItsRegions(t *testing.T) {
	w, emea, _ := twoRegions(t, setup{})
	w.cut("amer", ownership.ErrUnreachable)
	one := emea.nodes["emea-1"]
	if a := post(t, one.uri(1, 1, OutgoingRef(ourApp)), update("c1")); a.status != 202 || w.asked != 0 || len(emea.claimed()) != 1 {
		t.Errorf("%+v, asked %d times", a, w.asked)
	}
}

// TestO30_ABodyWithCallsOfTwoRegions: each part goes to its home, the own one is handled
// here, and the answer is 202 only if all were.
func TestO30_ABodyWithCallsOfTwoRegions(t *testing.T) {
	w, emea, amer := twoRegions(t, setup{rules: toAmer})
	amer.knows("a1", 2, ownership.CallAnswered)
	amer.knows("a2", 1, ownership.CallClaimed)
	emea.knows("e1", 2, ownership.CallAnswered)
	one, two := emea.nodes["emea-1"], emea.nodes["emea-2"]
	body := bodyOf(entry("updated", "e1", talks...), entry("updated", "a1", talks...), entry("deleted", "a2", `"state":"terminated"`),
		entry("created", "a3", `"state":"incoming"`, fromUS))
	if a := post(t, one.url+hookPath, body); a.status != 202 || a.body != "" {
		t.Fatalf("%+v", a)
	}
	if got := w.sent(); len(got) != 1 || got[0].Header[headerCalls][0] != "a1,a2,a3" || !strings.HasPrefix(got[0].Target, hookPath+"?h=rn.") || string(got[0].Body) != body {
		t.Errorf("the letters are %+v", got)
	}
	calls := func(hs []ownership.HandOver) (all []string) {
		for _, h := range hs {
			all = append(all, string(h.Call)+" "+string(h.Event))
		}
		slices.Sort(all)
		return all
	}
	if got := calls(two.handed()); !slices.Equal(got, []string{"e1 update"}) {
		t.Errorf("emea-2 got %v", got)
	}
	if got := calls(amer.nodes["amer-2"].handed()); !slices.Equal(got, []string{"a1 update"}) {
		t.Errorf("amer-2 got %v", got)
	}
	if got := calls(amer.nodes["amer-1"].handed()); !slices.Equal(got, []string{"a2 update", "a3 incoming"}) {
		t.Errorf("amer-1 got %v", got)
	}
	if len(emea.claimed()) != 0 || len(amer.claimed()) != 1 {
		t.Errorf("claims: %d here, %d at home", len(emea.claimed()), len(amer.claimed()))
	}
	// Not all were: the cloud repeats the body, and nobody but the part's home took it.
	w.cut("amer", ownership.ErrNotTaken)
	body = bodyOf(entry("updated", "e1", talks...), entry("created", "a4", `"state":"incoming"`, fromUS))
	if a := post(t, one.url+hookPath, body); a.status != 503 || a.code(t) != "partly_handled" || len(two.handed()) != 2 {
		t.Errorf("%+v", a)
	}
	if e := one.door.Explain(t.Context(), ownership.Supposed{Body: []byte(body), App: ourApp}); e.Response.Action != string(outcomeSeveral) {
		t.Errorf("explain says %+v", e)
	}
	if len(emea.claimed()) != 0 || len(one.handed()) != 0 {
		t.Error("a part of amer was taken here")
	}
	// New calls of one region are redirected together, as ever.
	body = bodyOf(entry("created", "u1", `"state":"incoming"`, fromUS), entry("created", "u2", `"state":"incoming"`, fromUS))
	if a := post(t, one.url+hookPath, body); a.status != 302 {
		t.Errorf("%+v", a)
	}
	// On a callback URI of amer, too, what is known here is handled here.
	w.cut("amer", nil)
	body = bodyOf(entry("updated", "a1", talks...), entry("updated", "e1", talks...), entry("updated", "a9", talks...))
	before := len(w.sent())
	if a := post(t, one.abroad("amer", 2, "a1"), body); a.status != 202 || len(two.handed()) != 3 {
		t.Errorf("%+v", a)
	}
	if got := w.sent()[before:]; len(got) != 1 || got[0].Header[headerCalls][0] != "a1,a9" || !strings.HasPrefix(got[0].Target, hookPath+"/amer/2/1/a1?s=") {
		t.Errorf("the letters are %+v", got)
	}
	// And on one of this region, what amer knows goes home.
	body = bodyOf(entry("updated", "e1", talks...), entry("updated", "a1", talks...))
	if a := post(t, one.uri(2, 1, "e1"), body); a.status != 202 || len(amer.nodes["amer-2"].handed()) != 3 {
		t.Errorf("%+v", a)
	}
}

// TestASoftRuleYieldsForNewCallsOnly, as before, while its region is down.
func TestASoftRuleYieldsForNewCallsOnly(t *testing.T) {
	w, emea, _ := twoRegions(t, setup{rules: toAmer})
	w.fell("amer", true)
	w.cut("amer", ownership.ErrNotTaken)
	one := emea.nodes["emea-1"]
	if a := post(t, one.url+hookPath, bodyOf(entry("created", "u1", `"state":"incoming"`, fromUS), entry("created", "h1", `"state":"incoming"`))); a.status != 202 || len(one.handed()) != 2 {
		t.Errorf("%+v", a)
	}
	if a := post(t, one.url+hookPath, update("u2", fromUS)); a.status != 503 || len(emea.claimed()) != 2 {
		t.Errorf("%+v", a)
	}
}

// letterTo posts a letter to a node's door for other regions, as the link would.
func letterToDoor(t *testing.T, nd *node, target, body string, change ...func(*http.Request)) answered {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+mint(t, ourApp, ourTenant))
	r.Header.Set(headerCalls, "c1")
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	nd.door.Letters().ServeHTTP(w, r)
	return answered{w.Code, w.Header(), w.Body.String()}
}

// TestALetterIsJudgedAnew: of all that another region says, only the hop mark is believed.
func TestALetterIsJudgedAnew(t *testing.T) {
	w, emea, amer := twoRegions(t, setup{rules: []policy.RuleSpec{{When: "true", Region: "amer"}}})
	one := emea.nodes["emea-1"]
	emea.knows("c1", 2, ownership.CallAnswered)
	start := time.Now().Add(-3 * time.Second)
	mark := testKeys().Mark("emea", "c1", Mark{RegionHop: true, Received: start, Expires: time.Now().Add(time.Minute)})
	target := hookPath + "?h=" + mark
	for _, c := range []struct {
		name, target, body string
		change             func(*http.Request)
		want               int
	}{
		{"no token", target, update("c1"), header("Authorization"), 401},
		{"another app's token", target, update("c1"), header("Authorization", "Bearer "+mint(t, mediaApp, ourTenant)), 401},
		{"a forged handle", hookPath + "/emea/2/1/c1?s=k1.AAAAAAAAAAAAAAAAAAAAAA", update("c1"), header("X-A"), 404},
		{"a handle of a third region", hookPath + strings.TrimPrefix(one.abroad("apac", 2, "c1"), one.url+hookPath), update("c1"), header("X-A"), 503},
		{"no list of calls", target, update("c1"), header(headerCalls), 503},
		{"two lists of calls", target, update("c1"), header(headerCalls, "c1", "c1"), 503},
		{"calls that are not in the body", target, update("c1"), header(headerCalls, "c2"), 503},
		{"no notification", target, "{}", header("X-A"), 400},
		{"a GET", target, update("c1"), func(r *http.Request) { r.Method = http.MethodGet }, 405},
	} {
		if a := letterToDoor(t, one, c.target, c.body, c.change); a.status != c.want {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
	emea.untouched(t)
	// Owned by another node: relayed there, not redirected.
	if a := letterToDoor(t, one, target, update("c1")); a.status != 202 || len(emea.nodes["emea-2"].handed()) != 1 {
		t.Fatalf("%+v", a)
	}
	if got := emea.nodes["emea-2"].handed()[0]; got.Received.UnixMilli() != start.UnixMilli() {
		t.Errorf("the first node saw it at %s, told is %s", start, got.Received)
	}
	// It is sent on to no region, whatever mark, rules and others say; nor to a node again.
	amer.knows("c2", 1, ownership.CallAnswered)
	emea.place = func(ownership.Claim) ownership.PartitionID { return 2 }
	for _, target := range []string{hookPath, hookPath + "?h=" + mark} {
		for _, body := range []string{incoming("c2"), update("c2"), end("c2")} {
			if a := letterToDoor(t, one, target, body, header(headerCalls, "c2")); a.status != 202 || a.location() != "" {
				t.Errorf("%+v", a)
			}
		}
	}
	if len(w.sent()) != 0 || w.asked != 0 {
		t.Errorf("%d letters went on, the others were asked %d times", len(w.sent()), w.asked)
	}
}

// TestALetterConcernsItsListOnly: the rest of its body is the first region's.
func TestALetterConcernsItsListOnly(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one := r.nodes["emea-1"]
	for _, c := range []ownership.CallID{"c1", "c2", "c3"} {
		r.knows(c, 1, ownership.CallAnswered)
	}
	body := bodyOf(entry("updated", "c1", talks...), entry("updated", "c2", talks...), entry("updated", "c3", talks...))
	if a := letterToDoor(t, one, hookPath, body, header(headerCalls, "c3,c2")); a.status != 202 {
		t.Fatalf("%+v", a)
	}
	if got := one.handed(); len(got) != 2 || got[0].Call == "c1" || got[1].Call == "c1" {
		t.Errorf("%+v", got)
	}
}

// TestALettersTimeIsTheAnswers: what is left of the clock of a new call bounds its letter.
func TestALettersTimeIsTheAnswers(t *testing.T) {
	w, emea, amer := twoRegions(t, setup{rules: []policy.RuleSpec{{When: toAmer[0].When, Region: "amer", Residency: "hard"}}})
	emea.knows("e1", 1, ownership.CallAnswered)
	one := emea.nodes["emea-1"]
	late := testKeys().Mark("emea", "e1", Mark{NodeHop: true, Received: time.Now().Add(-time.Minute), Expires: time.Now().Add(time.Minute)})
	body := bodyOf(entry("updated", "e1", talks...), entry("created", "a1", `"state":"incoming"`, fromUS))
	if a := post(t, one.url+hookPath+"?h="+late, body); a.status != 503 || a.code(t) != "partly_handled" {
		t.Errorf("%+v", a)
	}
	if len(w.sent()) != 1 || len(amer.nodes["amer-1"].handed()) != 0 {
		t.Errorf("%d letters, amer's bot heard %d", len(w.sent()), len(amer.nodes["amer-1"].handed()))
	}
}
