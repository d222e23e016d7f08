package top

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

// most is how many live calls one look shows.
const most = 200

// Look is what was seen at one moment.
type Look struct {
	At         time.Time
	Status     api.Status
	Promises   []api.Promise
	Regions    []api.Region
	Nodes      []api.Node // of all regions that answered
	Partitions []api.PartitionIn
	Calls      []api.CallIn // live ones of the asked region, those that need somebody first
	Counts     map[ownership.NodeID]Counts
	Missing    []string // what could not be seen, and why
}

// Counts are counters of one node since its start.
type Counts struct{ Claims, Handled, Redirects, Relays float64 }

// Gatherer looks at a deployment through its admin doors. It keeps the connections to
// them: Close lets go.
type Gatherer struct {
	asked *client.Client
	dial  func(adminURL string) (*client.Client, error)
	doors map[string]*client.Client
}

// NewGatherer asks one door for everything but the counters, which each node tells of
// itself: dial reaches the others' doors. The clients that it makes are closed by Close,
// the first one is not.
func NewGatherer(asked *client.Client, dial func(adminURL string) (*client.Client, error)) *Gatherer {
	return &Gatherer{asked: asked, dial: dial, doors: map[string]*client.Client{}}
}

// Close lets go of the connections.
func (g *Gatherer) Close() {
	for _, c := range g.doors {
		c.Close()
	}
}

// Look gathers one look. The error is that of the asked door; what is missing of others
// is told in the look.
func (g *Gatherer) Look(ctx context.Context) (l Look, err error) {
	if l.Status, err = g.asked.Status(ctx); err != nil {
		return l, err
	}
	l.At = l.Status.Now
	if l.Promises, err = g.asked.Guarantees(ctx); err != nil {
		return l, err
	}
	if l.Regions, err = g.asked.Regions(ctx); err != nil {
		return l, err
	}
	all := *g.asked
	all.Region = "all"
	all.Gathered = func(parts api.Gathered) {
		for _, p := range parts.Parts {
			if p.Partial {
				l.Missing = append(l.Missing, "region "+string(p.Region)+": "+p.Error)
			}
		}
	}
	if l.Nodes, err = all.Nodes(ctx); err != nil {
		return l, err
	}
	if l.Partitions, err = g.asked.Partitions(ctx); err != nil {
		return l, err
	}
	for _, state := range []ownership.CallState{ownership.CallOrphaned, ownership.CallClaimed, ownership.CallAnswered} {
		if len(l.Calls) >= most {
			break
		}
		page, err := g.asked.Calls(ctx, ownership.CallFilter{State: state}, "", most-len(l.Calls))
		if err != nil {
			return l, err
		}
		l.Calls = append(l.Calls, page.Items...)
	}
	l.Counts = g.counts(ctx, l)
	return l, nil
}

// counts asks every node of the region for its counters, all at once. Who does not tell
// them has none.
func (g *Gatherer) counts(ctx context.Context, l Look) map[ownership.NodeID]Counts {
	doors := map[ownership.NodeID]*client.Client{l.Status.Node: g.asked}
	for _, r := range l.Regions {
		for _, n := range r.List {
			if n.AdminURL == "" || n.ID == l.Status.Node || n.State == api.NodeSilent {
				continue
			}
			if _, known := g.doors[n.AdminURL]; !known {
				c, err := g.dial(n.AdminURL)
				if err != nil {
					continue
				}
				g.doors[n.AdminURL] = c
			}
			doors[n.ID] = g.doors[n.AdminURL]
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var (
		mu  sync.Mutex
		all sync.WaitGroup
		out = map[ownership.NodeID]Counts{}
	)
	for id, c := range doors {
		all.Go(func() {
			text, err := client.Inside{Client: c}.Metrics(ctx)
			if err != nil {
				return
			}
			counts := count(text)
			mu.Lock()
			defer mu.Unlock()
			out[id] = counts
		})
	}
	all.Wait()
	return out
}

// count reads the counters from a page of metrics.
func count(text string) (c Counts) {
	for name, v := range client.Samples(text) {
		switch {
		case strings.HasPrefix(name, `tandem_cluster_claims_total{`):
			c.Claims += v
		case strings.HasPrefix(name, `tandem_bot_hand_overs_total{`) && strings.Contains(name, `result="ok"`):
			c.Handled += v
		case name == `tandem_webhook_hops_total{kind="node"}`, name == `tandem_webhook_hops_total{kind="region"}`:
			c.Redirects += v
		case name == `tandem_webhook_hops_total{kind="relay"}`, name == `tandem_webhook_hops_total{kind="region_relay"}`:
			c.Relays += v
		}
	}
	return c
}

// rates are what happened in a second, on average, between two looks. A node that was
// started anew in between, or is seen for the first time, has none.
func rates(before, now Look) map[ownership.NodeID]Counts {
	out := map[ownership.NodeID]Counts{}
	seconds := now.At.Sub(before.At).Seconds()
	if seconds <= 0 {
		return out
	}
	for id, n := range now.Counts {
		b, ok := before.Counts[id]
		if !ok || n.Claims < b.Claims || n.Handled < b.Handled {
			continue
		}
		out[id] = Counts{(n.Claims - b.Claims) / seconds, (n.Handled - b.Handled) / seconds, (n.Redirects - b.Redirects) / seconds, (n.Relays - b.Relays) / seconds}
	}
	return out
}

// states gives each node's state as its region tells it: a silent one is not active.
func (l Look) states() map[ownership.NodeID]string {
	out := map[ownership.NodeID]string{}
	for _, r := range l.Regions {
		for _, n := range r.List {
			out[n.ID] = n.State
		}
	}
	for _, n := range l.Nodes { // a node of older software tells its state alone
		out[n.ID] = cmp.Or(n.Standing, out[n.ID], n.State.String())
	}
	return out
}

// owned lists the partitions of each owner, by number.
func (l Look) owned() map[ownership.NodeID][]api.PartitionIn {
	out := map[ownership.NodeID][]api.PartitionIn{}
	for _, p := range l.Partitions {
		if !p.Retired {
			out[p.Owner] = append(out[p.Owner], p)
		}
	}
	for _, all := range out {
		slices.SortFunc(all, func(a, b api.PartitionIn) int { return cmp.Compare(a.ID, b.ID) })
	}
	return out
}

// owners are those who own something, by id.
func owners(owned map[ownership.NodeID][]api.PartitionIn) []ownership.NodeID {
	return slices.Sorted(maps.Keys(owned))
}
