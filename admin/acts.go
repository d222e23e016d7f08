package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
)

// empty is the input or output of an operation that has none.
type empty struct{}

// nodePath is the input of the acts on one node.
type nodePath struct {
	ID string `path:"id" maxLength:"64"`
}

// actRoutes puts everything that changes something on the door.
func (d *Door) actRoutes() {
	op := d.change("join-node", http.MethodPost, "/v1/nodes", api.RoleJoin, "Take a node into the region")
	op.DefaultStatus = http.StatusCreated
	op.Errors = append(op.Errors, http.StatusUnprocessableEntity)
	huma.Register(d.api, op, d.join)

	found := d.noContent(d.change("found-region", http.MethodPost, "/v1/region", api.RoleOperate, "Found the region, once, with this node as its first"))
	found.Description = "A region is founded once in its life, on one node; every other node joins, and a node whose disk was emptied joins again. " +
		"409 when this node has data of a region already, or when a node of its join list does."
	huma.Register(d.api, found, func(ctx context.Context, _ *empty) (*empty, error) {
		return d.act(ctx, d.deps.Cluster.Found)
	})
	leaseRoutes(d)
	d.actOnNode("remove-node", http.MethodDelete, "/v1/nodes/{id}", "Take a node out of the region; its partitions go to the others",
		d.deps.Cluster.Remove)
	d.actOnNode("undrain-node", http.MethodDelete, "/v1/nodes/{id}/drain", "Bring a draining node back",
		d.deps.Cluster.Undrain)

	type drainAsked struct {
		ID   string        `path:"id" maxLength:"64"`
		Body *api.DrainAsk `required:"false"`
	}
	huma.Register(d.api, d.noContent(d.change("drain-node", http.MethodPut, "/v1/nodes/{id}/drain", api.RoleOperate, "Give a node no new calls")),
		func(ctx context.Context, in *drainAsked) (*empty, error) {
			var until time.Time
			if in.Body != nil {
				until = in.Body.Until
			}
			if !until.IsZero() && until.Before(d.now()) {
				return nil, huma.Error400BadRequest("The drain would end in the past.")
			}
			return d.act(ctx, func(ctx context.Context) error { return d.deps.Cluster.Drain(ctx, ownership.NodeID(in.ID), until) })
		})

	huma.Register(d.api, d.noContent(d.change("move-partition", http.MethodPost, "/v1/partitions/{id}/move", api.RoleOperate, "Hand a partition over to another node")),
		func(ctx context.Context, in *struct {
			ID   uint32 `path:"id" minimum:"1"`
			Body api.MoveAsk
		}) (*empty, error) {
			note(ctx, "to "+string(in.Body.To))
			return d.act(ctx, func(ctx context.Context) error {
				return d.deps.Cluster.Move(ctx, ownership.PartitionID(in.ID), in.Body.To)
			})
		})

	huma.Register(d.api, d.noContent(d.change("release-call", http.MethodDelete, "/v1/calls/{id}", api.RoleOperate, "Forget a call that is over; the cloud is not told")), d.release)

	huma.Register(d.api, d.noContent(d.change("transfer-leader", http.MethodPost, "/v1/raft/leader", api.RoleOperate, "Give the raft leadership to another voter")),
		func(ctx context.Context, in *struct {
			Body *api.TransferAsk `required:"false"`
		}) (*empty, error) {
			var to ownership.NodeID
			if in.Body != nil {
				to = in.Body.To
			}
			note(ctx, "to "+string(to))
			return d.act(ctx, func(ctx context.Context) error { return d.deps.Cluster.TransferLeader(ctx, to) })
		})

	leave := d.change("leave", http.MethodPost, "/v1/leave", api.RoleOperate, "Take this node out of the region")
	leave.DefaultStatus = http.StatusAccepted
	huma.Register(d.api, leave, func(ctx context.Context, _ *empty) (*empty, error) {
		return d.act(ctx, d.deps.Cluster.Leave)
	})

	cb := d.change("create-callback-uri", http.MethodPost, "/v1/callback-uris", api.RoleBot, "A signed callback URI on this node, for an outgoing call")
	cb.Errors = append(cb.Errors, http.StatusNotFound, http.StatusNotImplemented)
	cb.DefaultStatus = http.StatusCreated
	huma.Register(d.api, cb, func(ctx context.Context, in *struct{ Body api.CallbackBody }) (*reply[api.CallbackURI], error) {
		if d.deps.Callbacks == nil {
			return nil, absent("Signing callback URIs")
		}
		return within(ctx, d, func(ctx context.Context) (api.CallbackURI, error) { return d.deps.Callbacks(ctx, in.Body) })
	})
}

