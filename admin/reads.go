package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
)

// readRoutes puts the reads of nodes, partitions and regions on the door.
func (d *Door) readRoutes() {
	read(d, toOne, "get-status", "/v1/status", "How this node and its region are", func(context.Context) (api.Status, error) { return d.status(), nil })
	read(d, toOne, "list-guarantees", "/v1/guarantees", "Which promises hold now", func(context.Context) (api.List[api.Promise], error) {
		return list(d.promises()), nil
	})
	read(d, toOne, "get-summary", "/v1/summary", "What this region tells the others", func(context.Context) (api.Summary, error) { return d.summary(), nil })
	read(d, toOne, "list-regions", "/v1/regions", "This region and what is known of the others", func(context.Context) (api.List[api.Region], error) {
		return list(d.regions()), nil
	})
	read(d, toOne, "list-peers", "/v1/raft/peers", "The servers of the raft group", func(context.Context) (api.List[api.Peer], error) {
		return list(d.deps.Cluster.Peers()), nil
	})

	type nodeAsked struct {
		Asking
		ID string `path:"id" maxLength:"64"`
	}
	huma.Register(d.api, far(d.operation("get-node", http.MethodGet, "/v1/nodes/{id}", api.RoleRead, "One node"), toOne),
		func(ctx context.Context, in *nodeAsked) (*answer[api.Node], error) {
			return freshly(ctx, d, in.Asking, func() (api.Node, error) {
				n, ok := d.deps.Table.Node(ownership.NodeID(in.ID))
				if !ok {
					return api.Node{}, huma.Error404NotFound(fmt.Sprintf("The region has no node %q.", in.ID))
				}
				return d.node(n, d.counts()), nil
			})
		})
}

// counts is what is counted once for all nodes of an answer.
type counts struct {
	partitions map[ownership.NodeID]int
	leader     ownership.NodeID
	regard
}

func (d *Door) counts() counts {
	c := counts{map[ownership.NodeID]int{}, d.deps.Cluster.Status().Leader, d.regard()}
	for _, p := range d.deps.Table.Partitions() {
		if !p.Retired {
			c.partitions[p.Owner]++
		}
	}
	return c
}

func (d *Door) node(n ownership.Node, c counts) api.Node {
	standing, silence := c.standing(n, c.partitions[n.ID])
	n.Voter = n.Voter && n.State != ownership.NodeGone
	return api.Node{
		Node: n, Standing: standing, Silence: silence, Live: d.deps.Table.Live(n.ID), Partitions: c.partitions[n.ID],
		Leader: c.leader == n.ID, Here: n.ID == d.cfg.Node,
	}
}

func (d *Door) nodes() []api.Node {
	records, counts := d.deps.Table.Nodes(), d.counts()
	out := make([]api.Node, 0, len(records))
	for _, n := range records {
		out = append(out, d.node(n, counts))
	}
	return out
}

func (d *Door) status() api.Status {
	sum, c := d.summary(), d.deps.Cluster.Status()
	now := d.now().UTC()
	s := api.Status{
		Identity: d.cfg.Identity, Cluster: c, Leased: now.Before(c.LeaseUntil),
		Nodes: sum.Nodes, Live: sum.Live, LiveHere: d.deps.Table.Live(d.cfg.Node), Capacity: sum.Capacity, Room: sum.Room,
		StartedAt: d.cfg.StartedAt.UTC(), Now: now, Warnings: []string{},
	}
	if n, ok := d.deps.Table.Node(d.cfg.Node); ok {
		if s.State = n.State; n.State == ownership.NodeGone {
			s.Warnings = append(s.Warnings, "This node is out of its region: it left, or was removed. It takes no calls, and comes back only with an empty data directory.")
		}
	}
	if d.auth.open() {
		s.Warnings = append(s.Warnings, "The admin door is OPEN: admin.tokens_file is not set, so everybody on this machine may do everything.")
	}
	s.Warnings = append(s.Warnings, d.silences()...)
	if d.deps.Warnings != nil {
		s.Warnings = append(s.Warnings, d.deps.Warnings()...)
	}
	return s
}

