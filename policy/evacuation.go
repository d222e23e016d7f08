package policy

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

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

// Evacuate writes an evacuation into the text of a document, and leaves the rest of it,
// comments too, as it is. No regions to go to: the region is evacuated no more, see
// ErrNotEvacuated.
func Evacuate(text string, region ownership.Region, to []ownership.Region) (string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return "", fmt.Errorf("reading the rules: %w", err)
	}
	if len(doc.Content) == 0 { // nothing but comments, at most
		doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return "", errors.New("reading the rules: the document is no mapping")
	}
	all := child(root, "evacuated")
	if len(to) == 0 {
		if all == nil || !remove(all, string(region)) {
			return "", fmt.Errorf("region %s: %w", region, ErrNotEvacuated)
		}
		if len(all.Content) == 0 {
			remove(root, "evacuated")
		}
	} else {
		if all == nil {
			all = &yaml.Node{Kind: yaml.MappingNode}
			root.Content = append(root.Content, scalar("evacuated"), all)
		}
		remove(all, string(region))
		var value yaml.Node
		if err := value.Encode(Evacuation{To: to}); err != nil {
			return "", fmt.Errorf("writing the rules: %w", err)
		}
		value.Style = yaml.FlowStyle
		all.Content = append(all.Content, scalar(string(region)), &value)
	}
	if len(root.Content) == 0 {
		return "rules: []\n", nil
	}
	out, err := yaml.Marshal(&doc)
	if err != nil {
		return "", fmt.Errorf("writing the rules: %w", err)
	}
	return string(out), nil
}

// ErrNotEvacuated says that a region takes new calls as ever.
var ErrNotEvacuated = errors.New("it is not evacuated")

func scalar(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// child returns the value of a mapping's key; nil: there is none.
func child(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key && mapping.Content[i+1].Kind == yaml.MappingNode {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// remove takes a key out of a mapping, and reports whether it was there.
func remove(mapping *yaml.Node, key string) bool {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			mapping.Content = slices.Delete(mapping.Content, i, i+2)
			return true
		}
	}
	return false
}
