package webhook

import (
	"strings"
	"testing"

	"tandem/ownership"
	"tandem/policy"
)

const meeting = `{"changeType":"updated","resourceUrl":"/communications/onlineMeetings/m1","resourceData":{"@odata.type":"#microsoft.graph.onlineMeeting","id":"m1"}}`

// TestO15_TheUnknownVoidsNothing: what is known of a body is handled, and what is
// not goes to the owner of the callback URI.
func TestO15_TheUnknownVoidsNothing(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	r.knows("c1", 2, ownership.CallAnswered)
	r.knows("c2", 1, ownership.CallAnswered)
	body := `{"value":[` + meeting + "," + entry("deleted", "c1", `"state":"terminated"`) + `]}`
	for i, at := range []string{one.uri(2, 1, "c1"), one.url + hookPath} {
		if a := post(t, at, body); a.status != 202 {
			t.Fatalf("%+v", a)
		}
		if got := two.handed(); len(got) != i+1 || !got[i].Ends || string(got[i].Body) != body {
			t.Fatalf("%+v", got)
		}
	}
	if n := one.counter(t, "tandem_webhook_unknown_notifications_total", ""); n != 2 {
		t.Errorf("%v unknown ones counted", n)
	}
	// Beside another call's: each owner gets the body.
	body = `{"value":[` + entry("updated", "c2", `"state":"established"`) + "," + meeting + `]}`
	if a := post(t, one.uri(2, 1, "c1"), body); a.status != 202 || len(one.handed()) != 1 || len(two.handed()) != 3 {
		t.Errorf("%+v", a)
	}
	// Alone.
	body = `{"value":[` + meeting + `]}`
	if a := post(t, one.uri(2, 1, "c1"), body); a.status != 202 {
		t.Errorf("%+v", a)
	}
	if got := two.handed(); len(got) != 4 || got[3].Event != ownership.EventUpdate || got[3].Ends || got[3].Call != "c1" {
		t.Errorf("%+v", got)
	}
	for _, at := range []string{one.url + hookPath, one.uri(2, 1, OutgoingRef(ourApp))} {
		if a := post(t, at, body); a.status != 400 || a.code(t) != "malformed_notification" {
			t.Errorf("on nobody's URI: %+v", a)
		}
	}
	if a := post(t, one.uri(2, 1, "c1"), `{"value":[`+meeting+`,{"resource":"/app/calls/../x"}]}`); a.status != 400 {
		t.Errorf("an unclean path: %+v", a)
	}
	if len(r.claimed()) != 0 {
		t.Error("something was claimed")
	}
}

// TestO37_NoticesWithoutAnEnvelope: the notice as Microsoft's page shows it, on the
// callback URI of the call that is to take the newcomer, asks the bot, and the bot's
// answer is the point of it.
func TestO37_NoticesWithoutAnEnvelope(t *testing.T) {
	r := newRegion(t, newWorld(), "emea", 2, setup{})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	r.knows("c1", 2, ownership.CallAnswered)
	answer := sampleBody(t, "response-participantjoining-invitenewbot.json")
	two.reply = func(ownership.HandOver) (ownership.Reply, error) {
		return ownership.Reply{Status: 200, Header: map[string][]string{"Content-Type": {"application/json"}}, Body: []byte(answer)}, nil
	}
	for i, name := range []string{"shape-participantjoiningnotification.json", "shape-participantleftnotification.json"} {
		body := sampleBody(t, name)
		a := post(t, one.uri(2, 1, "c1"), body)
		if a.status != 200 || a.body != answer {
			t.Fatalf("%s: %+v", name, a)
		}
		got := two.handed()
		if len(got) != i+1 || got[i].Call != "c1" || got[i].RawCall != "c1" || got[i].Event != ownership.EventUpdate || string(got[i].Body) != body {
			t.Errorf("%s: %+v", name, got)
		}
		e := one.door.Explain(t.Context(), ownership.Supposed{Target: strings.TrimPrefix(one.uri(2, 1, "c1"), one.url), Body: []byte(body), App: ourApp})
		if e.Response.Action != "relayed" || len(e.Calls) != 1 || e.Calls[0].Call != "c1" {
			t.Errorf("%s: explain says %+v", name, e)
		}
		if a := post(t, one.url+hookPath, body); a.status != 400 {
			t.Errorf("%s on the plain path: %+v", name, a)
		}
		if a := post(t, one.uri(2, 1, "c1")+"x", body); a.status != 404 {
			t.Errorf("%s on a forged URI: %+v", name, a)
		}
	}
	// It is relayed to another region like all else, once.
	_, emea, amer := twoRegions(t, setup{})
	amer.knows("c1", 2, ownership.CallAnswered)
	foreign := testKeys().CallbackURI(emea.nodes["emea-1"].url+hookPath, Handle{Region: "amer", Partition: 2, Epoch: 1, Ref: "c1"})
	a := post(t, foreign, sampleBody(t, "shape-participantjoiningnotification.json"))
	if a.status != 202 || len(amer.nodes["amer-2"].handed()) != 1 {
		t.Errorf("%+v", a)
	}
	if got := amer.nodes["amer-2"].handed(); len(got) == 1 && got[0].Received.IsZero() {
		t.Error("the mark was not read")
	}
}

