package node

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"tandem/admin"
	"tandem/admin/api"
	"tandem/ownership"
)

// ruled gives every node a rule of its file, which sends the calls of one tenant to amer,
// and admin tokens.
func ruled(x *seat, c *Config) {
	inProcess(x, c)
	c.Rules = []Rule{{When: `call.tenant == "` + tenantOf(0) + `"`, Region: "amer"}}
	file := x.s.path(x.region + "-tokens.yaml")
	must(x.s.t, os.WriteFile(file, fmt.Appendf(nil, "tokens:\n  - {name: alice, roles: [operate], sha256: %s}\n", admin.HashToken(x.s.plan.token)), 0o600))
	c.Admin.TokensFile = file
}

// follower is a node that does not lead its region.
func (s *stage) follower(region string) *seat {
	s.t.Helper()
	for _, x := range s.seats {
		if x.region == region && x.node.region.Status().State == "follower" {
			return x
		}
	}
	s.t.Fatalf("no node of %s follows", region)
	return nil
}

// holds waits until all nodes of a region have the rules in force.
func (s *stage) holds(number uint64, regions ...string) {
	s.t.Helper()
	for _, x := range s.seats {
		for _, r := range regions {
			if x.region == r {
				eventually(s.t, fmt.Sprintf("%s has rules %d in force", x.name, number), func() error {
					h := x.node.rules.Holding()
					return not(h.Number == number && h.Trouble == "", "it has %+v", h)
				})
			}
		}
	}
}

// goes says where a node sends a new call of a tenant: a region, or here.
func (s *stage) goes(x *seat, tenant string) string {
	s.t.Helper()
	switch a := s.post(x.webhook(), s.token(tenant), sample(s.t, incoming, newCall())); {
	case a.status == http.StatusAccepted, a.status == http.StatusFound && strings.Contains(a.location(), "/api/calls/"+x.region+"/"): // a node of this region
		return "here"
	case a.status == http.StatusFound && strings.HasPrefix(a.location(), regionURL("amer")):
		return "amer"
	default:
		return fmt.Sprintf("%d %s", a.status, a.location())
	}
}

// TestRulesTravel: rules that are set at a follower count at all nodes of both regions,
// in place of those of the files, and after a restart; of two operators one hears of the
// other; and the way back is a version of its own.
func TestRulesTravel(t *testing.T) {
	long(t, "it takes 8 s")
	t.Parallel()
	s := deploy(t, plan{regions: []string{"emea", "amer"}, nodes: 3, token: "the-operators", shape: ruled})
	emea := s.follower("emea")
	door := emea.api()
	eventually(t, "emea sees amer", func() error { return not(emea.node.regions.Healthy("amer"), "it does not") })
	if got := s.goes(emea, tenantOf(0)); got != "amer" {
		t.Fatalf("by the rules of the file a call goes %s", got)
	}
	now, err := door.Rules().Now(t.Context())
	must(t, err)
	if now.Number != 0 || !strings.Contains(now.Text, tenantOf(0)) || len(now.Nodes) != 3 || !now.Nodes[2].Same {
		t.Errorf("before anything was set the door says %+v", now)
	}

	bad := "rules:\n  - {when: 'true', region: emea}\n  - {when: 'call.tennant == \"x\"', region: emea}\n"
	if _, err := door.Rules().Set(t.Context(), api.RulesAsk{Text: bad}); err == nil || !strings.Contains(err.Error(), "region rule 2 (line 3): line 1, column 5: undefined field 'tennant'") {
		t.Errorf("a bad document gets %v", err)
	}
	if _, err := door.Rules().Set(t.Context(), api.RulesAsk{Text: "rules: [{when: 'true', region: apac}]"}); err == nil || !strings.Contains(err.Error(), `region "apac"`) {
		t.Errorf("a region that nobody knows gets %v", err)
	}
	first := `rules: [{when: 'call.tenant == "` + tenantOf(1) + `"', region: amer}]`
	set, err := door.Rules().Set(t.Context(), api.RulesAsk{Text: first, Note: "tenant 1 moves"})
	must(t, err)
	if set.Number != 1 || set.By != "alice" || set.Origin != "emea" {
		t.Errorf("set were %+v", set)
	}
	s.holds(1, "emea", "amer")
	for _, x := range []*seat{s.seat("emea-1"), s.seat("emea-2"), s.seat("emea-3")} {
		if a, b := s.goes(x, tenantOf(0)), s.goes(x, tenantOf(1)); a != "here" || b != "amer" {
			t.Errorf("at %s the calls go %s and %s", x.name, a, b)
		}
	}
	if _, err := s.seat("emea-1").api().Rules().Set(t.Context(), api.RulesAsk{Text: "rules: []"}); err == nil || !strings.Contains(err.Error(), "the newest are rules 1, not 0") {
		t.Errorf("who did not see rules 1 hears %v", err)
	}
	status, err := door.Status(t.Context())
	must(t, err)
	if !strings.Contains(strings.Join(status.Warnings, "\n"), "of the configuration are not used: rules 1 of the region are in force") {
		t.Errorf("the status does not tell that the file is not used: %q", status.Warnings)
	}

	amer := s.follower("amer")
	next, err := amer.api().Rules().Set(t.Context(), api.RulesAsk{Text: "rules: []", Expect: 1})
	must(t, err)
	s.holds(next.Number, "emea", "amer")
	if got := s.goes(emea, tenantOf(1)); got != "here" {
		t.Errorf("by no rules a call goes %s", got)
	}
	emea.stop()
	emea.start()
	s.ready(emea)
	s.holds(2, "emea")
	back, err := emea.api().Rules().RollBack(t.Context(), api.RulesBack{Number: 1, Expect: 2})
	must(t, err)
	if back.Number != 3 || back.Text != first {
		t.Errorf("rolled back to %+v", back)
	}
	s.holds(3, "emea", "amer")
	now, err = amer.api().Rules().Now(t.Context())
	must(t, err)
	if now.Number != 3 || now.Origin != "emea" || now.By != "alice" || len(now.Nodes) != 3 || len(now.Regions) != 1 || !now.Unused {
		t.Errorf("amer says %+v", now)
	}
	eventually(t, "amer hears that emea has the same", func() error {
		now, err = amer.api().Rules().Now(t.Context())
		return not(err == nil && now.Regions[0].Same && now.Nodes[0].Same && now.Nodes[1].Same && now.Nodes[2].Same, "it says %+v, %v", now, err)
	})
	all, err := amer.api().Rules().History(t.Context())
	must(t, err)
	if len(all) != 3 || all[2].Note != "tenant 1 moves" {
		t.Errorf("the history in amer is %+v", all)
	}
}

