package policy

import (
	"fmt"
	"time"

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

// HopMargin is what must be left of the answer's clock after a redirect: the other
// region's claim, its bot and the answer itself.
const HopMargin = time.Second

// RoomUnknown is the room of a region that has not told it. Such a region counts as
// one with room: it knows better than anybody else, and says so itself.
const RoomUnknown = -1

// RouteQuery is all that RouteRegion knows of the moment.
type RouteQuery struct {
	Here   ownership.Region
	Marked bool                              // another region sent it here, or it came on a callback URI of this one
	Left   time.Duration                     // until the answer must be out, below 0 where it is late; 0: no clock
	Room   int                               // more calls of the app that this region can hold; RoomUnknown
	Look   func(ownership.Region) RegionLook // at another region; nil: all are down
}

// RegionLook is another region as it is known here.
type RegionLook struct {
	Up     bool          // it answers, and has an address
	Room   int           // more calls of the app that it can hold; RoomUnknown
	Detour time.Duration // what a redirect there costs
}

// RouteRegion decides whether a new call stays in the region that received it. It is a
// function of its arguments alone.
//
// A request that carries a valid hop mark was sent here by another region and
// is never sent on, so no two regions can play ball with a call while they hold
// different rules. A home that is down, or full while another may stand in for it,
// or that is evacuated, yields to the first of RegionVerdict.Overflow that is neither
// down nor full, else it is stood in for here; but where the rule is hard nobody else may take the call.
func RouteRegion(v RegionVerdict, q RouteQuery) RegionStep {
	home := v.Region
	switch {
	case home == "" || home == q.Here && (v.Hard || q.Marked):
		return RegionStep{StepHere, q.Here, v.Why}
	case q.Marked && v.Hard:
		return RegionStep{StepRefuse, home, fmt.Sprintf(
			"another region sent it here, but by a hard rule of this region it belongs to %s (%s)", home, v.Why)}
	case q.Marked:
		return RegionStep{StepHere, q.Here, fmt.Sprintf(
			"another region sent it here, so it stays, though it belongs to %s (%s)", home, v.Why)}
	case v.Hard && q.look(home).Up:
		return RegionStep{StepRedirect, home, v.Why}
	case v.Hard:
		return RegionStep{StepRefuse, home, fmt.Sprintf("region %s is down and its residency is hard (%s)", home, v.Why)}
	case home == q.Here && (v.Here == HereForce || q.Room != 0 && !v.Evacuated):
		return RegionStep{StepHere, q.Here, v.Why}
	case v.Here == HereForce:
		return RegionStep{StepHere, q.Here, fmt.Sprintf("its rule keeps it where it arrived (%s)", v.Why)}
	case v.Here == HerePrefer && q.Room != 0:
		return RegionStep{StepHere, q.Here, fmt.Sprintf("its rule prefers where it arrived, and there is room (%s)", v.Why)}
	}
	step := q.soft(v)
	if look := q.look(step.Region); step.Step == StepRedirect && q.Left != 0 && q.Left < look.Detour+HopMargin {
		return RegionStep{StepHere, q.Here, fmt.Sprintf(
			"the way to region %s takes %s and the answer needs %s more, but only %s are left, so it stays where it arrived (%s)",
			step.Region, look.Detour, HopMargin, max(0, q.Left), v.Why)}
	}
	return step
}

// soft finds the region for a call that may go anywhere, whatever the clock says.
func (q RouteQuery) soft(v RegionVerdict) RegionStep {
	home := q.look(v.Region)
	state := "is down"
	switch {
	case v.Evacuated:
		state = "is evacuated"
	case home.Up && home.Room != 0:
		return RegionStep{q.stepTo(v.Region), v.Region, v.Why}
	case home.Up:
		state = "has no room"
	}
	for _, r := range v.Overflow {
		if look := q.look(r); look.Up && look.Room != 0 {
			return RegionStep{q.stepTo(r), r, fmt.Sprintf("region %s %s, and %s stands in for it (%s)", v.Region, state, r, v.Why)}
		}
	}
	switch {
	case !home.Up, v.Evacuated:
		return RegionStep{StepHere, q.Here, fmt.Sprintf("region %s %s, so it stays where it arrived (%s)", v.Region, state, v.Why)}
	case len(v.Overflow) > 0:
		return RegionStep{q.stepTo(v.Region), v.Region, fmt.Sprintf("region %s has no room, and no other can stand in for it (%s)", v.Region, v.Why)}
	default: // what is known of its room may be a second old: it decides itself
		return RegionStep{q.stepTo(v.Region), v.Region, v.Why}
	}
}

func (q RouteQuery) stepTo(r ownership.Region) Step {
	if r == q.Here {
		return StepHere
	}
	return StepRedirect
}

// look is what is known of a region, this one included.
func (q RouteQuery) look(r ownership.Region) RegionLook {
	switch {
	case r == q.Here:
		return RegionLook{Up: true, Room: q.Room}
	case q.Look == nil:
		return RegionLook{}
	default:
		return q.Look(r)
	}
}
