package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/policy"
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
	for c, d := range consult[webhook.RulesDiff](ctx, a.Node, topic, []byte(change)) {
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

// captures implements admin.Captures.
type captures struct{ *Node }

// Capture implements admin.Captures.
func (n captures) Capture(ctx context.Context, recent bool, each func(api.Captured) error) (int64, error) {
	return webhook.Captures{Handler: n.door}.Capture(ctx, recent, func(c webhook.Captured) error {
		facts := map[string]string{}
		text, err := json.Marshal(c.Facts)
		if err == nil {
			err = json.Unmarshal(text, &facts) // all of them are texts
		}
		if err != nil {
			return fmt.Errorf("capturing a call: %w", err)
		}
		return each(api.Captured{At: c.At, Call: c.Call, Facts: facts, To: c.To})
	})
}

// Replay implements admin.Captures.
func (n captures) Replay(_ context.Context, ask api.ReplayAsk) (out api.RulesDiff, err error) {
	candidate := n.rules.InForce()
	if ask.Text != "" {
		if candidate, err = policy.ReadDocument([]byte(ask.Text)); err != nil {
			return out, err
		}
	}
	calls := make([]webhook.Captured, len(ask.Calls))
	for i, c := range ask.Calls {
		calls[i] = webhook.Captured{At: c.At, Call: c.Call, To: c.To}
		text, err := json.Marshal(c.Facts)
		if err != nil {
			return out, fmt.Errorf("reading a captured call: %w", err)
		}
		strict := json.NewDecoder(bytes.NewReader(text))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&calls[i].Facts); err != nil {
			return out, fmt.Errorf("reading the facts of call %d: this software knows others: %w", i+1, err)
		}
	}
	diff := webhook.Captures{Handler: n.door}.Replay(calls, candidate, ask.Diff)
	add(&out, n.ID(), diff)
	out.Moves = movesOf(diff.Routes)
	return out, nil
}
