package admin

import (
	"tandem/admin/api"
	"tandem/admin/client"
)

import "testing"

func TestStopCheck(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	c, ctx := r.client(api.RoleRead), t.Context()
	got, err := c.StopCheck(ctx, "emea-1")
	if err != nil || !got.Safe || got.Against == nil || got.Voters != 3 {
		t.Errorf("gave %+v, %v", got, err)
	}
	if _, err := c.StopCheck(ctx, "emea-7"); !client.NotFound(err) {
		t.Errorf("of a node that is not there it gave %v", err)
	}
}
