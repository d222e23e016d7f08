package policy

import (
	"errors"
	"fmt"
	"slices"

	"tandem/ownership"
)

// Evacuation takes a region out of service for new calls, as a part of the rules: so
// every region knows of it by the way that rules travel, and the region of a new call
// stays a function of its notification and the rules. Live calls stay where they are,
// and so do new ones that a hard rule, or here: force, binds to the region.
type Evacuation struct {
	To []ownership.Region `json:"to" yaml:"to"` // who takes its new calls, in this order
}

// checkEvacuated says why regions cannot be evacuated so.
func (d Document) checkEvacuated() error {
	for region, e := range d.Evacuated {
		if region == "" {
			return errors.New("evacuated has an entry without a region")
		}
		if err := distinct("to", e.To); err != nil {
			return fmt.Errorf("region %s is evacuated, but %w", region, err)
		}
		if slices.Contains(e.To, region) {
			return fmt.Errorf("region %s is evacuated to itself", region)
		}
		if len(d.remaining(e.To)) == 0 {
			return fmt.Errorf("region %s is evacuated, but its to names no region that is not", region)
		}
	}
	return nil
}

// remaining are the regions of a list that are not evacuated themselves.
func (d Document) remaining(regions []ownership.Region) []ownership.Region {
	return slices.DeleteFunc(slices.Clone(regions), func(r ownership.Region) bool { _, out := d.Evacuated[r]; return out })
}

// evacuate changes a verdict where its home, those that stand in for it, or this region
// are evacuated.
func (d Document) evacuate(v *RegionVerdict, here ownership.Region) {
	home, homeOut := d.Evacuated[v.Region]
	from, hereOut := d.Evacuated[here]
	if v.Hard || v.Here == HereForce || len(d.Evacuated) == 0 {
		return
	}
	v.Evacuated = homeOut
	if hereOut {
		v.Here = "" // it prefers to stay where nothing shall stay
	}
	if others := append(append(slices.Clone(v.Overflow), home.To...), from.To...); len(others) > 0 {
		v.Overflow = nil
		for _, r := range d.remaining(others) {
			if r != v.Region && !slices.Contains(v.Overflow, r) {
				v.Overflow = append(v.Overflow, r)
			}
		}
	}
}
