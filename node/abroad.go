package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"tandem/admin/api"
	"tandem/cluster"
	"tandem/federation"
	"tandem/ownership"
	"tandem/webhook"
)

// abroad is what the public door knows of the other regions: what they tell of
// themselves, and the link to their nodes.
type abroad struct {
	*federation.Regions
	link *cluster.Cluster
}

// Alone implements webhook.Regions.
func (a abroad) Alone() bool { return len(a.Regions.Regions()) == 0 }

// Look implements webhook.Regions.
func (a abroad) Look(r ownership.Region, app ownership.AppID) webhook.Prospect {
	there := a.Regions.Look(r, app)
	if there.Up && there.Room == 0 { // one without room would not be up
		there.Room = -1
	}
	return webhook.Prospect{Up: there.Up, Room: there.Room, RTT: there.RTT}
}

// Relay implements webhook.Regions.
func (a abroad) Relay(ctx context.Context, to ownership.Region, p ownership.PartitionID, l ownership.Letter) (ownership.Reply, error) {
	return a.link.SendAbroad(ctx, a.nodes(to, p), l)
}

// Knowing implements webhook.Regions. It asks all other regions that have ever told of
// their nodes: one that never did is not there yet, or of older software, which has no
// link.
func (a abroad) Knowing(ctx context.Context, calls []ownership.CallID) (map[ownership.CallID]ownership.Region, error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	known, unsure := map[ownership.CallID]ownership.Region{}, error(nil)
	for _, r := range a.Regions.Regions() {
		nodes := a.nodes(r.Name, 0)
		if len(nodes) == 0 {
			continue
		}
		all.Go(func() {
			there, err := a.link.KnownAbroad(ctx, nodes, calls)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				unsure = errors.Join(unsure, fmt.Errorf("region %s: %w", r.Name, err))
			}
			for _, c := range there {
				known[c] = r.Name
			}
		})
	}
	all.Wait()
	return known, unsure
}

// nodes lists the nodes of a region that a letter may go to, the best first: the owner of
// the partition, where that is known, then any that may act for calls, in a random order.
func (a abroad) nodes(of ownership.Region, p ownership.PartitionID) []ownership.Node {
	var all []ownership.Node
	add := func(n federation.NodeView) {
		if n.Cluster != "" && n.State != ownership.NodeGone.String() {
			all = append(all, ownership.Node{ID: n.ID, Region: of, ClusterAddr: n.Cluster})
		}
	}
	told := slices.Clone(a.Nodes(of))
	rand.Shuffle(len(told), func(i, j int) { told[i], told[j] = told[j], told[i] })
	owner, known := a.Owner(of, p)
	if known && owner.State != api.NodeSilent {
		add(owner)
	}
	for _, silent := range []bool{false, true} {
		for _, n := range told {
			if (n.State == api.NodeSilent) == silent && (silent || n.ID != owner.ID) {
				add(n)
			}
		}
	}
	return all
}
