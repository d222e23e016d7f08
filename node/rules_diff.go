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
	moves := map[[2]ownership.Region]int{}
	for _, r := range routes {
		if r.From != r.To {
			moves[[2]ownership.Region{r.From, r.To}] += r.Calls
		}
	}
	for pair, n := range moves {
		out.Moves = append(out.Moves, api.RulesMoves{From: pair[0], To: pair[1], Calls: n})
	}
	slices.SortFunc(out.Moves, func(a, b api.RulesMoves) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return out, nil
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
		out.Heard = append(out.Heard, string(c.Node))
		out.Recorded += d.Recorded
		out.Elsewhere += d.Elsewhere
		out.Repinned += d.Repinned
		out.Failing += d.Failing
		if !d.Since.IsZero() && (out.Since.IsZero() || d.Since.Before(out.Since)) {
			out.Since = d.Since
		}
		routes = append(routes, d.Routes...)
		for _, e := range d.Examples {
			out.Examples = append(out.Examples, api.RulesMoved(e))
		}
	}
	return out, routes
}
