package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/client"
)

func (a *app) foundCommand() *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:   "found",
		Short: "found a new region, once, on its first node",
		Long: `Founds the region of the asked node, with that node as its first. Do it once in
the life of a region: start the first node, ask it to found, then start the others
with the first in their cluster.join, or bring them in with 'tandem join'.

It is never part of a node's start. A node whose disk was lost and replaced comes
back empty and joins; if it founded a region again beside the living one, there
would be two of one name, and calls with two owners.

It is refused when the node has data of a region already, and when a node of its
cluster.join does: then it joins that region by itself.

Where admin.tokens_file is set, TANDEM_TOKEN must hold a token with the role operate.`,
		Example: `  tandem found                 on the first node of a new region
  tandem found --wait 30s      right after its start, in a script`,
		Args: cobra.NoArgs,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			if err := insist(ctx, wait, func() error { return c.Found(ctx) }, func(error) {}); err != nil {
				return err
			}
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			a.done("region %s is founded; %s is its first node", s.Region, s.Node)
			return nil
		}),
	}
	c.Flags().DurationVar(&wait, "wait", 0, "go on trying for so long while the node cannot answer yet")
	return c
}
