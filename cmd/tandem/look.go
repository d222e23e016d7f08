package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "how the asked node stands, and which promises hold now",
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			promises, err := c.Guarantees(ctx)
			if err != nil {
				return err
			}
			both := struct {
				api.Status
				Guarantees []api.Promise `json:"guarantees"`
			}{s, promises}
			rows := [][]string{
				{"node", fmt.Sprintf("%s in %s of %s, version %s", s.Node, s.Region, s.Deployment, s.Version)},
				{"raft", fmt.Sprintf("%s, term %d, leader %s, applied %d, on disk %d", s.Cluster.State, s.Cluster.Term, dash(string(s.Cluster.Leader)), s.Cluster.Applied, s.Cluster.Durable)},
				{"acts as owner", yes(s.Leased)},
				{"calls", fmt.Sprintf("%d live here, %d in the region, room for %d on %d nodes", s.LiveHere, s.Live, s.Capacity, s.Nodes)},
			}
			rows = append(rows, under("warning", s.Warnings)...)
			for _, p := range promises {
				rows = append(rows, []string{p.Name, verdictOn(p) + ": " + p.Why})
			}
			return a.print(both, rows)
		}),
	}
}

func verdictOn(p api.Promise) string {
	switch {
	case p.Holds:
		return "holds"
	case p.Unknown:
		return "?"
	}
	return "DOES NOT HOLD"
}

func (a *app) nodesCommand() *cobra.Command {
	var past pastFlags
	c := &cobra.Command{
		Use:   "nodes [list | [show] NODE]",
		Short: "the nodes of the region, with their calls",
		Long: `Lists the nodes of the region, with their calls, or shows one.

STATE is how a node is now: active; draining (it takes no new calls); silent (nothing
is heard of it, so it may act for no call); unknown (the asked node has no lease and
hears nothing of it); gone (it was removed). Why a node is silent, and where its
partitions went, is told on stderr.`,
		Example: `  tandem nodes
  tandem nodes show emea-2
  tandem nodes --region all
  tandem nodes --at 2026-11-29T14:03:00Z   who was there then, and what they had`,
		Args: cobra.ArbitraryArgs,
		RunE: a.listing(func(ctx context.Context, c *client.Client, name string) (err error) {
			if c.Then, err = past.then(); err != nil {
				return err
			}
			return show(a, name, nodeRows(c.Then != (client.Then{})),
				func() ([]api.Node, error) { return a.silences(c.Nodes(ctx)) },
				func() (api.Node, error) {
					if c.Then != (client.Then{}) {
						return nodeThen(ctx, c, ownership.NodeID(name))
					}
					n, err := c.Node(ctx, ownership.NodeID(name))
					_, _ = a.silences([]api.Node{n}, nil)
					return n, err
				})
		}),
	}
	past.register(c)
	a.regionFlag(c, "of another region, or of all")
	return c
}

// nodeThen is one node as it was.
func nodeThen(ctx context.Context, c *client.Client, id ownership.NodeID) (api.Node, error) {
	all, err := c.Nodes(ctx)
	if err != nil {
		return api.Node{}, err
	}
	for _, n := range all {
		if n.ID == id {
			return n, nil
		}
	}
	return api.Node{}, exitError{exitNotFound, fmt.Errorf("the region had no node %s at that moment", id)}
}

// silences says on stderr why nodes are silent, and what came of it.
func (a *app) silences(nodes []api.Node, err error) ([]api.Node, error) {
	for _, n := range nodes {
		if n.Silence != nil {
			a.done("%s", n.Silence.Text)
		}
	}
	return nodes, err
}

// nodeRows are the rows of nodes as they are, or then: who voted and led is not in the history.
func nodeRows(then bool) func([]api.Node) [][]string {
	return func(nodes []api.Node) [][]string {
		rows := [][]string{{"NODE", "ZONE", "STATE", "LIVE", "CAPACITY", "PARTITIONS", "VOTER", "LEADER", "CLUSTER ADDRESS", "PUBLIC URL", "VERSION"}}
		for _, n := range nodes {
			rows = append(rows, nodeRow(n, then))
		}
		return inRegion(rows, nodes, func(n api.Node) ownership.Region { return n.Region })
	}
}

func nodeRow(n api.Node, then bool) []string {
	state := cmp.Or(n.Standing, n.State.String()) // a node of older software tells no standing
	switch {
	case n.Silence != nil && !n.Silence.Since.IsZero():
		state += " since " + n.Silence.Since.Local().Format(time.TimeOnly)
	case n.Silence == nil && !n.DrainBy.IsZero():
		state += " until " + n.DrainBy.Local().Format(time.TimeOnly)
	}
	voter, leader := yes(n.Voter && n.State != ownership.NodeGone), yes(n.Leader)
	if then {
		voter, leader = dash(""), dash("")
	}
	return []string{
		string(n.ID), dash(n.Zone), state, strconv.Itoa(n.Live), strconv.Itoa(n.Capacity),
		strconv.Itoa(n.Partitions), voter, leader, n.ClusterAddr, dash(n.PublicURL), dash(n.Version),
	}
}

