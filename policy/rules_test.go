package policy

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
)

func mustRules(t testing.TB, specs ...RuleSpec) *Rules {
	t.Helper()
	r, err := CompileRules(specs)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHome(t *testing.T) {
	full := Facts{
		App: "APP-1", Tenant: "8986D25D", Observed: "ann", OnBehalfOf: "boss", Organizer: "olga", PolicyIdentifier: "p1",
		Direction: "Incoming", Thread: "19:x@thread.v2", ChainID: "c1", CallerRegion: "EMEA",
		CountryCode: "us", SourceRegion: "Amer", MediaHostedRegion: "usea", ClientLocation: "euno",
	}
	tests := []struct {
		name  string
		when  string
		facts Facts
		want  bool
	}{
		{"tenant, in any case", `call.tenant == "8986d25d"`, full, true},
		{"app", `call.app == "app-1"`, full, true},
		{"observed", `call.observed == "ann"`, full, true},
		{"on behalf of", `call.onBehalfOf == "boss"`, full, true},
		{"organizer", `call.organizer == "olga"`, full, true},
		{"policy", `call.policyIdentifier == "p1"`, full, true},
		{"direction", `call.direction == "incoming"`, full, true},
		{"thread", `call.thread.startsWith("19:")`, full, true},
		{"chain", `call.callChainId == "c1"`, full, true},
		{"caller region header", `call.callerRegion == "emea"`, full, true},
		{"country", `call.source.countryCode in ["US","CA"]`, full, true},
		{"source region", `call.source.region == "amer"`, full, true},
		{"media region", `call.botData.mediaHostedRegion == "USEA"`, full, true},
		{"client location", `call.botData.clientLocation == "EUNO"`, full, true},
		{"regular expression", `call.botData.mediaHostedRegion.matches("^US")`, full, true},
		{"another country", `call.source.countryCode in ["DE"]`, full, false},
		{"any", `true`, Facts{}, true},
		{"none", `false`, full, false},

		{"missing source does not raise", `call.source.countryCode == "US"`, Facts{}, false},
		{"missing source reads as empty", `call.source.countryCode == ""`, Facts{}, true},
		{"missing source is null", `call.source == null`, Facts{}, true},
		{"present source is not null", `call.source != null`, full, true},
		{"missing source has no country", `has(call.source.countryCode)`, Facts{}, false},
		{"present source has a country", `has(call.source.countryCode)`, full, true},
		{"half a source has no region", `has(call.source.region)`, Facts{CountryCode: "US"}, false},
		{"has a source", `has(call.source)`, full, true},
		{"has no source", `has(call.source)`, Facts{}, false},
		{"missing bot data does not raise", `call.botData.clientLocation.startsWith("EU")`, Facts{}, false},
		{"a section equals itself", `call.source == call.source`, full, true},
		{"a missing tenant", `has(call.tenant)`, Facts{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := mustRules(t, RuleSpec{When: tt.when, Region: "there"}).Home(tt.facts, "here")
			if len(v.Errors) > 0 {
				t.Fatalf("it raised %v", v.Errors)
			}
			if got := v.Rule == 0; got != tt.want || (v.Region == "there") != tt.want {
				t.Errorf("got %+v, want a match: %v", v, tt.want)
			}
		})
	}
}

func TestHomeTakesTheFirstMatch(t *testing.T) {
	r := mustRules(t,
		RuleSpec{When: `call.tenant == "t"`, Region: "emea", Residency: ResidencyHard},
		RuleSpec{When: `call.source.countryCode == "US"`, Region: "amer"},
		RuleSpec{When: `call.source.countryCode in ["US","CA"]`, Region: "apac"},
	)
	tests := []struct {
		facts Facts
		want  RegionVerdict
	}{
		{Facts{Tenant: "t", CountryCode: "US"}, RegionVerdict{Region: "emea", Hard: true, Rule: 0, Why: `region rule 1 matches: call.tenant == "t"`}},
		{Facts{CountryCode: "US"}, RegionVerdict{Region: "amer", Rule: 1, Why: `region rule 2 matches: call.source.countryCode == "US"`}},
		{Facts{CountryCode: "CA"}, RegionVerdict{Region: "apac", Rule: 2, Why: `region rule 3 matches: call.source.countryCode in ["US","CA"]`}},
		{Facts{CountryCode: "DE"}, RegionVerdict{Region: "here", Rule: -1, Why: "no region rule matches, so it stays where it arrived"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, r.Home(tt.facts, "here")); diff != "" {
			t.Errorf("%+v:\n%s", tt.facts, diff)
		}
	}
	var none *Rules
	if got := none.Home(Facts{}, "here"); got.Region != "here" || got.Rule != -1 {
		t.Errorf("no rules gave %+v", got)
	}
}

// TestHomeReportsARuleThatFails: it does not match, the next one is asked, and
// the verdict says so.
func TestHomeReportsARuleThatFails(t *testing.T) {
	r := mustRules(t,
		RuleSpec{When: `1 / size(call.tenant) > 0`, Region: "amer", Residency: ResidencyHard},
		RuleSpec{When: `true`, Region: "apac"},
	)
	v := r.Home(Facts{}, "here")
	if v.Region != "apac" || v.Rule != 1 || v.Hard {
		t.Errorf("got %+v, want rule 2 to match", v)
	}
	if len(v.Errors) != 1 || v.Errors[0].Rule != 0 || !strings.HasPrefix(v.Errors[0].Text, "evaluating rule 1: ") {
		t.Errorf("the failures are %+v, want one of rule 1", v.Errors)
	}
}

// TestRuleCostIsBoundedAtWork: a fact far longer than the estimate assumed.
func TestRuleCostIsBoundedAtWork(t *testing.T) {
	r := mustRules(t, RuleSpec{When: `call.thread.matches("(a|b)*c(d|e)*f")`, Region: "amer"})
	v := r.Home(Facts{Thread: strings.Repeat("ab", 1<<20)}, "here")
	if v.Region != "here" || len(v.Errors) != 1 || !strings.Contains(v.Errors[0].Text, "cost limit") {
		t.Errorf("got %+v, want the cost limit to stop it", v)
	}
}

func TestCompileRulesRefuses(t *testing.T) {
	deep := strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200)
	loop := `[1,2,3,4,5,6,7,8,9].all(a, [1,2,3].all(b, [1,2,3].all(c, call.thread.contains("x"))))`
	matches := strings.TrimSuffix(strings.Repeat(`call.thread.matches("`+strings.Repeat("a", 200)+`") || `, 60), " || ")
	tests := []struct {
		name string
		spec RuleSpec
		want string
	}{
		{"misspelled field", RuleSpec{When: `call.tennant == "x"`, Region: "r"}, "reading region rule 2: line 1, column 5: undefined field 'tennant'"},
		{"misspelled nested field", RuleSpec{When: "true &&\n  call.source.country == \"x\"", Region: "r"}, "reading region rule 2: line 2, column 14: undefined field 'country'"},
		{"unknown variable", RuleSpec{When: `tenant == "x"`, Region: "r"}, "reading region rule 2: line 1, column 1: undeclared reference to 'tenant'"},
		{"wrong type", RuleSpec{When: `call.tenant == 7`, Region: "r"}, "reading region rule 2: line 1, column 13: "},
		{"not a condition", RuleSpec{When: `call.tenant`, Region: "r"}, "it gives a value of type string, wanted is bool"},
		{"not a language", RuleSpec{When: `call.tenant ==`, Region: "r"}, "reading region rule 2: line 1, column 15: "},
		{"two mistakes", RuleSpec{When: `call.x == "" || call.y == ""`, Region: "r"}, "line 1, column 5: undefined field 'x'; line 1, column 21: undefined field 'y'"},
		{"bad regular expression", RuleSpec{When: `call.tenant.matches("(")`, Region: "r"}, "reading region rule 2: line 1, column "},
		{"empty", RuleSpec{When: " \n", Region: "r"}, `reading region rule 2: its condition is empty`},
		{"no region", RuleSpec{When: "true"}, "reading region rule 2: it names no region"},
		{"unknown residency", RuleSpec{When: "true", Region: "r", Residency: "soft"}, `reading region rule 2: its residency is "soft"`},
		{"too deep", RuleSpec{When: deep, Region: "r"}, "reading region rule 2: "},
		{"too long", RuleSpec{When: `call.tenant == "` + strings.Repeat("x", maxExpressionLen) + `"`, Region: "r"}, "reading region rule 2: "},
		{"too costly", RuleSpec{When: matches, Region: "r"}, "units of work, allowed are"},
		{"loops in loops", RuleSpec{When: loop, Region: "r"}, "reading region rule 2: line 1, column "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := CompileRules([]RuleSpec{{When: "true", Region: "r"}, tt.spec, {When: "true", Region: "r"}})
			if r != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want %q in the error", r, err, tt.want)
			}
		})
	}
}

