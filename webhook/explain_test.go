package webhook

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"tandem/ownership"
	"tandem/policy"
)

// TestExplain: the same decisions as requests get, and nothing happens.
func TestExplain(t *testing.T) {
	w := newWorld()
	s := setup{rules: append([]policy.RuleSpec{{When: `call.tenant == "hard"`, Region: "apac", Residency: "hard"}}, toAmer...), pins: []policy.PinSpec{{When: "true", Pin: ownership.Pin{Zone: "a"}}}}
	r, _ := newRegion(t, w, "emea", 2, s), newRegion(t, w, "amer", 1, s)
	one, two := r.nodes["emea-1"], r.nodes["emea-2"]
	r.place = func(c ownership.Claim) ownership.PartitionID {
		if strings.HasPrefix(string(c.Call), "two") {
			return 2
		}
		return 1
	}
	r.knows("gone", 1, ownership.CallEnded)
	r.knows("theirs", 2, ownership.CallAnswered)
	path := func(uri string) string { return strings.TrimPrefix(uri, one.url) }
	bearer := http.Header{"Authorization": {"Bearer " + mint(t, ourApp, ourTenant)}}
	for _, c := range []struct {
		name     string
		target   string
		header   http.Header
		body     string
		message  string
		token    string
		status   int
		action   string
		location string
	}{
		{"legacy", "", nil, legacyBody, "legacy", "absent", 204, "handshake", ""},
		{"unreadable", "", nil, "{", "unreadable", "absent", 400, "malformed_notification", ""},
		{"new, here", "", nil, incoming("c1"), "graph", "absent", 0, "handled", ""},
		{"new, here, with a token", "", bearer, incoming("c1"), "graph", "valid", 0, "handled", ""},
		{"new, here, with a bad token", "", http.Header{"Authorization": {"Bearer x"}}, incoming("c1"), "graph", "token refused with 401", 401, "invalid_token", ""},
		{"new, at another node", "", nil, incoming("two1"), "graph", "absent", 302, "node_redirect", two.url + hookPath + "/emea/2/1/two1"},
		{"new, in another region", "", nil, incoming("c1", fromUS), "graph", "absent", 302, "region_redirect", w.urls["amer"] + hookPath},
		{"new, in a region that is not there", "", nil, incoming("c1", `"tenantId":"hard"`), "graph", "absent", 503, "region_down", ""},
		{"ended", "", nil, update("gone"), "graph", "absent", 202, "ignored", ""},
		{"update elsewhere", "", nil, update("theirs"), "graph", "absent", 0, "relayed", ""},
		{"several", "", nil, `{"value":[` + entry("updated", "theirs", `"state":"x"`) + "," + entry("created", "c1", `"state":"incoming"`) + `]}`, "graph", "absent", 0, "several", ""},
		{"several, one refused", "", nil, `{"value":[` + entry("created", "c2", `"state":"incoming","tenantId":"hard"`) + "," + entry("created", "c1", `"state":"incoming"`) + `]}`, "graph", "absent", 503, "partly_handled", ""},
		{"callback URI", path(one.uri(1, 1, "c1")), nil, update("c1"), "graph", "absent", 0, "handled", ""},
		{"forged callback URI", path(one.uri(1, 1, "c1")) + "x", nil, update("c1"), "not read", "absent", 404, "not_found", ""},
		{"callback URI from the future", path(one.uri(1, 5, "c1")), nil, update("c1"), "graph", "absent", 503, "future_epoch", ""},
		{"no path of ours", "/api/calls/x", nil, update("c1"), "not read", "absent", 404, "not_found", ""},
		{"no path of ours either", "/metrics", nil, update("c1"), "not read", "absent", 404, "not_found", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := one.door.Explain(context.Background(), ownership.Supposed{Target: c.target, Header: c.header, Body: []byte(c.body)})
			if e.Message != c.message || !strings.HasPrefix(e.Token, c.token) || e.Response.Status != c.status || e.Response.Action != c.action || e.Response.Location != c.location {
				t.Errorf("%+v", e)
			}
			if (e.Response.Error != "") != (e.Response.Status >= 400) {
				t.Errorf("%+v", e.Response)
			}
			if _, err := json.Marshal(e); err != nil {
				t.Error(err)
			}
		})
	}
	r.untouched(t)
	if len(one.relayed()) != 0 || one.counter(t, "tandem_webhook_future_epochs_total", "") != 0 || one.log.String() != "" {
		t.Errorf("explaining left a trace: %s", one.log.String())
	}
}

