package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tandem/admin"
	"tandem/node"
	"tandem/ownership"
)

func (a *app) raftCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "raft",
		Short: "the region's raft group: its peers, its leader, its recovery",
	}
	peers := &cobra.Command{
		Use:   "peers",
		Short: "who votes, who leads, who is heard of",
		Long: `Lists the raft group as the asked node knows it. Whether the others are well
only the leader knows: elsewhere HEALTHY says - of them.`,
		RunE: a.asking(func(ctx context.Context, c *admin.Client, _ []string) error {
			peers, err := c.Peers(ctx)
			if err != nil {
				return err
			}
			return a.print(peers, func() [][]string {
				rows := [][]string{{"NODE", "ADDRESS", "VOTER", "LEADER", "HEALTHY", "LAST CONTACT"}}
				for _, p := range peers {
					rows = append(rows, []string{string(p.ID), p.Address, yes(p.Voter), yes(p.Leader), health(p), dash(p.LastContact)})
				}
				return rows
			})
		}),
	}
	transfer := &cobra.Command{
		Use:   "transfer-leader [NODE]",
		Short: "give the leadership to a voter, or to any",
		Args:  cobra.MaximumNArgs(1),
		RunE: a.asking(func(ctx context.Context, c *admin.Client, args []string) error {
			var to ownership.NodeID
			if len(args) == 1 {
				to = ownership.NodeID(args[0])
			}
			if err := c.TransferLeader(ctx, to); err != nil {
				return err
			}
			a.done("the leadership went to %s", first(string(to), "another voter"))
			return nil
		}),
	}
	c.AddCommand(peers, transfer, a.recoverCommand())
	return c
}

// health says how a peer is, where the answering node knows: only the leader
// hears from all of them.
func health(p admin.Peer) string {
	if !p.Known {
		return "-"
	}
	return yes(p.Healthy)
}

const recoverLong = `For a region that has lost its quorum for good. Stop every node of the region,
choose the survivor with the highest applied index, and run this on its data
directory. It then leads a region of its own; start it, wipe the other nodes'
data directories and join them again.

What was acknowledged stands on this survivor only if it was in the last quorum:
with two of three nodes lost, it may lack the claims of the last moments.`

func (a *app) recoverCommand() *cobra.Command {
	var (
		f   configFlags
		yes bool
	)
	c := &cobra.Command{
		Use:     "recover",
		Short:   "make one survivor the whole region after its quorum is lost for good",
		Long:    recoverLong,
		Example: "  tandem raft recover --config /etc/tandem/tandem.yaml --yes",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := loadConfig(f.file, a.environ, f.sets)
			if err != nil {
				return err
			}
			if !yes {
				return usage("recovery gives up the other nodes' data: read 'tandem raft recover --help', then say --yes")
			}
			if err := node.Recover(cfg.Config); err != nil {
				return fmt.Errorf("recovering the region of %s: %w", cfg.Node.ID, err)
			}
			a.done("%s is now the only voter of %s: start it, then join the others with empty data directories", cfg.Node.ID, cfg.Node.Region)
			return nil
		},
	}
	f.register(c)
	c.Flags().BoolVar(&yes, "yes", false, "yes, the other nodes' data may be given up")
	return c
}