func (a *app) partitionsCommand() *cobra.Command {
	var past pastFlags
	c := &cobra.Command{
		Use:   "partitions [list | [show] NUMBER]",
		Short: "who owns which partition, and in which epoch, or owned it",
		Example: `  tandem partitions --region all
  tandem partitions --at 2026-11-29T14:03:00Z   who owned what then`,
		Args: cobra.ArbitraryArgs,
		RunE: a.listing(func(ctx context.Context, c *client.Client, name string) (err error) {
			rows := partitionRows
			if c.Then, err = past.then(); err != nil {
				return err
			}
			if c.Then != (client.Then{}) {
				rows = pastRows
			}
			return show(a, name, rows,
				func() ([]api.PartitionIn, error) { return c.Partitions(ctx) },
				func() (api.PartitionIn, error) {
					id, err := partitionID(name)
					if err != nil {
						return api.PartitionIn{}, err
					}
					p, err := c.Partition(ctx, id)
					return api.PartitionIn{Partition: p}, err
				})
		}),
	}
	past.register(c)
	a.regionFlag(c, "of another region, or of all")
	return c
}

// inRegion puts a column of regions in front of a table, where several are in it.
func inRegion[T any](rows [][]string, all []T, region func(T) ownership.Region) [][]string {
	if !slices.ContainsFunc(all, func(v T) bool { return region(v) != region(all[0]) }) {
		return rows
	}
	rows[0] = append([]string{"REGION"}, rows[0]...)
	for i, v := range all {
		rows[i+1] = append([]string{string(region(v))}, rows[i+1]...)
	}
	return rows
}

func partitionRows(all []api.PartitionIn) [][]string {
	rows := [][]string{{"PARTITION", "OWNER", "EPOCH", "LIVE", "BORN ON", "RETIRED"}}
	for _, p := range all {
		rows = append(rows, []string{p.ID.String(), string(p.Owner), p.Epoch.String(), strconv.Itoa(p.Live), string(p.BornOn), yes(p.Retired)})
	}
	return inRegion(rows, all, func(p api.PartitionIn) ownership.Region { return p.Region })
}

func partitionID(s string) (ownership.PartitionID, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 {
		return 0, usage("%q is no partition: write its number", s)
	}
	return ownership.PartitionID(n), nil
}

func (a *app) regionsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "regions [list | [show] REGION]",
		Short: "what this region knows of itself and the others",
		Args:  cobra.ArbitraryArgs,
		RunE: a.listing(func(ctx context.Context, c *client.Client, name string) error {
			regions, err := c.Regions(ctx)
			if err != nil {
				return err
			}
			return show(a, name, regionRows,
				func() ([]api.Region, error) { return regions, nil },
				func() (api.Region, error) {
					for _, r := range regions {
						if string(r.Name) == name {
							return r, nil
						}
					}
					return api.Region{}, exitError{exitNotFound, fmt.Errorf("this region knows of no region %q", name)}
				})
		}),
	}
	e := evacuations{a}
	c.AddCommand(e.evacuate(), e.evacuation(), e.restore())
	return c
}

func regionRows(regions []api.Region) [][]string {
	rows := [][]string{{"REGION", "HEALTHY", "NODES", "LIVE", "CAPACITY", "ROOM BY APP", "DOORS", "RTT", "AS OF", "RULES", "VERSION", "DRIFT", "URL"}}
	for _, r := range regions {
		asOf, doors := "now", "-"
		if !r.Here {
			asOf = "never"
			if !r.AsOf.IsZero() {
				asOf = r.AsOf.Format("15:04:05") + " (" + dash(r.Age) + " ago)"
			}
			answered := 0
			for _, d := range r.Doors {
				if d.Answered {
					answered++
				}
			}
			doors = fmt.Sprintf("%d of %d", answered, len(r.Doors))
		}
		counts := []string{strconv.Itoa(r.Nodes), strconv.Itoa(r.Live), strconv.Itoa(r.Capacity)}
		if r.Partial {
			counts = []string{"?", "?", "?"}
		}
		var apps []string
		for _, app := range r.Apps {
			room := strconv.Itoa(app.Room)
			if !app.Healthy {
				room = "sick"
			}
			apps = append(apps, fmt.Sprintf("%.8s %s", app.App, room))
		}
		rules := "-"
		if r.Rules != nil {
			rules = fmt.Sprintf("%d %.8s", r.Rules.Number, r.Rules.Digest)
		}
		rows = append(rows, []string{
			string(r.Name), yes(r.Healthy), counts[0], counts[1], counts[2], dash(strings.Join(apps, ", ")), doors, dash(r.RTT), asOf,
			rules, dash(strings.Join(r.Versions, ", ")), dash(strings.Join(r.Drift, "; ")), dash(r.URL),
		})
	}
	return rows
}
