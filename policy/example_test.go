package policy_test

import (
	"fmt"

	"tandem/ownership"
	"tandem/policy"
)

// Rules say where a call's home is; RouteRegion what to do about it.
func ExampleRules_Home() {
	rules, err := policy.CompileRules([]policy.RuleSpec{
		{When: `call.tenant == "8986d25d-1111-2222-3333-444455556666"`, Region: "emea", Residency: policy.ResidencyHard},
		{When: `call.source.countryCode in ["US","CA"]`, Region: "amer"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	verdict := rules.Home(policy.Facts{CountryCode: "CA"}, "emea")
	amerIsDown := func(ownership.Region) policy.RegionLook { return policy.RegionLook{} }
	step := policy.RouteRegion(verdict, policy.RouteQuery{Here: "emea", Room: policy.RoomUnknown, Look: amerIsDown})
	fmt.Println(verdict.Region, step.Step, step.Region)
	fmt.Println(step.Why)
	// Output:
	// amer here emea
	// region amer is down, so it stays where it arrived (region rule 2 matches: call.source.countryCode in ["US","CA"])
}

// A mistake in a rule is found when the rules are read.
func ExampleCompileRules() {
	_, err := policy.CompileRules([]policy.RuleSpec{{When: `call.tennant == "x"`, Region: "emea"}})
	fmt.Println(err)
	// Output:
	// reading region rule 1: line 1, column 5: undefined field 'tennant'
}

// A pin is a wish: the calls of one tenant on the nodes of one zone.
func ExamplePins_For() {
	pins, err := policy.CompilePins([]policy.PinSpec{
		{When: `call.tenant == "8986d25d-1111-2222-3333-444455556666"`, Pin: ownership.Pin{Zone: "b"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	verdict := pins.For(policy.Facts{Tenant: "8986d25d-1111-2222-3333-444455556666"})
	fmt.Println(verdict.Pin.Zone, verdict.Why)
	fmt.Println(pins.For(policy.Facts{Tenant: "6e1fc0e1-a55f-4277-89f4-aae9486d40a8"}).Rule)
	// Output:
	// b pin 1 matches: call.tenant == "8986d25d-1111-2222-3333-444455556666"
	// -1
}

// All legs of a meeting go to one region, whichever region hears of them first; the
// legs of two paired apps go to two.
func ExampleReadDocument() {
	compiled, err := policy.ReadDocument([]byte(`
rules:
  - {when: 'call.tenant != ""', table: homes, by: call.tenant, residency: hard}
  - {when: 'call.thread != ""', spread: [emea, amer, apac], by: call.thread, apart: [recorder-a, recorder-b]}
tables:
  homes: {8986d25d-1111-2222-3333-444455556666: emea}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	first := compiled.Rules.Home(policy.Facts{App: "recorder-a", Thread: "19:meeting"}, "emea")
	second := compiled.Rules.Home(policy.Facts{App: "recorder-b", Thread: "19:meeting"}, "amer")
	fmt.Println(first.Region, second.Region)

	_, err = policy.ReadDocument([]byte("rules:\n  - when: 'true'\n    regin: emea\n"))
	fmt.Println(err)
	_, err = policy.ReadDocument([]byte("rules:\n  - {when: 'true', region: emea}\n  - {when: 'call.tennant == \"x\"', region: emea}\n"))
	fmt.Println(err)
	// Output:
	// apac emea
	// reading the rules: line 3: field regin is no key of a rule
	// reading region rule 2 (line 3): line 1, column 5: undefined field 'tennant'
}
