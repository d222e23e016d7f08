package policy

import "testing"

func BenchmarkHome(b *testing.B) {
	r, err := CompileRules([]RuleSpec{
		{When: `call.tenant == "8986d25d-0000-0000-0000-000000000000"`, Region: "emea", Residency: "hard"},
		{When: `call.botData.mediaHostedRegion.startsWith("US")`, Region: "amer"},
		{When: `call.source.countryCode in ["US","CA"]`, Region: "amer"},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if v := r.Home(Facts{Tenant: "t", CountryCode: "CA"}, "emea"); v.Rule != 2 {
			b.Fatal(v)
		}
	}
}
