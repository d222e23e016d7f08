package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
)

// regard is how this node sees the others of its region at one moment: by what the leader
// said last, as long as its own lease shows that it hears the leader.
type regard struct {
	here   ownership.NodeID
	leased bool      // this node may act, so it hears the leader
	until  time.Time // its last lease ran; zero: it never had one
	silent []ownership.Silence
}

func (d *Door) regard() regard {
	until := d.deps.Cluster.Status().LeaseUntil
	return regard{d.cfg.Node, d.now().Before(until), until, d.deps.Cluster.Fitness().Silent}
}

// standing is how a node is now; keeps counts the partitions that it owns. A silence says
// since when and why it is not what its record says.
func (r regard) standing(n ownership.Node, keeps int) (string, *api.Silence) {
	i := slices.IndexFunc(r.silent, func(s ownership.Silence) bool { return s.Node == n.ID })
	switch {
	case n.State == ownership.NodeGone:
	case !r.leased && n.ID == r.here:
		return api.NodeSilent, &api.Silence{Silence: ownership.Silence{Node: n.ID, Since: r.until, Cause: ownership.Unheard},
			Text: fmt.Sprintf("%s, which answers, may act for no call: it has no valid lease%s", n.ID, r.since())}
	case !r.leased:
		return api.NodeUnknown, &api.Silence{Silence: ownership.Silence{Node: n.ID, Since: r.until},
			Text: fmt.Sprintf("%s may be well or not: %s has no lease%s and hears nothing of it", n.ID, r.here, r.since())}
	case i >= 0 && n.ID != r.here: // with a lease it is heard, whatever the leader said before
		return api.NodeSilent, &api.Silence{Silence: r.silent[i], Text: r.silent[i].Text(keeps)}
	}
	return n.State.String(), nil
}

func (r regard) since() string {
	if r.until.IsZero() {
		return ""
	}
	return " since " + r.until.UTC().Format(time.RFC3339)
}

// silences are what an operator should hear of silent nodes.
func (d *Door) silences() (all []string) {
	for _, n := range d.nodes() {
		if n.Silence != nil && n.Standing == api.NodeSilent {
			all = append(all, n.Silence.Text)
		}
	}
	return all
}

// silenceOf says in a sentence that a node is silent; empty: it is not, as far as is known.
func (d *Door) silenceOf(id ownership.NodeID) string {
	n, ok := d.deps.Table.Node(id)
	if !ok {
		return ""
	}
	if state, s := d.regard().standing(n, d.counts().partitions[id]); state == api.NodeSilent {
		return s.Text + "."
	}
	return ""
}

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
