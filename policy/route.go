package policy

import (
	"fmt"

	"tandem/ownership"
)

// Step says what the receiving region does with a new call.
type Step uint8

// The steps. The zero value is no valid step.
const (
	StepHere     Step = iota + 1 // place it in this region
	StepRedirect                 // send the caller to RegionStep.Region
	StepRefuse                   // nobody may answer now: 503 with Retry-After
)

var steps = []string{"", "here", "redirect", "refuse"}

// String returns the word users meet.
func (s Step) String() string {
	if s == 0 || int(s) >= len(steps) {
		return "unknown"
	}
	return steps[s]
}

// MarshalText writes the word users meet.
func (s Step) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// RegionStep is the decision between regions.
type RegionStep struct {
	Step   Step             `json:"step"`
	Region ownership.Region `json:"region"` // where the call is handled, or would have to be
	Why    string           `json:"why"`
}

// RouteRegion decides whether a new call stays in the region that received it.
//
// A request that carries a valid hop mark was sent here by another region and
// is never sent on, so no two regions can play ball with a call while they hold
// different rules. A home region that is down is stood in for here, unless the
// rule is hard: then nobody may take the call.
func RouteRegion(verdict RegionVerdict, here ownership.Region, marked bool, healthy func(ownership.Region) bool) RegionStep {
	home := verdict.Region
	switch {
	case home == here || home == "":
		return RegionStep{StepHere, here, verdict.Why}
	case marked && verdict.Hard:
		return RegionStep{StepRefuse, home, fmt.Sprintf(
			"another region sent it here, but by a hard rule of this region it belongs to %s (%s)", home, verdict.Why)}
	case marked:
		return RegionStep{StepHere, here, fmt.Sprintf(
			"another region sent it here, so it stays, though it belongs to %s (%s)", home, verdict.Why)}
	case healthy(home):
		return RegionStep{StepRedirect, home, verdict.Why}
	case verdict.Hard:
		return RegionStep{StepRefuse, home, fmt.Sprintf("region %s is down and its residency is hard (%s)", home, verdict.Why)}
	default:
		return RegionStep{StepHere, here, fmt.Sprintf("region %s is down, so it stays where it arrived (%s)", home, verdict.Why)}
	}
}