// TestRulesAreTriedFirst: a candidate is asked about a notification, and held against
// the calls that rang at all nodes, and nothing changes.
func TestRulesAreTriedFirst(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 2, shape: func(x *seat, c *Config) {
		inProcess(x, c)
		c.Regions = []Region{{Name: "amer", URL: "https://amer.example.com"}}
	}})
	one, two := s.seat("emea-1"), s.seat("emea-2")
	for i := range 6 {
		if got := s.goes([]*seat{one, two}[i%2], tenantOf(i%3)); got != "here" {
			t.Fatalf("a call goes %s", got)
		}
	}
	candidate := `{"rules": [{"when": "call.tenant == \"` + tenantOf(1) + `\"", "region": "amer", "residency": "hard"}]}`
	diff, err := one.api().Rules().Diff(t.Context(), candidate)
	must(t, err)
	// Nobody would take them: the rule is hard, and amer is down.
	if diff.Recorded != 6 || diff.Elsewhere != 2 || len(diff.Moves) != 1 || diff.Moves[0] != (api.RulesMoves{From: "emea", Calls: 2}) ||
		len(diff.Examples) != 2 || len(diff.Heard) != 2 || len(diff.Missing) != 0 {
		t.Errorf("the difference is %+v", diff)
	}
	ask := api.RulesTrial{Notification: sample(t, incoming, newCall()), Tenant: ownership.TenantID(tenantOf(1)), App: testApp, Text: candidate}
	tried, err := one.api().Rules().Test(t.Context(), ask)
	must(t, err)
	if len(tried.Calls) != 1 || tried.Calls[0].Rule != 1 || tried.Calls[0].Home != "amer" || !tried.Calls[0].Hard || tried.Calls[0].Step != "refuse" || tried.Calls[0].Facts["tenant"] != tenantOf(1) {
		t.Errorf("the candidate says %+v", tried)
	}
	ask.Text = ""
	tried, err = one.api().Rules().Test(t.Context(), ask)
	must(t, err)
	if len(tried.Calls) != 1 || tried.Calls[0].Rule != 0 || tried.Calls[0].Step != "here" {
		t.Errorf("the rules in force say %+v", tried)
	}
	if got := one.node.rules.Holding().Number; got != 0 {
		t.Errorf("rules %d are in force", got)
	}
}