// TestO19_InvitesOnALiveCallsURI: a new call that rings on the callback URI of a
// live call of the same app is taken, beside that call.
func TestO19_InvitesOnALiveCallsURI(t *testing.T) {
	rules := []policy.RuleSpec{{When: "true", Region: "amer"}}
	w := newWorld()
	w.urls["amer"] = "https://amer.bot.example"
	r := newRegion(t, w, "emea", 2, setup{rules: rules})
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	r.place = func(c ownership.Claim) ownership.PartitionID {
		if c.Pin.Node == "emea-2" {
			return 2
		}
		return 1
	}
	r.knows("c1", 2, ownership.CallAnswered)
	if a := post(t, one.uri(2, 1, "c1"), incoming("n1")); a.status != 202 {
		t.Fatalf("%+v", a)
	}
	got, claims := two.handed(), r.claimed()
	if len(got) != 1 || got[0].Call != "n1" || got[0].Event != ownership.EventIncoming || !strings.Contains(got[0].CallbackURI, "/emea/2/1/n1?s=") {
		t.Fatalf("%+v", got)
	}
	if len(claims) != 1 || claims[0].Answered || claims[0].Pin.Node != "emea-2" || claims[0].Deadline.IsZero() {
		t.Errorf("%+v", claims)
	}
	// A repeat of it anywhere.
	if a := post(t, two.uri(2, 1, "c1"), incoming("n1")); a.status != 202 || len(r.claimed()) != 1 || len(two.handed()) != 2 {
		t.Errorf("%+v", a)
	}
	// An operator's pin is the stronger word.
	one.door.SetPolicy(nil, mustPins(t, policy.PinSpec{When: "true", Pin: ownership.Pin{Node: "emea-1"}}))
	if a := post(t, one.uri(2, 1, "c1"), incoming("n2")); a.status != 202 || r.claimed()[1].Pin.Node != "emea-1" {
		t.Errorf("%+v", r.claimed()[1])
	}
	for name, c := range map[string]struct {
		at, body string
		app      string
		status   int
	}{
		"another app's call":       {one.uri(2, 1, "c1"), incoming("n3"), mediaApp, 401},
		"a forged URI":             {one.uri(2, 1, "c1") + "x", incoming("n3"), ourApp, 404},
		"an update of another one": {one.uri(2, 1, "c1"), update("n3"), ourApp, 404},
		"the end of another one":   {one.uri(2, 1, "c1"), end("n3"), ourApp, 404},
	} {
		a := post(t, c.at, c.body, header("Authorization", "Bearer "+mint(t, c.app, ourTenant)))
		if a.status != c.status || len(r.claimed()) != 2 {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func mustPins(t *testing.T, specs ...policy.PinSpec) *policy.Pins {
	t.Helper()
	p, err := policy.CompilePins(specs)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
