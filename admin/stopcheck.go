package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
)

// stopRoutes puts the question before a restart on the door. It asks the other
// nodes at this moment, so it has no consistency to choose.
func stopRoutes(d *Door) {
	op := d.operation("check-stop", http.MethodGet, "/v1/nodes/{id}/stop-check", api.RoleRead, "Whether a node may be stopped now")
	op.Errors = append(op.Errors, http.StatusNotFound)
	huma.Register(d.api, op, func(ctx context.Context, in *nodePath) (*reply[ownership.StopCheck], error) {
		return within(ctx, d, func(ctx context.Context) (ownership.StopCheck, error) {
			out, err := d.deps.Cluster.SafeToStop(ctx, ownership.NodeID(in.ID))
			out.Against = orEmpty(out.Against)
			return out, err
		})
	})
}
