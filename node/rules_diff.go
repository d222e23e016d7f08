package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/webhook"
)

// Diff implements admin.Rulebook.
func (a adminRules) Diff(ctx context.Context, text string) (out api.RulesDiff, err error) {
	out, routes := a.routes(ctx, topicRulesDiff, text)
	out.Moves = movesOf(routes)
	return out, nil
}

// movesOf counts the calls that change their region, by regions, most calls first.
func movesOf(routes []webhook.RegionRoute) (all []api.RulesMoves) {
	moves := map[[2]ownership.Region]int{}
	for _, r := range routes {
		if r.From != r.To {
			moves[[2]ownership.Region{r.From, r.To}] += r.Calls
		}
	}
	for pair, n := range moves {
		all = append(all, api.RulesMoves{From: pair[0], To: pair[1], Calls: n})
	}
	slices.SortFunc(all, func(a, b api.RulesMoves) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return all
}

// routes has each node of the region hold a change against its own calls.
func (a adminRules) routes(ctx context.Context, topic, change string) (out api.RulesDiff, routes []webhook.RegionRoute) {
	for _, c := range a.region.Consult(ctx, topic, []byte(change)) {
		var d webhook.RulesDiff
		if c.Err == nil {
			c.Err = json.Unmarshal(c.Body, &d)
		}
		if c.Err != nil {
			out.Missing = append(out.Missing, fmt.Sprintf("%s: %v", c.Node, c.Err))
			continue
		}
		add(&out, c.Node, d)
		routes = append(routes, d.Routes...)
	}
	return out, routes
}

// add adds one node's calls to a difference.
func add(out *api.RulesDiff, node ownership.NodeID, d webhook.RulesDiff) {
	out.Heard = append(out.Heard, string(node))
	out.Recorded += d.Recorded
	out.Elsewhere += d.Elsewhere
	out.Repinned += d.Repinned
	out.Failing += d.Failing
	if !d.Since.IsZero() && (out.Since.IsZero() || d.Since.Before(out.Since)) {
		out.Since = d.Since
	}
	for _, e := range d.Examples {
		out.Examples = append(out.Examples, api.RulesMoved(e))
	}
}
