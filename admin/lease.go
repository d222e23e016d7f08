package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
)

// leaseRoutes puts the length of leases on the door: a fact of the region, not of a
// node's file.
func leaseRoutes(d *Door) {
	huma.Register(d.api, d.operation("get-lease", http.MethodGet, "/v1/region/lease", api.RoleRead, "How long leases last in the region"),
		func(context.Context, *empty) (*reply[api.RegionLease], error) {
			return &reply[api.RegionLease]{api.RegionLease{Length: d.deps.Cluster.Lease().String()}}, nil
		})
	op := d.noContent(d.change("set-lease", http.MethodPut, "/v1/region/lease", api.RoleOperate, "Change how long leases last, for the whole region"))
	op.Description = "All nodes follow with their next renewal, whatever cluster.lease of their files says. A shorter lease moves the calls of a dead node " +
		"earlier, a longer one forgives longer pauses. It waits until leases of an earlier change are over. 409 for a length that the region cannot live with."
	huma.Register(d.api, op, func(ctx context.Context, in *struct{ Body api.RegionLease }) (*empty, error) {
		length, err := time.ParseDuration(in.Body.Length)
		if err != nil {
			return nil, huma.Error400BadRequest("The length must be a duration, as in 2s or 1m30s.")
		}
		return d.act(ctx, func(ctx context.Context) error { return d.deps.Cluster.SetLease(ctx, length) })
	})
}
