package node

import (
	"testing"

	"tandem/graphsim"
)

// countryRules are the rules of the stories with two regions.
func countryRules(_ *seat, c *Config) {
	c.Rules = []Rule{
		{When: `call.source.countryCode in ["US", "CA"]`, Region: "amer"},
		{When: `true`, Region: "emea"},
	}
}

// twoOrigins are callers in Germany and in the United States.
func twoOrigins(c *graphsim.Config) {
	c.Origins = []graphsim.Origin{
		{Geo: "emea", Country: "DE", Near: "emea", Weight: 1},
		{Geo: "amer", Country: "US", Near: "amer", Weight: 1},
	}
}

func TestCallsReachTheirOneOwnerInTwoRegions(t *testing.T) {
	t.Parallel()
	rates := graphsim.Unkind()
	rates.Wander = 0.1
	nodes, calls := 3, 60
	if testing.Short() {
		nodes, calls = 2, 40
	}
	s := deploy(t, plan{
		nodes: nodes, regions: []string{"emea", "amer"}, secure: true, rates: rates, shape: countryRules,
		sim: func(c *graphsim.Config) {
			twoOrigins(c)
			c.Switches.KeepKey = false
		},
	})
	r := s.run(graphsim.Load{Rate: 40, MaxCalls: calls})
	s.kept(r)
	if r.Calls < calls/2 || r.Redirects.Region == 0 || r.Redirects.Node == 0 || r.Relays == 0 || r.Handshakes == 0 || r.DuplicatesSent == 0 {
		t.Errorf("the story was too tame to show anything: %+v", r)
	}
	if r.HopsMax.Region > 1 || r.HopsMax.Node > 1 {
		t.Errorf("I6: a notification was redirected %d times by region and %d times by node", r.HopsMax.Region, r.HopsMax.Node)
	}
	for _, x := range s.seats {
		if r.CallsByNode[x.name] == 0 {
			t.Errorf("no call was placed on %s: %v", x.name, r.CallsByNode)
		}
	}
}
