package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/client"
)

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