// act runs one change with the door's patience.
func (d *Door) act(ctx context.Context, do func(context.Context) error) (*empty, error) {
	_, err := within(ctx, d, func(ctx context.Context) (empty, error) { return empty{}, do(ctx) })
	return nil, err
}

// actOnNode registers a change of one node that needs nothing but its id.
func (d *Door) actOnNode(id, method, path, summary string, do func(context.Context, ownership.NodeID) error) {
	huma.Register(d.api, d.noContent(d.change(id, method, path, api.RoleOperate, summary)),
		func(ctx context.Context, in *nodePath) (*empty, error) {
			return d.act(ctx, func(ctx context.Context) error { return do(ctx, ownership.NodeID(in.ID)) })
		})
}

// noContent makes an operation answer 204.
func (d *Door) noContent(op huma.Operation) huma.Operation {
	op.DefaultStatus = http.StatusNoContent
	op.Errors = append(op.Errors, http.StatusNotFound)
	return op
}

// joinAsked keeps the caller's token: a node without a region shows it to the other.
type joinAsked struct {
	Body  api.JoinRequest
	token string
}

// Resolve takes the token as it came.
func (j *joinAsked) Resolve(ctx huma.Context) []error {
	if t := bearer(ctx.Header("Authorization")); plausible(t) {
		j.token = t
	}
	return nil
}

// join has the cluster bring two nodes together. What the newcomer says of
// itself is checked there, against its certificate and its store's stamp.
func (d *Door) join(ctx context.Context, in *joinAsked) (*reply[api.Node], error) {
	note(ctx, "the node at "+in.Body.Address)
	return within(ctx, d, func(ctx context.Context) (api.Node, error) {
		if err := (doorTokens{d}).useToken(ctx, in.Body.Address, false); err != nil {
			return api.Node{}, err
		}
		n, err := d.deps.Cluster.Meet(ctx, in.Body.Address, in.Body.ID, in.token)
		if err != nil {
			return api.Node{}, err
		}
		if err := (doorTokens{d}).useToken(ctx, in.Body.Address, true); err != nil {
			// The node is in; the token can bring in no other, and ends by its time.
			d.log.Warn("ending a token for one use", "token", caller(ctx).Name, "err", err)
		}
		return d.node(n, d.counts()), nil
	})
}

// release ends a call by an operator's word.
func (d *Door) release(ctx context.Context, in *struct {
	ID string `path:"id" maxLength:"160"`
}) (*empty, error) {
	c, err := d.findCall(in.ID)
	if err != nil {
		// This node may only lag behind: nobody is told that there is no such call
		// unless the region says so.
		if _, err := d.freshen(ctx, Asking{Consistency: api.Linearizable}); err != nil {
			return nil, err
		}
		if c, err = d.findCall(in.ID); err != nil {
			return nil, err
		}
	}
	if c.State == ownership.CallEnded {
		return nil, nil // asked twice is asked once
	}
	return d.act(ctx, func(ctx context.Context) error {
		out, err := d.deps.Cluster.Do(ctx, ownership.Release{At: d.now(), Call: c.ID, Why: "released by " + caller(ctx).Name})
		if err != nil {
			return err
		}
		return out.Err
	})
}

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
