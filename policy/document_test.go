package policy

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"tandem/ownership"
)

const document = `
rules:
  - when: call.tenant != ""
    table: homes
    by: call.tenant
    residency: hard
  - when: call.observed != ""
    spread: [emea, amer]
    by: call.thread
    apart: [APP-A, app-b]
  - {when: 'call.source.countryCode == "NO"', region: emea, overflow: [amer], here: prefer}
pins:
  - {when: 'call.tenant == "canary"', version: "2.0"}
tables:
  homes:
    t1: emea
    NO: amer
`

func TestReadDocument(t *testing.T) {
	c, err := ReadDocument([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		facts Facts
		rule  int
		home  ownership.Region
		why   string
	}{
		{Facts{Tenant: "T1"}, 0, "emea", `region rule 1 matches: call.tenant != ""; its table homes gives emea for "t1"`},
		{Facts{Tenant: "other", CountryCode: "NO"}, 2, "emea", `region rule 3 matches: call.source.countryCode == "NO"`},
		{Facts{Tenant: "other"}, -1, "here", "no region rule matches"},
		{Facts{Observed: "ann"}, -1, "here", "no region rule matches"}, // no thread, nothing to hash
	} {
		v := c.Rules.Home(tt.facts, "here")
		if v.Rule != tt.rule || v.Region != tt.home || !strings.HasPrefix(v.Why, tt.why) || len(v.Errors) > 0 {
			t.Errorf("%+v gave %+v, want rule %d to %s (%s)", tt.facts, v, tt.rule, tt.home, tt.why)
		}
	}
	if v := c.Rules.Home(Facts{CountryCode: "NO"}, "here"); v.Here != HerePrefer || len(v.Overflow) != 1 || v.Overflow[0] != "amer" {
		t.Errorf("got %+v", v)
	}
	a := c.Rules.Home(Facts{Observed: "ann", Thread: "19:x", App: "app-a"}, "here")
	b := c.Rules.Home(Facts{Observed: "ann", Thread: "19:x", App: "APP-B"}, "there")
	if a.Rule != 1 || b.Rule != 1 || a.Region == b.Region {
		t.Errorf("the legs of two apps kept apart go to %+v and %+v", a, b)
	}
	if p := c.Pins.For(Facts{Tenant: "canary"}); p.Pin.Version != "2.0" {
		t.Errorf("got %+v", p)
	}
	if got := c.Regions(); !reflect.DeepEqual(got, []ownership.Region{"amer", "emea"}) {
		t.Errorf("it names %v", got)
	}
	other, err := ReadDocument([]byte(strings.Replace(document, "t1: emea", "t1: amer", 1)))
	if err != nil || other.Rules.Version() == c.Rules.Version() {
		t.Errorf("another table has the same version (%v)", err)
	}
	if _, err := ReadDocument([]byte("{\n\t\"rules\": [\n\t\t{\"when\": \"true\", \"region\": \"emea\"}\n\t]\n}")); err != nil {
		t.Errorf("JSON with tabs: %v", err)
	}
}

func TestReadDocumentRefuses(t *testing.T) {
	entries := func(n int) string {
		var b strings.Builder
		b.WriteString("tables:\n  t:\n")
		for i := range n {
			fmt.Fprintf(&b, "    k%d: emea\n", i)
		}
		return b.String()
	}
	tables := "tables:\n"
	for i := range maxTables + 1 {
		tables += fmt.Sprintf("  t%d: {a: emea}\n", i)
	}
	rule := func(s string) string {
		return "rules:\n  - {when: 'true', region: emea}\n  - {when: 'true', " + s + "}\n"
	}
	for name, tt := range map[string]struct{ text, want string }{
		"empty":               {"", "the document is empty"},
		"not YAML":            {"rules: [", "reading the rules: line 1"},
		"an unknown key":      {"rules:\n  - when: 'true'\n    regin: emea\n", "reading the rules: line 3: field regin is no key of a rule"},
		"an unknown key, too": {"rules: []\nrule: []\n", "reading the rules: line 2: field rule is no key of the document"},
		"of a pin":            {"pins:\n  - {when: 'true', nod: x}\n", "line 2: field nod is no key of a pin"},
		"in JSON":             {"{\n\t\"rules\": [\n\t\t{\"when\": \"true\", \"regin\": \"emea\"}]}", "line 3: field regin is no key of a rule"},
		"a key twice":         {"rules: []\nrules: []\n", `line 2: mapping key "rules" already defined at line 1`},
		"two documents":       {"rules: []\n---\nrules: []\n", "more than one YAML document"},
		"too long":            {strings.Repeat("#", MaxDocument+1), "at most 262144 are allowed"},
		"many rules":          {"rules:\n" + strings.Repeat("  - {when: 'true', region: emea}\n", maxRules+1), "there are 1001 rules, at most 1000"},
		"many tables":         {tables, "there are 65 tables, at most 64"},
		"many entries":        {entries(maxEntries + 1), "have 10001 entries, at most 10000"},
		"an empty entry":      {"tables: {t: {a: ''}}", "table t has an entry without"},
		"a table of no name":  {"tables: {'': {a: emea}}", "a table has no name"},
		"a mistake in CEL":    {"rules:\n  - when: 'true'\n    region: emea\n  - when: call.tennant == ''\n    region: emea\n", "reading region rule 2 (line 4): line 1, column 5: undefined field 'tennant'"},
		"a pin's mistake":     {"rules: []\npins:\n\n  - {when: 'call.x', node: x}\n", "reading pin 1 (line 4): line 1, column 5"},

		"no home":             {rule("residency: hard"), "reading region rule 2 (line 3): it names no region"},
		"two homes":           {rule("region: emea, spread: [emea], by: call.thread"), "exclude each other"},
		"by without use":      {rule("region: emea, by: call.thread"), "by goes with table or spread"},
		"no by":               {rule("spread: [emea, amer]"), "need by"},
		"by of another type":  {rule("spread: [emea, amer], by: '7'"), "its by: it gives a value of type int, wanted is string"},
		"no such table":       {rule("table: homes, by: call.tenant"), `its table "homes" is not among the tables`},
		"odd here":            {rule("region: emea, here: always"), `its here is "always"`},
		"hard and here":       {rule("region: emea, residency: hard, here: prefer"), "residency: hard and here exclude"},
		"hard and overflow":   {rule("region: emea, residency: hard, overflow: [amer]"), "residency: hard and overflow exclude"},
		"force and overflow":  {rule("region: emea, here: force, overflow: [amer]"), "here: force and overflow exclude"},
		"spread and overflow": {rule("spread: [emea], by: call.thread, overflow: [amer]"), "spread and overflow exclude"},
		"apart without":       {rule("region: emea, apart: [a, b]"), "apart goes with spread only"},
		"more apart":          {rule("spread: [emea], by: call.thread, apart: [a, b]"), "it keeps 2 apps apart in 1 regions"},
		"apart twice":         {rule("spread: [emea, amer], by: call.thread, apart: [a, A]"), `its apart names "a" twice`},
		"spread twice":        {rule("spread: [emea, emea], by: call.thread"), `its spread names "emea" twice`},
		"an empty overflow":   {rule("region: emea, overflow: ['']"), "its overflow has an empty entry"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ReadDocument([]byte(tt.text))
			if c != nil || err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q in the error", err, tt.want)
			}
		})
	}
}

func FuzzReadDocument(f *testing.F) {
	for _, s := range []string{
		document, "rules: []", "{}", "rules: [null]", "tables: {a: *x}", "a: &a [*a]", "rules: &r [{when: 'true', region: x}]\npins: *r",
		"{\"rules\":\t[{\"when\": \"call.by\"}]}", "rules:\n  - {when: 'true', spread: [a, b], by: 'call.thread + call.app', apart: [x]}", "\xff", "--- !!binary x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ReadDocument([]byte(text))
		if err != nil {
			if c != nil || strings.Contains(err.Error(), "\n") {
				t.Fatalf("the error is not one line: %q", err)
			}
			return
		}
		facts := Facts{Thread: "19:x", Tenant: "t", App: "x"}
		a, b := c.Rules.Home(facts, "here"), c.Rules.Home(facts, "here")
		if !reflect.DeepEqual(a, b) || a.Rule >= 0 && a.Region == "" || a.Hard && len(a.Overflow) > 0 {
			t.Fatalf("odd: %+v and %+v", a, b)
		}
	})
}