// TestExplainShowsWhatRulesSaw: facts, verdict, pin, placement, groups, clock.
func TestExplainShowsWhatRulesSaw(t *testing.T) {
	nd := oneNode(t, setup{rules: toAmer, pins: []policy.PinSpec{{When: `call.botData.clientLocation == "US"`, Pin: ownership.Pin{Zone: "a"}}}})
	e := nd.door.Explain(context.Background(), ownership.Supposed{Header: http.Header{"X-Microsoft-Skype-Caller-Region": {"APAC"}}, Body: []byte(sampleBody(t, "graph-incoming-policy-recording.json"))})
	if len(e.Calls) != 1 {
		t.Fatalf("%+v", e)
	}
	c := e.Calls[0]
	if c.Kind != "new call" || !c.Recording || c.AnswerIn != 5 || c.Decision != "owner" || c.Facts.CallerRegion != "apac" || c.Facts.PolicyIdentifier != "Test Policy" ||
		c.Facts.MediaHostedRegion != "USEA" || c.Verdict.Rule != -1 || c.Region.Step != policy.StepHere || c.Pin.Rule != 0 || c.Placement.Owner != "emea-1" || !c.Owner.Here || len(c.Groups) != 1 {
		b, _ := json.MarshalIndent(c, "", " ")
		t.Errorf("%s", b)
	}
	// Two apps and no token: the target that is one of ours is the app.
	e = nd.door.Explain(context.Background(), ownership.Supposed{Body: []byte(incoming("c1", `"targets":[{"identity":{"application":{"id":"`+strings.ToUpper(mediaApp)+`"}}}]`))})
	if e.App != mediaApp {
		t.Errorf("the app is %q", e.App)
	}
	nd.in.refuse = ownership.ErrFull
	if e = nd.door.Explain(context.Background(), ownership.Supposed{Body: []byte(incoming("c1"))}); e.Response.Status != 503 || e.Calls[0].Decision != "refuse" || !strings.Contains(e.Calls[0].Why, "another call") {
		t.Errorf("%+v", e)
	}
	nd.in.refuse, nd.leaseOff = nil, true
	if e = nd.door.Explain(context.Background(), ownership.Supposed{Body: []byte(incoming("c1"))}); e.Response.Status != 503 || e.Response.Action != "no_lease" {
		t.Errorf("%+v", e)
	}
}

// TestExplainByTheTokensTenant: a body may leave the tenant to the token. Told
// what the token would say, explain decides as the door does with that token.
func TestExplainByTheTokensTenant(t *testing.T) {
	rule := policy.RuleSpec{When: `call.tenant == "` + ourTenant + `"`, Region: "apac", Residency: "hard"}
	nd := oneNode(t, setup{rules: []policy.RuleSpec{rule}})
	body := []byte(incoming("c1"))
	bearer := http.Header{"Authorization": {"Bearer " + mint(t, ourApp, ourTenant)}}
	for name, c := range map[string]struct {
		ask    ownership.Supposed
		status int
	}{
		"by a token":            {ownership.Supposed{Header: bearer}, 503},
		"told":                  {ownership.Supposed{Tenant: ourTenant, App: ourApp}, 503},
		"a token outweighs":     {ownership.Supposed{Header: bearer, Tenant: "another"}, 503},
		"another tenant":        {ownership.Supposed{Tenant: "another"}, 0},
		"nobody knows a tenant": {ownership.Supposed{}, 0},
	} {
		c.ask.Body = body
		if e := nd.door.Explain(context.Background(), c.ask); e.Response.Status != c.status {
			t.Errorf("%s: %+v", name, e.Response)
		}
	}
}

// TestExplainKnowsTombstones: an ended call is a known one.
func TestExplainKnowsTombstones(t *testing.T) {
	w := newWorld()
	r := newRegion(t, w, "emea", 1, setup{})
	r.knows("gone", 1, ownership.CallEnded)
	for call, known := range map[string]bool{"gone": true, "c1": false} {
		e := r.nodes["emea-1"].door.Explain(context.Background(), ownership.Supposed{Body: []byte(update(call))})
		if len(e.Calls) != 1 || e.Calls[0].Known != known {
			t.Errorf("%s: %+v", call, e.Calls)
		}
	}
}
