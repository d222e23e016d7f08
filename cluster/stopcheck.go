package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"tandem/cluster/lease"
	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// stopCheckLimit bounds the questions to the other nodes.
const stopCheckLimit = time.Second

// SafeToStop asks the other nodes, from any node and at this moment, whether the
// region can do without one of them: all other voters must be well, so that never
// two of them are down, and another active node must be there to take its calls.
// The error is ErrUnknown for a node that is not in the table.
func (c *Cluster) SafeToStop(ctx context.Context, id ownership.NodeID) (ownership.StopCheck, error) {
	n, ok := c.tb.Node(id)
	if !ok || n.State == ownership.NodeGone {
		return ownership.StopCheck{}, fmt.Errorf("looking whether node %s may stop: %w", id, ownership.ErrUnknown)
	}
	ctx, cancel := context.WithTimeout(ctx, stopCheckLimit)
	defer cancel()
	leader, _, _ := c.Leader()
	out := ownership.StopCheck{Node: id, Leader: id == leader, Live: c.tb.Live(id)}
	var err error
	if out.Pinned, err = c.pinnedOn(id); err != nil {
		return out, fmt.Errorf("looking whether node %s may stop: %w", id, err)
	}
	if leader == "" {
		out.Against = append(out.Against, "the region has no leader right now")
	}
	votes := make(map[ownership.NodeID]bool)
	for _, voter := range c.votersHere() {
		votes[ownership.NodeID(voter)] = true
	}
	out.Voter, out.Voters = votes[id], len(votes)
	c.weighOthers(ctx, &out, votes)
	out.Safe = len(out.Against) == 0
	return out, nil
}

// weighOthers asks every node but the one in question how it is.
func (c *Cluster) weighOthers(ctx context.Context, out *ownership.StopCheck, votes map[ownership.NodeID]bool) {
	commit := c.tb.Applied()
	heir := false
	findings := c.askAll(ctx, out.Node, commit)
	for _, id := range slices.Sorted(maps.Keys(findings)) {
		n, _ := c.tb.Node(id)
		switch why := findings[id]; {
		case why == "":
			heir = heir || n.State == ownership.NodeActive
			if votes[id] {
				out.Well++
			}
		case votes[id]:
			out.Against = append(out.Against, fmt.Sprintf("voter %s %s", id, why))
		}
	}
	if need := out.Voters/2 + 1; out.Voter && out.Well < need {
		out.Against = append(out.Against, fmt.Sprintf("without it %d of %d voters would be left and %d are needed", out.Well, out.Voters, need))
	}
	if !heir {
		out.Against = append(out.Against, "no other active node is well enough to take its calls")
	}
}

// askAll gives, for every node that is not gone but the one left out, why it is
// not well; empty: it is.
func (c *Cluster) askAll(ctx context.Context, leftOut ownership.NodeID, commit uint64) map[ownership.NodeID]string {
	var mu sync.Mutex
	var all sync.WaitGroup
	out := make(map[ownership.NodeID]string)
	for _, n := range c.tb.Nodes() {
		if n.State == ownership.NodeGone || n.ID == leftOut {
			continue
		}
		all.Go(func() {
			why := c.unwell(ctx, n, commit)
			mu.Lock()
			defer mu.Unlock()
			out[n.ID] = why
		})
	}
	all.Wait()
	return out
}

func (c *Cluster) unwell(ctx context.Context, n ownership.Node, commit uint64) string {
	res := &peerpb.TermReply{Applied: c.tb.Applied(), Acting: c.Leased()}
	if n.ID != c.self {
		var err error
		if res, err = c.links.To(n.ID, n.ClusterAddr).Term(ctx, &peerpb.TermRequest{}); err != nil {
			return "does not answer"
		}
	}
	switch {
	case !res.GetActing():
		return "has no valid lease"
	case res.GetApplied()+lease.MaxBehind < commit:
		return fmt.Sprintf("is %d entries behind", commit-res.GetApplied())
	}
	return ""
}

func (st *standing) pinnedOn(id ownership.NodeID) (int, error) {
	pinned := 0
	for k, err := range st.tb.Each(ownership.CallFilter{Node: id, State: ownership.CallAnswered}) {
		if err != nil {
			return 0, err
		}
		if k.Pinned {
			pinned++
		}
	}
	return pinned, nil
}
