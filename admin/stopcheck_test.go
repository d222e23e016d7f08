package admin

import (
	"context"
	"fmt"
	"testing"

	"tandem/ownership"
)

func TestStopCheck(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t, func(_ *Config, d *Deps) {
		d.StopCheck = func(_ context.Context, id ownership.NodeID) (StopCheck, error) {
			if id != "emea-1" {
				return StopCheck{}, fmt.Errorf("looking whether node %s may stop: %w", id, ownership.ErrUnknown)
			}
			return StopCheck{Node: id, Safe: true, Voters: 3, Well: 2}, nil
		}
	})
	c, ctx := r.client(RoleRead), t.Context()
	got, err := c.StopCheck(ctx, "emea-1")
	if err != nil || !got.Safe || got.Against == nil || got.Voters != 3 {
		t.Errorf("gave %+v, %v", got, err)
	}
	if _, err := c.StopCheck(ctx, "emea-7"); !NotFound(err) {
		t.Errorf("of a node that is not there it gave %v", err)
	}
}
