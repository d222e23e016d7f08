package policy

import (
	"strings"
	"testing"

	"tandem/ownership"
)

const evacuating = `
rules:
  - {when: 'call.tenant == "bank"', region: emea, residency: hard}
  - {when: 'call.tenant == "lab"', region: emea, here: force}
  - {when: 'call.tenant == "shop"', region: amer, here: prefer}
  - {when: 'call.tenant == "mill"', region: apac, overflow: [emea, amer]}
  - {when: 'call.tenant == "club"', spread: [emea, apac], by: call.thread}
  - {when: 'call.tenant == "town"', region: emea}
evacuated:
  emea: {to: [amer, apac]}
`

// TestEvacuatedRegion follows calls of each kind of rule that arrive in the evacuated
// region and elsewhere.
func TestEvacuatedRegion(t *testing.T) {
	c, err := ReadDocument([]byte(evacuating))
	if err != nil {
		t.Fatal(err)
	}
	well := RegionLook{Up: true, Room: 5}
	all := map[ownership.Region]RegionLook{"emea": well, "amer": well, "apac": well}
	but := func(down ...ownership.Region) map[ownership.Region]RegionLook {
		m := map[ownership.Region]RegionLook{"emea": well, "amer": well, "apac": well}
		for _, r := range down {
			m[r] = RegionLook{}
		}
		return m
	}
	for _, tt := range []struct {
		name, tenant string
		here         ownership.Region
		marked       bool
		look         map[ownership.Region]RegionLook
		step         Step
		region       ownership.Region
		why          string
	}{
		{"no rule", "", "emea", false, all, StepRedirect, "amer", "region emea is evacuated, and amer stands in for it"},
		{"no rule, elsewhere", "", "apac", false, all, StepHere, "apac", "no region rule matches"},
		{"its own", "town", "emea", false, all, StepRedirect, "amer", "is evacuated"},
		{"its own, elsewhere", "town", "apac", false, all, StepRedirect, "amer", "is evacuated"},
		{"its own, at who stands in", "town", "amer", false, all, StepHere, "amer", "amer stands in for it"},
		{"the first of to is down", "town", "emea", false, but("amer"), StepRedirect, "apac", "apac stands in"},
		{"all of to are down", "town", "emea", false, but("amer", "apac"), StepHere, "emea", "region emea is evacuated, so it stays"},
		{"sent here by another region", "town", "emea", true, all, StepHere, "emea", ""},
		{"a hard rule stays", "bank", "emea", false, all, StepHere, "emea", "rule 1"},
		{"a hard rule goes there", "bank", "amer", false, all, StepRedirect, "emea", "rule 1"},
		{"a forced one stays", "lab", "emea", false, all, StepHere, "emea", "rule 2"},
		{"one that prefers to stay goes", "shop", "emea", false, all, StepRedirect, "amer", "rule 3"},
		{"one that prefers to stay, home down", "shop", "emea", false, but("amer"), StepRedirect, "apac", "stands in"},
		{"an overflow passes it by", "mill", "emea", false, but("apac"), StepRedirect, "amer", "amer stands in"},
		{"another's home is down", "mill", "amer", false, but("apac"), StepHere, "amer", "amer stands in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := RouteQuery{Here: tt.here, Marked: tt.marked, Room: 5, Look: func(r ownership.Region) RegionLook { return tt.look[r] }}
			got := RouteRegion(c.Rules.Home(Facts{Tenant: ownership.TenantID(tt.tenant)}, tt.here), q)
			if got.Step != tt.step || got.Region != tt.region || !strings.Contains(got.Why, tt.why) {
				t.Errorf("got %s to %s (%s), want %s to %s (%s)", got.Step, got.Region, got.Why, tt.step, tt.region, tt.why)
			}
		})
	}
	// A meeting's home is one for all regions, and never the evacuated one.
	for _, thread := range []string{"a", "b", "c", "d", "e", "f"} {
		homes := map[ownership.Region]bool{}
		for _, here := range []ownership.Region{"emea", "amer", "apac"} {
			q := RouteQuery{Here: here, Room: 5, Look: func(ownership.Region) RegionLook { return well }}
			homes[RouteRegion(c.Rules.Home(Facts{Tenant: "club", Thread: thread}, here), q).Region] = true
		}
		if len(homes) != 1 || homes["emea"] {
			t.Errorf("meeting %s is at home in %v", thread, homes)
		}
	}
}

func TestBadEvacuations(t *testing.T) {
	for text, want := range map[string]string{
		`evacuated: {emea: {to: [emea]}}`:                     "region emea is evacuated to itself",
		`evacuated: {emea: {}}`:                               "names no region that is not",
		`evacuated: {emea: {to: [amer]}, amer: {to: [emea]}}`: "names no region that is not",
		`evacuated: {emea: {to: [amer, amer]}}`:               `its to names "amer" twice`,
		`evacuated: {emea: {too: [amer]}}`:                    "is no key of an evacuation",
		`evacuated: {"": {to: [amer]}}`:                       "without a region",
	} {
		if _, err := ReadDocument([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