func TestLongTenantListCompiles(t *testing.T) {
	var tenants []string
	for i := range 1000 {
		tenants = append(tenants, fmt.Sprintf("%q", fmt.Sprintf("8986d25d-aaaa-bbbb-cccc-%012d", i)))
	}
	r := mustRules(t, RuleSpec{When: "call.tenant in [" + strings.Join(tenants, ",") + "]", Region: "amer"})
	if v := r.Home(Facts{Tenant: "8986d25d-aaaa-bbbb-cccc-000000000999"}, "here"); v.Region != "amer" || len(v.Errors) > 0 {
		t.Errorf("got %+v", v)
	}
}

func TestRulesVersion(t *testing.T) {
	a, b := RuleSpec{When: "true", Region: "a"}, RuleSpec{When: "true", Region: "b"}
	hard := RuleSpec{When: "true", Region: "a", Residency: ResidencyHard}
	var none *Rules
	seen := map[string]string{}
	for name, r := range map[string]*Rules{
		"none": none, "a": mustRules(t, a), "b": mustRules(t, b), "ab": mustRules(t, a, b), "ba": mustRules(t, b, a), "hard": mustRules(t, hard),
	} {
		if other, ok := seen[r.Version()]; ok || len(r.Version()) != 16 {
			t.Errorf("%s has the version %q, as has %s", name, r.Version(), other)
		}
		seen[r.Version()] = name
	}
	if mustRules(t, a, b).Version() != mustRules(t, a, b).Version() || mustRules(t).Version() != none.Version() { //nolint:staticcheck // compiled twice
		t.Error("equal rules have different versions")
	}
}

