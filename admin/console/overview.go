package console

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// mostDrawn is how many partitions are drawn one by one; of more the picture shows the nodes.
const mostDrawn = 2000

// hues is how many colours owners have; of more nodes some share one.
const hues = 12

// Overview is the first page.
type Overview struct {
	api.Status
	Broken  []api.Promise // that do not hold, or that nobody here can tell
	Held    []api.Promise
	Halted  []BotVersion
	Regions []RegionPicture
	Here    api.Region // the one that the page is about
}

// Sentence says in one line how the promises are.
func (o Overview) Sentence() string {
	bad, unknown := 0, 0
	for _, p := range o.Broken {
		if p.Unknown {
			unknown++
		} else {
			bad++
		}
	}
	switch all := len(o.Held) + len(o.Broken); {
	case bad == 1:
		return "1 promise does not hold."
	case bad > 1:
		return fmt.Sprintf("%d promises do not hold.", bad)
	case unknown > 0:
		return fmt.Sprintf("%d of %d promises hold; this node cannot tell about the rest.", len(o.Held), all)
	default:
		return fmt.Sprintf("All %d promises hold.", all)
	}
}

// Bad reports whether a promise is known to be broken.
func (o Overview) Bad() bool {
	return slices.ContainsFunc(o.Broken, func(p api.Promise) bool { return !p.Unknown })
}

// Free is how many new calls the region can take: places with a healthy bot whose version is
// not halted, where the leader tells of them; of several apps, that with the most.
func (o Overview) Free() int {
	if len(o.Here.Apps) == 0 {
		return o.Room
	}
	most := slices.MaxFunc(o.Here.Apps, func(a, b ownership.AppRoom) int { return cmp.Compare(a.Room, b.Room) })
	return min(o.Room, most.Room)
}

// RegionPicture is one region of the picture.
type RegionPicture struct {
	api.Region
	Shown   bool // its nodes are drawn with all that is known of them
	Loaded  bool // or at least with their load
	Drawn   []NodePicture
	Hidden  int // partitions that are too many to be drawn
	Changed int // partitions that changed owner in the last minute
}

// NodePicture is one node of it.
type NodePicture struct {
	api.Node
	Hue   int
	Owned []PartitionPicture
}

// PartitionPicture is one partition of it.
type PartitionPicture struct {
	api.PartitionIn
	Level int // how full it is for its node, from 0 (empty) to 4
	Ago   time.Duration
}

// Title says all of it in a sentence.
func (p PartitionPicture) Title() string {
	s := fmt.Sprintf("Partition %d, epoch %d, born on %s: %d live calls", p.ID, p.Epoch, p.BornOn, p.Live)
	if p.Moved != nil {
		s += fmt.Sprintf("; it came from %s %s ago", cmp.Or(p.Moved.From, "another node"), age(p.Ago))
	}
	return s
}

func overview(a *asking) (string, any, error) {
	var (
		out        Overview
		promises   api.List[api.Promise]
		regions    api.List[api.Region]
		nodes      api.List[api.Node]
		partitions api.List[api.PartitionIn]
	)
	for path, into := range map[string]any{
		"/v1/status": &out.Status, "/v1/guarantees": &promises, "/v1/regions": &regions, "/v1/nodes": &nodes, "/v1/partitions": &partitions,
	} {
		if _, err := a.get(into, path); err != nil {
			return "", nil, err
		}
	}
	for _, p := range promises.Items {
		if p.Holds {
			out.Held = append(out.Held, p)
		} else {
			out.Broken = append(out.Broken, p)
		}
	}
	versions, err := botVersions(a)
	if err != nil {
		return "", nil, err
	}
	out.Halted = slices.DeleteFunc(versions, func(v BotVersion) bool { return !v.Halted() })
	slices.SortStableFunc(out.Broken, func(a, b api.Promise) int { return rank(a) - rank(b) })
	loads := a.loads(regions.Items)
	for _, r := range regions.Items {
		one := RegionPicture{Region: r, Shown: r.Here}
		if r.Here { // the region that answered
			out.Here = r
			one.draw(nodes.Items, partitions.Items, out.Now)
		} else {
			one.sketch(loads[r.Name])
		}
		out.Regions = append(out.Regions, one)
	}
	return "overview", out, nil
}

// farIn is how long the other regions have, for a page that is there at once without them.
const farIn = time.Second

// loads asks the other regions how full their nodes are: those of which a door answered at
// the last look.
func (a *asking) loads(regions []api.Region) map[ownership.Region][]api.Node {
	ctx, cancel := context.WithTimeout(a.ctx, farIn)
	defer cancel()
	var (
		mu  sync.Mutex
		all sync.WaitGroup
		out = map[ownership.Region][]api.Node{}
	)
	for _, r := range regions {
		if r.Here || answered(r.Doors) == 0 {
			continue
		}
		far := &asking{ctx: ctx, source: a.source, at: r.Name}
		all.Go(func() {
			var told api.List[api.Node]
			if _, err := far.get(&told, "/v1/nodes"); err != nil {
				return // the page says what the summary told
			}
			mu.Lock()
			defer mu.Unlock()
			out[r.Name] = told.Items
		})
	}
	all.Wait()
	return out
}

// sketch draws a region by its nodes' loads, or by what its summary told.
func (r *RegionPicture) sketch(nodes []api.Node) {
	r.Loaded = len(nodes) > 0
	if !r.Loaded {
		for _, n := range r.List {
			nodes = append(nodes, api.Node{Node: ownership.Node{ID: n.ID, Zone: n.Zone, Version: n.Version}, Standing: n.State})
		}
	}
	for _, n := range nodes {
		if n.Standing != ownership.NodeGone.String() {
			r.Drawn = append(r.Drawn, NodePicture{Node: n, Hue: len(r.Drawn) % hues})
		}
	}
}

// rank puts what is known to be broken before what is not known.
func rank(p api.Promise) int {
	if p.Unknown {
		return 1
	}
	return 0
}

// draw puts each partition under its owner.
func (r *RegionPicture) draw(nodes []api.Node, partitions []api.PartitionIn, now time.Time) {
	at := map[ownership.NodeID]int{}
	for _, n := range nodes {
		if n.State == ownership.NodeGone && n.Partitions == 0 {
			continue
		}
		at[n.ID] = len(r.Drawn)
		r.Drawn = append(r.Drawn, NodePicture{Node: n, Hue: len(r.Drawn) % hues})
	}
	partitions = slices.DeleteFunc(partitions, func(p api.PartitionIn) bool { return p.Retired })
	for _, p := range partitions {
		if p.Moved != nil {
			r.Changed++
		}
		i, ok := at[p.Owner]
		if !ok || len(partitions) > mostDrawn {
			r.Hidden++
			continue
		}
		n := &r.Drawn[i]
		one := PartitionPicture{PartitionIn: p, Level: fill(p.Live, n.Capacity, n.Partitions)}
		if p.Moved != nil {
			one.Ago = now.Sub(p.Moved.At)
		}
		n.Owned = append(n.Owned, one)
	}
}

// fill says how full a partition is, by its share of its node's capacity: 0 without a call,
// else 1 to 4.
func fill(live, capacity, partitions int) int {
	if live == 0 || partitions == 0 {
		return 0
	}
	fair := max(1, capacity/partitions)
	return min(4, 1+live*3/fair)
}
