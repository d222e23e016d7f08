package admin

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
)

// pulseTime bounds the question to the region's nodes.
const pulseTime = 700 * time.Millisecond

// pulseRoute puts the nodes' memory of themselves on the door.
func (d *Door) pulseRoute() {
	op := far(d.operation("get-pulse", http.MethodGet, "/v1/pulse", api.RoleRead, "How the nodes were in the last hour: live calls, claims, answer times, redirects, relays; and their bots and certificates now"), toOne)
	op.Description += " Each node remembers itself in memory, a figure every 10 seconds; one that does not answer at once is named with the reason."
	op.Errors = append(op.Errors, http.StatusNotImplemented)
	huma.Register(d.api, op, func(ctx context.Context, in *struct {
		Asking
		Node   ownership.NodeID `query:"node" maxLength:"64" doc:"Of this node only."`
		Points int              `query:"points" minimum:"1" maximum:"360" default:"60" doc:"Samples of each node at most."`
	}) (*reply[api.Pulse], error) {
		if d.deps.Pulse == nil {
			return nil, absent("The nodes' memory of themselves")
		}
		if _, ok := d.deps.Table.Node(in.Node); in.Node != "" && !ok {
			return nil, huma.Error404NotFound(fmt.Sprintf("The region has no node %q.", in.Node))
		}
		ctx, cancel := context.WithTimeout(ctx, pulseTime)
		defer cancel()
		all := d.deps.Pulse(ctx, api.PulseAsk{Node: in.Node, Points: in.Points})
		for i := range all {
			all[i].Samples = orEmpty(all[i].Samples)
		}
		return &reply[api.Pulse]{api.Pulse{Nodes: orEmpty(all)}}, nil
	})
}

type scalingAsked struct {
	Target float64 `query:"target" minimum:"0.1" maximum:"1" default:"0.7" doc:"How full the nodes are to be: live calls by capacity."`
}

// scalingRoute puts the signal for autoscalers on the door.
func (d *Door) scalingRoute() {
	op := d.operation("get-scaling", http.MethodGet, "/v1/scaling", api.RoleRead, "How many nodes the region wants: for KEDA, an HPA or a script")
	op.Description += " A node that an autoscaler takes away drains first, so fewer are wanted than there are only costs time, no call." +
		" A node without a lease answers 503: it cannot know how full the region is."
	huma.Register(d.api, op, func(_ context.Context, in *scalingAsked) (*reply[api.Scaling], error) {
		if !d.now().Before(d.deps.Cluster.Status().LeaseUntil) {
			return nil, unavailable("This node has no lease, so it cannot know how full its region is: ask another one.")
		}
		return &reply[api.Scaling]{scaling(d.nodes(), in.Target)}, nil
	})
}

// scaling decides how many nodes are wanted, by active nodes of the mean size. Orphans and
// the calls of silent or draining nodes are live calls: they may need a place, too. Where
// nobody is active one more than there are is wanted: fewer would end what may come back.
func scaling(nodes []api.Node, target float64) api.Scaling {
	var out api.Scaling
	for _, n := range nodes {
		out.Live += n.Live
		if n.Standing == ownership.NodeActive.String() {
			out.Nodes++
			out.Capacity += n.Capacity
		}
	}
	if out.Capacity == 0 {
		out.Used, out.Wanted = 1, len(nodes)+1
		return out
	}
	out.Used = float64(out.Live) / float64(out.Capacity)
	mean := float64(out.Capacity) / float64(out.Nodes)
	out.Wanted = max(1, int(math.Ceil(float64(out.Live)/(target*mean))))
	return out
}
