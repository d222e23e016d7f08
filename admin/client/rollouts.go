package client

import (
	"context"
	"net/http"

	"tandem/admin/api"
)

// Rollouts asks about versions of bots, and changes the rules for them.
type Rollouts struct{ c *Client }

// Rollouts returns the doors about versions of bots.
func (c *Client) Rollouts() Rollouts { return Rollouts{c} }

// List returns the versions by app and version.
func (r Rollouts) List(ctx context.Context) ([]api.BotVersion, error) {
	return items[api.BotVersion](ctx, r.c, "/v1/rollouts", nil)
}

// Set gives a version a share of the new calls.
func (r Rollouts) Set(ctx context.Context, ask api.RolloutAsk) error {
	return r.c.call(ctx, http.MethodPut, "/v1/rollouts", ask, nil)
}

// Halt gives a version no new calls as long as another one can take them.
func (r Rollouts) Halt(ctx context.Context, ask api.RolloutNote) error {
	return r.c.call(ctx, http.MethodPost, "/v1/rollouts/halt", ask, nil)
}

// Resume gives a halted version calls again.
func (r Rollouts) Resume(ctx context.Context, ask api.RolloutNote) error {
	return r.c.call(ctx, http.MethodPost, "/v1/rollouts/resume", ask, nil)
}

// End takes the rule for a version out.
func (r Rollouts) End(ctx context.Context, ask api.RolloutNote) error {
	return r.c.call(ctx, http.MethodPost, "/v1/rollouts/end", ask, nil)
}
