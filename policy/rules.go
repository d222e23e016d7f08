package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"tandem/ownership"
)

// ResidencyHard marks a rule whose calls are never handled in another region,
// not even while theirs is down.
const ResidencyHard = "hard"

// How far a rule lets a call stay in the region where it arrived.
const (
	HerePrefer = "prefer" // while that region has room for the app
	HereForce  = "force"  // always
)

// RuleSpec is one region rule as an operator writes it. Exactly one of Region, Table
// and Spread says where the calls that match are at home.
type RuleSpec struct {
	When      string             `json:"when" yaml:"when"`                               // CEL over call, see Facts
	Region    ownership.Region   `json:"region,omitempty" yaml:"region,omitempty"`       // home of the calls that match
	Table     string             `json:"table,omitempty" yaml:"table,omitempty"`         // home by the table of this name; where it has no entry the rule does not match
	Spread    []ownership.Region `json:"spread,omitempty" yaml:"spread,omitempty"`       // home by a hash over these regions, the same in every region
	By        string             `json:"by,omitempty" yaml:"by,omitempty"`               // CEL, a text: what Table is asked for and Spread hashes; "" does not match
	Apart     []ownership.AppID  `json:"apart,omitempty" yaml:"apart,omitempty"`         // with Spread: the calls of these apps that have one By get different regions
	Residency string             `json:"residency,omitempty" yaml:"residency,omitempty"` // "hard" or ""
	Here      string             `json:"here,omitempty" yaml:"here,omitempty"`           // "prefer", "force" or ""
	Overflow  []ownership.Region `json:"overflow,omitempty" yaml:"overflow,omitempty"`   // in their order, where the home is full or down
}

// Tables are named mappings from a text to a region.
type Tables map[string]map[string]ownership.Region

// Rules is a compiled list of region rules. It is safe for concurrent use, and
// nil holds no rule.
type Rules struct {
	rules   []rule
	of      Document
	version string
}

// rule is one compiled rule.
type rule struct {
	RuleSpec
	when, by expression
	table    map[string]ownership.Region
}

// RuleError says that a rule could not be evaluated for a call.
type RuleError struct {
	Rule int    `json:"rule"` // as in RegionVerdict
	Text string `json:"text"`
}

// RegionVerdict is the home region of a call.
type RegionVerdict struct {
	Region    ownership.Region   `json:"region"`
	Hard      bool               `json:"hard,omitempty"`      // never handle it elsewhere
	Here      string             `json:"here,omitempty"`      // prefer or force: handle it where it arrived
	Overflow  []ownership.Region `json:"overflow,omitempty"`  // who stands in for the home, in this order
	Evacuated bool               `json:"evacuated,omitempty"` // the home takes no new calls: who stands in for it does
	Rule      int                `json:"rule"`                // index of the rule that matched, from 0; -1: none did
	Why       string             `json:"why"`                 // one sentence, rules numbered from 1 as operators count
	Errors    []RuleError        `json:"errors,omitempty"`    // rules that could not be evaluated, and so did not match
}

// CompileRules reads the rules in their order. It refuses all of them for one
// bad one, and names that rule's number, counted from 1, and the position.
func CompileRules(specs []RuleSpec) (*Rules, error) { return compileRules(Document{Rules: specs}) }

func compileRules(d Document) (*Rules, error) {
	specs := append([]RuleSpec{}, d.Rules...)
	r := &Rules{rules: make([]rule, len(specs)), of: d}
	for i, s := range specs {
		var err error
		if r.rules[i], err = compileRule(s, d.Tables); err != nil {
			return nil, &entryError{list: "rules", at: i, what: "region rule", err: err}
		}
	}
	if r.version = fingerprint(specs); len(d.Tables)+len(d.Evacuated) > 0 {
		r.version = fingerprint(Document{Rules: specs, Tables: d.Tables, Evacuated: d.Evacuated})
	}
	return r, nil
}

func compileRule(s RuleSpec, tables Tables) (rule, error) {
	r := rule{RuleSpec: s}
	var err error
	if r.when, err = compileCondition(s.When); err != nil {
		return r, err
	}
	if err := s.check(); err != nil {
		return r, err
	}
	if s.By != "" {
		if r.by, err = compileText(s.By); err != nil {
			return r, fmt.Errorf("its by: %w", err)
		}
	}
	if s.Table != "" {
		known := false
		if r.table, known = tables[s.Table]; !known {
			return r, fmt.Errorf("its table %q is not among the tables", s.Table)
		}
	}
	return r, nil
}

