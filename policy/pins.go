package policy

import (
	"errors"
	"fmt"

	"tandem/ownership"
)

// PinSpec is one pin as an operator writes it: the nodes that the calls which
// match should go to.
type PinSpec struct {
	When          string `json:"when" yaml:"when"` // CEL over call, see Facts
	ownership.Pin `yaml:",inline"`
}

// Pins is a compiled list of pins. It is safe for concurrent use, and nil holds
// no pin.
type Pins struct {
	specs   []PinSpec
	when    []expression
	version string
}

// PinVerdict is the pin of a call.
type PinVerdict struct {
	Pin    ownership.Pin `json:"pin"`
	Rule   int           `json:"rule"` // index of the pin that matched, from 0; -1: none did
	Why    string        `json:"why"`
	Errors []RuleError   `json:"errors,omitempty"`
}

// CompilePins reads the pins in their order, with errors like those of
// CompileRules.
func CompilePins(specs []PinSpec) (*Pins, error) {
	p := &Pins{specs: append([]PinSpec{}, specs...), when: make([]expression, len(specs))}
	for i, s := range specs {
		var err error
		if p.when[i], err = compileCondition(s.When); err != nil {
			return nil, &entryError{list: "pins", at: i, what: "pin", err: err}
		}
		if s.Pin == (ownership.Pin{}) {
			return nil, &entryError{list: "pins", at: i, what: "pin", err: errors.New("it names no node, zone or version")}
		}
	}
	p.version = fingerprint(p.specs)
	return p, nil
}

// Version is a fingerprint of the pins, as that of Rules.
func (p *Pins) Version() string {
	if p == nil {
		return fingerprint([]PinSpec{})
	}
	return p.version
}

// For returns the pin of a call: that of the first condition that matches, or
// none.
func (p *Pins) For(f Facts) PinVerdict {
	v := PinVerdict{Rule: -1, Why: "no pin matches"}
	if p == nil {
		return v
	}
	for i := range p.when {
		yes, err := p.when[i].matches(&f)
		if err != nil {
			v.Errors = append(v.Errors, failed(i, err))
		}
		if yes {
			v.Pin, v.Rule = p.specs[i].Pin, i
			v.Why = fmt.Sprintf("pin %d matches: %s", i+1, p.specs[i].When)
			break
		}
	}
	return v
}
