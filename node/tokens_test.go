package node

import (
	"net/http"
	"testing"

	"tandem/graph"
	"tandem/token"
)

// TestHomes: the rules of a configuration say it, and what none places stays where it came.
func TestHomes(t *testing.T) {
	c := Defaults()
	if home, err := Homes(c); home != nil || err != nil {
		t.Errorf("without rules: %v", err)
	}
	c.Node.Region = "emea"
	c.Rules = []Rule{
		{When: `call.tenant == "8986d25d-ed3f-4bb8-b739-14d2fcc37b09"`, Region: "apac"},
		{When: `call.callerRegion == "amer" || call.source.countryCode == "US"`, Region: "amer"},
	}
	home, err := Homes(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		who   token.Claims
		geo   string
		about *graph.Call
		want  string
	}{
		{token.Claims{Tenant: "8986d25d-ed3f-4bb8-b739-14d2fcc37b09"}, "amer", nil, "apac"},
		{token.Claims{}, "AMER", nil, "amer"},
		{token.Claims{}, "emea", &graph.Call{SourceCountry: "US"}, "amer"},
		{token.Claims{}, "emea", &graph.Call{}, "emea"},
	} {
		if got := home(q.who, http.Header{"X-Microsoft-Skype-Caller-Region": {q.geo}}, q.about); got != q.want {
			t.Errorf("%+v: %s", q, got)
		}
	}
	c.Rules[0].When = "call."
	if _, err := Homes(c); err == nil {
		t.Error("a rule that cannot be read passes")
	}
}
