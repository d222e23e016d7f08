package node

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"tandem/cluster"
	"tandem/federation"
	"tandem/ownership"
)

// abroad is what the public door knows of the other regions: what they tell of
// themselves, and the link to their nodes.
type abroad struct {
	*federation.Regions
	link *cluster.Cluster
}

// Alone implements webhook.Regions.
func (a abroad) Alone() bool { return len(a.Regions.Regions()) == 0 }

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

// nodes lists the nodes of a region that a letter may go to, the best first. No region
// tells its nodes yet.
func (a abroad) nodes(ownership.Region, ownership.PartitionID) []ownership.Node { return nil }
