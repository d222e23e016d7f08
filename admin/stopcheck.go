package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"tandem/ownership"
)

// StopCheck says whether a node may be stopped now, for a restart or an upgrade.
type StopCheck struct {
	Node    ownership.NodeID `json:"node"`
	Safe    bool             `json:"safe"`
	Against []string         `json:"against" doc:"What speaks against it, in sentences."`
	Voter   bool             `json:"voter"`
	Leader  bool             `json:"leader" doc:"It leads the region: stop it last."`
	Voters  int              `json:"voters"`
	Well    int              `json:"well" doc:"Voters beside it that answer, act as owners and follow the table."`
	Live    int              `json:"live" doc:"Live calls on it."`
	Pinned  int              `json:"pinned" doc:"Those of them whose media are on it: they end with their bot."`
}

// stopRoutes puts the question before a restart on the door. It asks the other
// nodes at this moment, so it has no consistency to choose.
func (d *Door) stopRoutes() {
	op := d.operation("check-stop", http.MethodGet, "/v1/nodes/{id}/stop-check", RoleRead, "Whether a node may be stopped now")
	op.Errors = append(op.Errors, http.StatusNotFound)
	huma.Register(d.api, op, func(ctx context.Context, in *nodePath) (*reply[StopCheck], error) {
		if d.deps.StopCheck == nil {
			return nil, absent("The check before a stop")
		}
		ctx, cancel := context.WithTimeout(ctx, d.cfg.Patience)
		defer cancel()
		out, err := d.deps.StopCheck(ctx, ownership.NodeID(in.ID))
		if err != nil {
			return nil, problem(err)
		}
		out.Against = orEmpty(out.Against)
		return &reply[StopCheck]{out}, nil
	})
}

// StopCheck asks whether a node may be stopped now.
func (c *Client) StopCheck(ctx context.Context, id ownership.NodeID) (StopCheck, error) {
	return get[StopCheck](ctx, c, nodePathOf(id)+"/stop-check", nil)
}
