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
// GeoDNS answers are cached, so the spread is never even. Nodes that are down get
// nothing while another one of the region is up. A region without nodes resolves to
// any node.
func (p *places) pick(region string, d *dice) (Target, bool) {
	near := p.in(func(t Target) bool { return t.Region == region })
	if up := p.in(func(t Target) bool { return t.Region == region && !t.Down }); len(up) > 0 {
		near = up
	}
	if len(near) == 0 {
		near = p.in(func(Target) bool { return true })
	}
	return oneOf(near, d)
}

// nearest resolves the registered name from near a region: where all of it is down, the
// name leads to the other regions.
func (p *places) nearest(region string, d *dice) (Target, bool) {
	if len(p.in(func(t Target) bool { return t.Region == region && !t.Down })) == 0 {
		if up := p.in(func(t Target) bool { return !t.Down }); len(up) > 0 {
			return oneOf(up, d)
		}
	}
	return p.pick(region, d)
}

// in returns the targets that fit.
func (p *places) in(fits func(Target) bool) (some []Target) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, t := range p.targets {
		if fits(t) {
			some = append(some, t)
		}
	}
	return some
}

// oneOf draws a target by weight, or by its place.
func oneOf(some []Target, d *dice) (Target, bool) {
	i := d.weighted(len(some), func(i int) float64 {
		if w := some[i].Weight; w > 0 {
			return w
		}
		return math.Pow(0.7, float64(i))
	})
	if i < 0 {
		return Target{}, false
	}
	return some[i], true
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
