package main

import (
	"context"
	"fmt"
	"strconv"
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
			for _, w := range s.Warnings {
				rows = append(rows, []string{"warning", w})
			}
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
	return &cobra.Command{
		Use:   "nodes [list | [show] NODE]",
		Short: "the nodes of the region, with their calls",
		Args:  cobra.ArbitraryArgs,
		RunE: a.listing(func(ctx context.Context, c *client.Client, name string) error {
			return show(a, name, nodeRows,
				func() ([]api.Node, error) { return c.Nodes(ctx) },
				func() (api.Node, error) { return c.Node(ctx, ownership.NodeID(name)) })
		}),
	}
}

func nodeRows(nodes []api.Node) [][]string {
	rows := [][]string{{"NODE", "ZONE", "STATE", "LIVE", "CAPACITY", "PARTITIONS", "VOTER", "LEADER", "CLUSTER ADDRESS", "PUBLIC URL", "VERSION"}}
	for _, n := range nodes {
		state := n.State.String()
		if !n.DrainBy.IsZero() {
			state += " until " + n.DrainBy.Local().Format(time.TimeOnly)
		}
		rows = append(rows, []string{
			string(n.ID), dash(n.Zone), state, strconv.Itoa(n.Live), strconv.Itoa(n.Capacity),
			strconv.Itoa(n.Partitions), yes(n.Voter && n.State != ownership.NodeGone), yes(n.Leader), n.ClusterAddr, dash(n.PublicURL), dash(n.Version),
		})
	}
	return rows
}

func (a *app) partitionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "partitions [list | [show] NUMBER]",
		Short: "who owns which partition, and in which epoch",
		Args:  cobra.ArbitraryArgs,
		RunE: a.listing(func(ctx context.Context, c *client.Client, name string) error {
			return show(a, name, partitionRows,
				func() ([]ownership.Partition, error) { return c.Partitions(ctx) },
				func() (ownership.Partition, error) {
					id, err := partitionID(name)
					if err != nil {
						return ownership.Partition{}, err
					}
					return c.Partition(ctx, id)
				})
		}),
	}
}

func partitionRows(all []ownership.Partition) [][]string {
	rows := [][]string{{"PARTITION", "OWNER", "EPOCH", "LIVE", "BORN ON", "RETIRED"}}
	for _, p := range all {
		rows = append(rows, []string{p.ID.String(), string(p.Owner), p.Epoch.String(), strconv.Itoa(p.Live), string(p.BornOn), yes(p.Retired)})
	}
	return rows
}

func partitionID(s string) (ownership.PartitionID, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 {
		return 0, usage("%q is no partition: write its number", s)
	}
	return ownership.PartitionID(n), nil
}

func (a *app) regionsCommand() *cobra.Command {
	return &cobra.Command{
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
}

func regionRows(regions []api.Region) [][]string {
	rows := [][]string{{"REGION", "HEALTHY", "NODES", "LIVE", "CAPACITY", "AS OF", "URL"}}
	for _, r := range regions {
		asOf := "now"
		if !r.Here {
			asOf = "never"
			if !r.AsOf.IsZero() {
				asOf = r.AsOf.Format("15:04:05")
			}
		}
		counts := []string{strconv.Itoa(r.Nodes), strconv.Itoa(r.Live), strconv.Itoa(r.Capacity)}
		if r.Partial {
			counts = []string{"?", "?", "?"}
		}
		rows = append(rows, []string{string(r.Name), yes(r.Healthy), counts[0], counts[1], counts[2], asOf, dash(r.URL)})
	}
	return rows
}
