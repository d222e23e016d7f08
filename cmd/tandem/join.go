package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
)

func (a *app) joinCommand() *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:   "join HOST:PORT",
		Short: "bring the asked node and the one at that cluster address into one region",
		Long: `Ask a node of the region to take in the one at the address, or ask the new node
to enter the region of the one at the address. Both must be running, of one
deployment and region, and trust each other's certificates. That is not enough to
come in: the new node shows your token to the region, which must know it; asked at a
node of the region, that node lets the other in in your name. A region without tokens
is asked at its nodes. The answer comes when the new node acts as an owner, or two
seconds after it came in.

Where admin.tokens_file is set, TANDEM_TOKEN must hold a token with the role join:
the one of 'tandem tokens first', or one for this join only, made with 'tandem
tokens new NAME --role join --once --for 1h'. The new node knows the tokens of its own
file only: with one that the region made ask a node of the region, or name it in the new
node's cluster.join_token_file.`,
		Example: `  tandem join 10.0.0.1:8471 --wait 60s       on the new node
  tandem join 10.0.0.3:8471                  on any node of the region`,
		Args: cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			if err := checkAddress(args[0]); err != nil {
				return err
			}
			var n api.Node
			err := insist(ctx, wait, func() (err error) {
				n, err = c.Join(ctx, api.JoinRequest{Address: args[0]})
				return err
			}, func(err error) { a.done("not yet: %v", err) })
			if err != nil {
				return err
			}
			role := "without a vote"
			if n.Voter {
				role = "with a vote"
			}
			a.done("%s is part of region %s, %s", n.ID, n.Region, role)
			return nil
		}),
	}
	c.Flags().DurationVar(&wait, "wait", 0, "go on trying for so long while nobody can answer")
	return c
}

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

func (a *app) regionCommand() *cobra.Command {
	c := &cobra.Command{Use: "region", Short: "what holds for the whole region"}
	c.AddCommand(&cobra.Command{
		Use:   "lease [DURATION]",
		Short: "show or change how long leases last",
		Long: `Shows how long leases last in the region, or changes it: how long a node may act as
owner without hearing from the leader. It is a fact of the region. A node whose file
has another cluster.lease follows the region and warns; cluster.lease counts when a
region is founded.

A shorter lease moves the calls of a dead node earlier, a longer one forgives longer
pauses. A second change waits until leases of before the first are over.

To change it, TANDEM_TOKEN must hold a token with the role operate where
admin.tokens_file is set.`,
		Example: `  tandem region lease
  tandem region lease 3s`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			if len(args) == 0 {
				l, err := c.Lease(ctx)
				if err != nil {
					return err
				}
				a.done("leases last %s", l.Length)
				return nil
			}
			length, err := time.ParseDuration(args[0])
			if err != nil {
				return exitError{exitUsage, fmt.Errorf("reading the length of leases: %q is no duration, as in 2s", args[0])}
			}
			if err := c.SetLease(ctx, length); err != nil {
				return err
			}
			a.done("leases last %s from each node's next renewal on", length)
			return nil
		}),
	})
	return c
}
