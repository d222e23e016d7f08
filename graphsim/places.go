package graphsim

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// hopKind tells the kinds of redirect targets apart.
type hopKind int

const (
	hopStray hopKind = iota
	hopRegion
	hopNode
)

// places is the public DNS: the registered webhook name and the regions' names
// resolve to nodes.
type places struct {
	mu      sync.RWMutex
	targets []Target
	regions map[string]string // region to base URL
}

// spot is where one POST goes.
type spot struct {
	url    string // with the node's own address
	name   string // Host header; empty: that of url
	node   string // empty: nobody's URL
	region string
	kind   hopKind
}

// SetTargets changes what the public names resolve to.
func (c *Cloud) SetTargets(targets []Target) error {
	for _, t := range targets {
		if _, err := parseBase(t.URL); err != nil {
			return fmt.Errorf("setting the targets: node %s: %w", t.Node, err)
		}
	}
	c.places.mu.Lock()
	defer c.places.mu.Unlock()
	c.places.targets = append([]Target(nil), targets...)
	return nil
}

// SetRegionURLs changes the bases of the regions' callback URIs.
func (c *Cloud) SetRegionURLs(bases map[string]string) error {
	regions := map[string]string{}
	for region, base := range bases {
		if _, err := parseBase(base); err != nil {
			return fmt.Errorf("setting the URL of region %s: %w", region, err)
		}
		regions[region] = base
	}
	c.places.mu.Lock()
	defer c.places.mu.Unlock()
	c.places.regions = regions
	return nil
}

// names returns the regions that have targets, in the targets' order.
func (p *places) names() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var out []string
	seen := map[string]bool{}
	for _, t := range p.targets {
		if !seen[t.Region] {
			seen[t.Region] = true
			out = append(out, t.Region)
		}
	}
	return out
}

// pick resolves a region's name to one of its nodes, the first ones more often:
// GeoDNS answers are cached, so the spread is never even. A region without
// nodes resolves to any node.
func (p *places) pick(region string, d *dice) (Target, bool) {
	p.mu.RLock()
	var near []Target
	for _, t := range p.targets {
		if t.Region == region {
			near = append(near, t)
		}
	}
	if len(near) == 0 {
		near = append(near, p.targets...)
	}
	p.mu.RUnlock()
	i := d.weighted(len(near), func(i int) float64 {
		if w := near[i].Weight; w > 0 {
			return w
		}
		return math.Pow(0.7, float64(i))
	})
	if i < 0 {
		return Target{}, false
	}
	return near[i], true
}

// resolve finds whose URL this is. A region's URL goes to one of its nodes,
// with the region's name in the Host header.
func (p *places) resolve(raw string, d *dice) spot {
	p.mu.RLock()
	best, length := spot{url: raw}, -1
	for _, t := range p.targets {
		if within(raw, t.URL) && len(t.URL) > length {
			best, length = spot{url: raw, node: t.Node, region: t.Region, kind: hopNode}, len(t.URL)
		}
	}
	base := ""
	for region, b := range p.regions {
		if within(raw, b) && len(b) > length {
			best, length, base = spot{url: raw, region: region, kind: hopRegion}, len(b), b
		}
	}
	p.mu.RUnlock()
	if best.kind != hopRegion {
		return best
	}
	t, ok := p.pick(best.region, d)
	if !ok {
		return best
	}
	if u, err := url.Parse(base); err == nil {
		best.name = u.Host
	}
	best.node = t.Node
	best.url = strings.TrimRight(t.URL, "/") + strings.TrimPrefix(raw, strings.TrimRight(base, "/"))
	return best
}

// elsewhere turns what a region's name resolved to into a node of another region, if there
// is one, as a resolver does that remembers too long or believes the region down.
func (p *places) elsewhere(s spot, d *dice) spot {
	others := slices.DeleteFunc(p.names(), func(region string) bool { return region == s.region })
	if s.kind == hopStray || len(others) == 0 {
		return s
	}
	to, ok := p.pick(others[d.n(len(others))], d)
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, from := range p.targets {
		if ok && from.Node == s.node {
			s.url = strings.TrimRight(to.URL, "/") + strings.TrimPrefix(s.url, strings.TrimRight(from.URL, "/"))
			s.node, s.region = to.Node, to.Region
			break
		}
	}
	return s
}

// within reports whether a URL lies under a base.
func within(raw, base string) bool {
	rest, ok := strings.CutPrefix(raw, strings.TrimRight(base, "/"))
	return ok && (rest == "" || rest[0] == '/' || rest[0] == '?')
}
