package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"tandem/admin/api"
	"tandem/policy"
	"tandem/webhook"
)

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
