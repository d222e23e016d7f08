package node

import (
	"fmt"
	"slices"
	"strings"

	"tandem/policy"
)

// policy compiles the configuration's region rules, tables and pins; having none is
// valid.
func (c Config) policy() (*policy.Compiled, error) {
	compiled, err := policy.CompileDocument(policy.Document{Rules: c.Rules, Pins: c.Pins, Tables: c.Tables})
	if err != nil {
		return nil, fmt.Errorf("reading rules and pins: %w", err)
	}
	return compiled, nil
}

// knowsRegionsOf refuses a document for a region that this configuration, which is
// in force, lacks: a new region waits for a restart, and until then nobody here
// could send a call to it.
func (c Config) knowsRegionsOf(d policy.Document) error {
	known := c.regionNames()
	for _, r := range d.Regions() {
		if !slices.Contains(known, string(r)) {
			return fmt.Errorf("the rules name region %q: the running node knows none but %s, and a new region waits for its restart", r, strings.Join(known, ", "))
		}
	}
	return nil
}

// digests tell rules and pins in the shape in which software before tables told them,
// where they have nothing that it would not know: nodes of one file compare equal.
func (c Config) digests() map[string]string {
	type rule struct {
		When, Region, Residency string
		More                    *Rule `json:",omitempty"`
	}
	type pin struct{ When, Node, Zone, Version string }
	var rules []rule
	for _, r := range c.Rules {
		old := rule{When: r.When, Region: string(r.Region), Residency: r.Residency}
		if r.Table != "" || r.By != "" || r.Here != "" || len(r.Spread)+len(r.Overflow) > 0 {
			old.More = &r
		}
		rules = append(rules, old)
	}
	var pins []pin
	for _, p := range c.Pins {
		pins = append(pins, pin{p.When, string(p.Node), p.Zone, p.Version})
	}
	out := map[string]string{"rules": digest(rules), "pins": digest(pins)}
	if len(c.Tables) > 0 {
		out["tables"] = digest(c.Tables)
	}
	return out
}
