package node

import (
	"fmt"

	"tandem/ownership"
)

// law compiles the region rules and the pins; none is a valid law.
func (c Config) law() (*ownership.Rules, *ownership.Pins, error) {
	rules := make([]ownership.RuleSpec, len(c.Rules))
	for i, r := range c.Rules {
		rules[i] = ownership.RuleSpec{When: r.When, Region: ownership.Region(r.Region), Residency: r.Residency}
	}
	pins := make([]ownership.PinSpec, len(c.Pins))
	for i, p := range c.Pins {
		pins[i] = ownership.PinSpec{When: p.When, Pin: ownership.Pin{Node: ownership.NodeID(p.Node), Zone: p.Zone, Version: p.Version}}
	}
	compiled, err := ownership.CompileRules(rules)
	if err != nil {
		return nil, nil, fmt.Errorf("reading rules: %w", err)
	}
	pinned, err := ownership.CompilePins(pins)
	if err != nil {
		return nil, nil, fmt.Errorf("reading pins: %w", err)
	}
	return compiled, pinned, nil
}
