package node

import (
	"fmt"

	"tandem/ownership"
	"tandem/policy"
)

// policy compiles the region rules and the pins; having none is valid.
func (c Config) policy() (*policy.Rules, *policy.Pins, error) {
	rules := make([]policy.RuleSpec, len(c.Rules))
	for i, r := range c.Rules {
		rules[i] = policy.RuleSpec{When: r.When, Region: ownership.Region(r.Region), Residency: r.Residency}
	}
	pins := make([]policy.PinSpec, len(c.Pins))
	for i, p := range c.Pins {
		pins[i] = policy.PinSpec{When: p.When, Pin: ownership.Pin{Node: ownership.NodeID(p.Node), Zone: p.Zone, Version: p.Version}}
	}
	compiled, err := policy.CompileRules(rules)
	if err != nil {
		return nil, nil, fmt.Errorf("reading rules: %w", err)
	}
	pinned, err := policy.CompilePins(pins)
	if err != nil {
		return nil, nil, fmt.Errorf("reading pins: %w", err)
	}
	return compiled, pinned, nil
}
