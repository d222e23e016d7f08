package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
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
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			peers, err := c.Peers(ctx)
			if err != nil {
				return err
			}
			rows := [][]string{{"NODE", "ADDRESS", "VOTER", "LEADER", "HEALTHY", "LAST CONTACT"}}
			for _, p := range peers {
				rows = append(rows, []string{string(p.ID), p.Address, yes(p.Voter), yes(p.Leader), health(p), dash(p.LastContact)})
			}
			return a.print(peers, rows)
		}),
	}
	transfer := a.acting("transfer-leader [NODE]", "give the leadership to a voter, or to any", cobra.MaximumNArgs(1),
		func(ctx context.Context, c *client.Client, args []string) (string, error) {
			to := strings.Join(args, "")
			return "the leadership went to " + cmp.Or(to, "another voter"), c.TransferLeader(ctx, ownership.NodeID(to))
		})
	c.AddCommand(peers, transfer, a.recoverCommand())
	return c
}

// health says how a peer is, where the answering node knows: only the leader
// hears from all of them.
func health(p api.Peer) string {
	if !p.Known {
		return "-"
	}
	return yes(p.Healthy)
}

const recoverLong = `For a region that has lost its quorum for good. Stop every node of the region.
On each survivor run this without --yes: it changes nothing and tells the term and
index of the last raft entry there. Choose the survivor with the highest term and,
among equals, the highest index, and run this with --yes on its data directory.
It then leads a region of its own; start it, wipe the other nodes' data
directories and join them again.

It refuses when another node of the region answers: one that runs may belong to a
majority that lives, or may have been recovered already, and then there would be
two regions that know nothing of each other. Only when you are sure that such a
node has nothing that counts and will be wiped, say --although-others-run.

What was acknowledged stands on this survivor only if it was in the last quorum:
with two of three nodes lost, it may lack the claims of the last moments.`

func (a *app) recoverCommand() *cobra.Command {
	var (
		f             configFlags
		yes, although bool
	)
	c := &cobra.Command{
		Use:     "recover",
		Short:   "make one survivor the whole region after its quorum is lost for good",
		Long:    recoverLong,
		Example: "  tandem raft recover --config /etc/tandem/tandem.yaml --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(f.file, a.environ, f.sets)
			if err != nil {
				return err
			}
			if err := a.recover(cmd.Context(), cfg.Config, yes, although); err != nil {
				return fmt.Errorf("recovering the region of %s: %w", cfg.Node.ID, err)
			}
			a.done("%s is now the only voter of %s: start it, then join the others with empty data directories", cfg.Node.ID, cfg.Node.Region)
			return nil
		},
	}
	f.register(c)
	c.Flags().BoolVar(&yes, "yes", false, "yes, the other nodes' data may be given up")
	c.Flags().BoolVar(&although, "although-others-run", false, "go on although another node of the region may run: it will be wiped")
	return c
}

func (a *app) recover(ctx context.Context, c node.Config, yes, although bool) (err error) {
	s, err := node.OpenSurvivor(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	a.done("the last raft entry of %s has term %d and index %d", c.Node.ID, s.Term, s.Index)
	if !yes {
		return usage("recovery gives up the other nodes' data: read 'tandem raft recover --help', then say --yes")
	}
	if !although {
		if err := s.Alone(ctx); err != nil {
			return fmt.Errorf("%w (see --although-others-run)", err)
		}
	}
	return s.Recover()
}
