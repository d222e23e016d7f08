package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"tandem/ownership"
)

// ResidencyHard marks a rule whose calls are never handled in another region,
// not even while theirs is down.
const ResidencyHard = "hard"

// RuleSpec is one region rule as an operator writes it.
type RuleSpec struct {
	When      string           `json:"when"`                // CEL over call, see Facts
	Region    ownership.Region `json:"region"`              // home of the calls that match
	Residency string           `json:"residency,omitempty"` // "hard" or ""
}

// Rules is a compiled list of region rules. It is safe for concurrent use, and
// nil holds no rule.
type Rules struct {
	specs   []RuleSpec
	when    []expression
	version string
}

// RuleError says that a rule could not be evaluated for a call.
type RuleError struct {
	Rule int    `json:"rule"` // as in RegionVerdict
	Text string `json:"text"`
}

// RegionVerdict is the home region of a call.
type RegionVerdict struct {
	Region ownership.Region `json:"region"`
	Hard   bool             `json:"hard,omitempty"`   // never handle it elsewhere
	Rule   int              `json:"rule"`             // index of the rule that matched, from 0; -1: none did
	Why    string           `json:"why"`              // one sentence, rules numbered from 1 as operators count
	Errors []RuleError      `json:"errors,omitempty"` // rules that could not be evaluated, and so did not match
}

// CompileRules reads the rules in their order. It refuses all of them for one
// bad one, and names that rule's number, counted from 1, and the position.
func CompileRules(specs []RuleSpec) (*Rules, error) {
	r := &Rules{specs: append([]RuleSpec{}, specs...), when: make([]expression, len(specs))}
	for i, s := range specs {
		var err error
		if r.when[i], err = compile(s.When); err != nil {
			return nil, fmt.Errorf("reading region rule %d: %w", i+1, err)
		}
		if s.Region == "" {
			return nil, fmt.Errorf("reading region rule %d: it names no region", i+1)
		}
		if s.Residency != "" && s.Residency != ResidencyHard {
			return nil, fmt.Errorf("reading region rule %d: its residency is %q, allowed are %q and nothing", i+1, s.Residency, ResidencyHard)
		}
	}
	r.version = fingerprint(r.specs)
	return r, nil
}

// Version is a fingerprint of the rules: equal rules in equal order have equal
// versions, in every region.
func (r *Rules) Version() string {
	if r == nil {
		return fingerprint([]RuleSpec{})
	}
	return r.version
}

// Home returns the region that a new call belongs to: that of the first rule that
// matches, or here when none does. A rule that fails on this call does not
// match, and is reported in the verdict.
func (r *Rules) Home(f Facts, here ownership.Region) RegionVerdict {
	v := RegionVerdict{Region: here, Rule: -1, Why: "no region rule matches, so it stays where it arrived"}
	if r == nil {
		return v
	}
	i, errs := first(r.when, &f)
	v.Errors = errs
	if i >= 0 {
		s := r.specs[i]
		v.Region, v.Hard, v.Rule = s.Region, s.Residency == ResidencyHard, i
		v.Why = fmt.Sprintf("region rule %d matches: %s", i+1, s.When)
	}
	return v
}

// first returns the index of the first condition that holds, -1 for none, and the
// conditions before it that failed.
func first(when []expression, f *Facts) (int, []RuleError) {
	var errs []RuleError
	for i := range when {
		yes, err := when[i].matches(f)
		if err != nil {
			errs = append(errs, RuleError{Rule: i, Text: fmt.Sprintf("evaluating rule %d: %v", i+1, err)})
		}
		if yes {
			return i, errs
		}
	}
	return -1, errs
}

// fingerprint hashes what an operator wrote.
func fingerprint[T any](specs []T) string {
	text, err := json.Marshal(specs)
	if err != nil {
		panic(fmt.Sprintf("hashing rules: %v", err)) // specs are structs of strings
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