// check says what does not fit together.
func (s RuleSpec) check() error {
	homes := 0
	for _, has := range []bool{s.Region != "", s.Table != "", len(s.Spread) > 0} {
		if has {
			homes++
		}
	}
	switch {
	case homes == 0:
		return errors.New("it names no region (write region, table or spread)")
	case homes > 1:
		return errors.New("region, table and spread exclude each other")
	case s.Region != "" && s.By != "":
		return errors.New("by goes with table or spread, not with region")
	case s.Region == "" && s.By == "":
		return errors.New(`table and spread need by, a text such as call.tenant or call.thread`)
	case s.Residency != "" && s.Residency != ResidencyHard:
		return fmt.Errorf("its residency is %q, allowed are %q and nothing", s.Residency, ResidencyHard)
	case s.Here != "" && s.Here != HerePrefer && s.Here != HereForce:
		return fmt.Errorf("its here is %q, allowed are %q, %q and nothing", s.Here, HerePrefer, HereForce)
	case s.Residency != "" && s.Here != "":
		return errors.New("residency: hard and here exclude each other: a hard rule's calls are handled in its region only")
	case s.Residency != "" && len(s.Overflow) > 0:
		return errors.New("residency: hard and overflow exclude each other: a hard rule's calls are handled in its region only")
	case s.Here == HereForce && len(s.Overflow) > 0:
		return errors.New("here: force and overflow exclude each other: its calls stay where they arrive")
	case len(s.Spread) > 0 && len(s.Overflow) > 0:
		return errors.New("spread and overflow exclude each other: the regions of a spread stand in for one another")
	case len(s.Apart) > 0 && len(s.Spread) == 0:
		return errors.New("apart goes with spread only")
	case len(s.Apart) > len(s.Spread):
		return fmt.Errorf("it keeps %d apps apart in %d regions", len(s.Apart), len(s.Spread))
	}
	if err := distinct("spread", s.Spread); err != nil {
		return err
	}
	if err := distinct("apart", lower(s.Apart)); err != nil {
		return err
	}
	return distinct("overflow", s.Overflow)
}

// distinct refuses a list that names one thing twice, or nothing.
func distinct[T ~string](name string, list []T) error {
	seen := map[T]bool{}
	for _, v := range list {
		switch {
		case v == "":
			return fmt.Errorf("its %s has an empty entry", name)
		case seen[v]:
			return fmt.Errorf("its %s names %q twice", name, v)
		}
		seen[v] = true
	}
	return nil
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
	for i := range r.rules {
		x := &r.rules[i]
		homes, how, err := x.homes(&f)
		if err != nil {
			v.Errors = append(v.Errors, failed(i, err))
		}
		if len(homes) == 0 {
			continue
		}
		v.Region, v.Overflow, v.Hard, v.Here, v.Rule = homes[0], homes[1:], x.Residency == ResidencyHard, x.Here, i
		v.Why = fmt.Sprintf("region rule %d matches: %s%s", i+1, x.When, how)
		if v.Hard || v.Here == HereForce || len(v.Overflow) == 0 {
			v.Overflow = nil
		}
		break
	}
	r.of.evacuate(&v, here)
	return v
}

// homes returns the rule's region for a call and those that stand in for it; none: it
// does not match.
func (x *rule) homes(f *Facts) (homes []ownership.Region, how string, err error) {
	if yes, err := x.when.matches(f); err != nil || !yes {
		return nil, "", err
	}
	if x.Region != "" {
		return append([]ownership.Region{x.Region}, x.Overflow...), "", nil
	}
	by, err := x.by.read(f)
	if err != nil || by == "" {
		return nil, "", err
	}
	if len(x.Spread) > 0 {
		homes = spread(x.Spread, by, apartRank(x.Apart, f.App), len(x.Apart))
		return homes, fmt.Sprintf(`; its spread gives %s for %.64q`, homes[0], by), nil
	}
	home, ok := x.table[by]
	if !ok {
		return nil, "", nil
	}
	return append([]ownership.Region{home}, x.Overflow...), fmt.Sprintf(`; its table %s gives %s for %.64q`, x.Table, home, by), nil
}

func failed(rule int, err error) RuleError {
	return RuleError{Rule: rule, Text: fmt.Sprintf("evaluating rule %d: %v", rule+1, err)}
}

// fingerprint hashes what an operator wrote.
func fingerprint[T any](specs T) string {
	text, err := json.Marshal(specs)
	if err != nil {
		panic(fmt.Sprintf("hashing rules: %v", err)) // specs are structs of strings
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
