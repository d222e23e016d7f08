package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

func (a *app) drainCommand() *cobra.Command {
	var (
		within time.Duration
		wait   bool
		dry    bool
	)
	c := &cobra.Command{
		Use:   "drain NODE",
		Short: "give a node no new calls, except those of its live groups",
		Long: `A draining node keeps its calls until they end, and gets their notifications.
'tandem undrain' brings it back at once. With --within it hands over what can be
moved when the time is up: every partition without a call whose media are on the
node. Those calls stay until they end.

With --wait the command tells how many calls are left, and ends when there are
none. When the time is up and calls are left that cannot be moved, it lists them
and exits with 1.

With --dry-run it only says what the drain would bring, or the loss of the node: its
calls, what stays and what moves, when the last will have ended, and the others' room.`,
		Example: `  tandem drain emea-2                     until its last call ends
  tandem drain emea-2 --within 30m --wait`,
		Args: cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			id := ownership.NodeID(args[0])
			if dry {
				return printing(a, forecastRows)(c.ForecastNode(ctx, id))
			}
			var until time.Time
			if within > 0 {
				until = time.Now().Add(within)
			}
			if err := c.Drain(ctx, id, until); err != nil {
				return err
			}
			c.Consistency = cmp.Or(c.Consistency, api.Linearizable) // the node that is asked may not have heard of the drain yet
			if wait {
				return a.awaitDrained(ctx, c, id)
			}
			n, err := c.Node(ctx, id)
			if err != nil {
				return err
			}
			a.done("%s is draining; %d live calls remain", n.ID, n.Live)
			return nil
		}),
	}
	c.Flags().DurationVar(&within, "within", 0, "how long it may take, such as 30m; 0: as long as its calls last")
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what it would bring")
	c.Flags().BoolVar(&wait, "wait", false, "tell the progress and end when the node is empty")
	return c
}

const (
	drainLook = 500 * time.Millisecond // between two looks at a draining node
	// drainSlack is how long after its end a drain may still hand calls over.
	drainSlack = 10 * time.Second
)

// awaitDrained tells how a drain goes until the node has no live call.
func (a *app) awaitDrained(ctx context.Context, c *client.Client, id ownership.NodeID) error {
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	told := -1
	for {
		n, err := c.Node(ctx, id)
		switch {
		case client.Unavailable(err):
			// The node that is asked may be the one that restarts.
		case err != nil:
			return err
		case n.State != ownership.NodeDraining:
			return fmt.Errorf("%s is %s: its drain was ended", id, n.State)
		case n.Live == 0:
			a.done("%s is empty", id)
			return nil
		case !n.DrainBy.IsZero() && time.Now().After(n.DrainBy.Add(drainSlack)):
			return a.cannotMove(ctx, c, n)
		case n.Live != told:
			a.done("%s is draining; %d live calls remain", id, n.Live)
			told = n.Live
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// cannotMove lists what a drain had to leave.
func (a *app) cannotMove(ctx context.Context, c *client.Client, n api.Node) error {
	page, err := c.Calls(ctx, ownership.CallFilter{Node: n.ID, State: ownership.CallAnswered}, "", 0)
	if err != nil {
		return err
	}
	if err := a.print(page, callRows(page.Items)); err != nil {
		return err
	}
	return fmt.Errorf("the drain's time is up, and %d live calls on %s are bound to it", n.Live, n.ID)
}