func (d *Door) regions() []api.Region {
	sum := d.summary()
	out := []api.Region{{
		Name: d.cfg.Region, URL: d.cfg.URL, AdminURL: d.cfg.AdminURL, Healthy: sum.Healthy, Here: true,
		AsOf: sum.AsOf, Nodes: sum.Nodes, Live: sum.Live, Capacity: sum.Capacity,
		Apps: sum.Apps, List: sum.NodesList, Rules: sum.Rules, Versions: sum.Versions(),
	}}
	if d.deps.Regions == nil {
		return out
	}
	for _, r := range d.deps.Regions() {
		if r.Name != d.cfg.Region {
			r.Drift = drift(out[0], r)
			out = append(out, r)
		}
	}
	return out
}

// drift says what two regions should have in common and have not. Rules on their way from
// one to the other differ, too, for as long as that takes.
func drift(here, there api.Region) (all []string) {
	if here.Rules != nil && there.Rules != nil && *here.Rules != *there.Rules {
		all = append(all, fmt.Sprintf("rules: number %d (%.12s) here, %d (%.12s) there", here.Rules.Number, here.Rules.Digest, there.Rules.Number, there.Rules.Digest))
	}
	if len(there.Versions) > 0 && !slices.Equal(here.Versions, there.Versions) {
		all = append(all, fmt.Sprintf("software: %s here, %s there", strings.Join(here.Versions, ", "), strings.Join(there.Versions, ", ")))
	}
	for _, a := range here.Apps {
		if len(there.Apps) > 0 && !slices.ContainsFunc(there.Apps, func(b ownership.AppRoom) bool { return a.App == b.App }) {
			all = append(all, fmt.Sprintf("apps: %s is not served there", a.App))
		}
	}
	return all
}

// promises says which guarantees hold at this moment, from what this node sees.
func (d *Door) promises() []api.Promise {
	c, now := d.deps.Cluster.Status(), d.now()
	out := []api.Promise{
		promise("claims", "New calls get an owner.",
			c.Leader != "" && c.Stalled == "", "The leader is "+string(c.Leader)+".", cmp.Or(c.Stalled, "The region has no leader right now.")),
		promise("fenced", "This node acts as owner only under a valid lease.",
			now.Before(c.LeaseUntil), "The lease is valid.", "The lease has run out: this node relays to owners it knows of, or answers 503."),
		d.spare(c.Leader),
		promise("peers-authenticated", "Only nodes with a certificate of this deployment change the table.",
			c.Secure, "The cluster port speaks mTLS.", "The cluster port speaks plain TCP."),
		promise("operators-authenticated", "Only holders of a token pass this door.",
			!d.auth.open(), "Tokens are set up.", "admin.tokens_file is not set; the door listens on loopback only."),
	}
	if d.deps.Promises != nil {
		out = append(out, d.deps.Promises()...)
	}
	return out
}

// spare says whether the region can do without any one of its voters. Only the
// leader hears from all of them.
func (d *Door) spare(leader ownership.NodeID) api.Promise {
	p := api.Promise{Name: "survives-one-node", Text: "The death of any one node loses no acknowledged claim and stops no claims for longer than an election."}
	voters, known, healthy := 0, 0, 0
	for _, v := range d.deps.Cluster.Peers() {
		if !v.Voter {
			continue
		}
		voters++
		if v.Known {
			known++
		}
		if v.Known && v.Healthy {
			healthy++
		}
	}
	needed := voters/2 + 1
	switch {
	case leader == "":
		p.Why = "The region has no leader right now."
	case known < voters:
		p.Unknown = true
		p.Why = fmt.Sprintf("This node does not know how %d of the %d voters are: ask the leader, %s.", voters-known, voters, leader)
	default:
		p.Holds = healthy > needed
		p.Why = fmt.Sprintf("%d of %d voters are well and %d are needed.", healthy, voters, needed)
	}
	return p
}

func promise(name, text string, holds bool, yes, no string) api.Promise {
	p := api.Promise{Name: name, Holds: holds, Text: text, Why: no}
	if holds {
		p.Why = yes
	}
	return p
}

// orEmpty makes a list without items [] and not null in JSON.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