func TestRulesInParallel(t *testing.T) {
	r := mustRules(t, RuleSpec{When: `call.source.countryCode == "US"`, Region: "amer"})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				country, want := "US", ownership.Region("amer")
				if i%2 == 0 {
					country, want = "", "here"
				}
				if v := r.Home(Facts{CountryCode: country}, "here"); v.Region != want {
					t.Errorf("%q went to %s", country, v.Region)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestPins(t *testing.T) {
	p, err := CompilePins([]PinSpec{
		{When: `1 / size(call.tenant) > 5`, Pin: ownership.Pin{Node: "x"}},
		{When: `call.tenant == "canary"`, Pin: ownership.Pin{Version: "2.0"}},
		{When: `call.observed == "ann"`, Pin: ownership.Pin{Zone: "a"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	v := p.For(Facts{Tenant: "canary", Observed: "ann"})
	if v.Rule != 1 || v.Pin != (ownership.Pin{Version: "2.0"}) || v.Why != `pin 2 matches: call.tenant == "canary"` || len(v.Errors) != 0 {
		t.Errorf("got %+v, want the second pin", v)
	}
	v = p.For(Facts{Observed: "ann"})
	if v.Pin != (ownership.Pin{Zone: "a"}) || len(v.Errors) != 1 {
		t.Errorf("got %+v, want the third pin and one failure", v)
	}
	if v = p.For(Facts{Tenant: "t"}); v.Rule != -1 || v.Pin != (ownership.Pin{}) {
		t.Errorf("got %+v, want none", v)
	}
	var none *Pins
	if v = none.For(Facts{}); v.Rule != -1 || none.Version() == p.Version() {
		t.Errorf("no pins gave %+v", v)
	}
	for want, bad := range map[string]PinSpec{
		"reading pin 1: line 1, column 5": {When: "call.x == 1", Pin: ownership.Pin{Node: "x"}},
		"reading pin 1: it names no node": {When: "true"},
		"reading pin 1: its condition is": {Pin: ownership.Pin{Node: "x"}},
	} {
		if _, err := CompilePins([]PinSpec{bad}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v gave %v, want %q", bad, err, want)
		}
	}
}

func TestAStepWithoutAWordIsUnknown(t *testing.T) {
	if Step(0).String() != "unknown" || Step(9).String() != "unknown" || StepRefuse.String() != "refuse" {
		t.Errorf("the steps read %s, %s and %s", Step(0), Step(9), StepRefuse)
	}
}

func FuzzCompileRules(f *testing.F) {
	for _, s := range []string{
		`call.tenant == "x"`, `call.source.countryCode in ["US","CA"]`, `has(call.botData) && call.thread.matches("a+")`,
		`call == null`, `call.source`, `[1].all(x, true)`, `tandem.Call{app: "x"} == call`, `dyn(call).tenant == 1`, "\x00", `"`,
		`type(call) == tandem.Call`, `{call.source: 1}.size() > 0`, `string(call.source) == ""`,
	} {
		f.Add(s, "US")
	}
	f.Fuzz(func(t *testing.T, when, country string) {
		r, err := CompileRules([]RuleSpec{{When: when, Region: "there"}})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "reading region rule 1: ") || strings.Contains(err.Error(), "\n") {
				t.Fatalf("the error does not name the rule in one line: %q", err)
			}
			return
		}
		a, b := r.Home(Facts{CountryCode: country}, "here"), r.Home(Facts{CountryCode: country}, "here")
		if a.Region != b.Region || len(a.Errors) != len(b.Errors) || a.Rule == 0 && a.Region != "there" {
			t.Fatalf("the same facts gave %+v and %+v", a, b)
		}
	})
}
