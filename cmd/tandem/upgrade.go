package main

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/client"
	"tandem/ownership"
)

const upgradeLong = `A region is upgraded node by node: never two voters down, the leader last. Each
node drains when it gets SIGTERM: it hands on the lead and what can be moved, and
waits for its other calls (node.drain).

'plan' prints the order. 'check' says whether a node may be stopped now, and with
--wait goes on asking. 'run' does the whole loop with a command of yours that
upgrades and restarts one node, {} being its id; the same by hand:

  for n in $(tandem upgrade plan --format json | jq -r '.[].node'); do
    tandem upgrade check $n --wait 10m && ssh $n sudo systemctl restart tandem || break
  done

The command format that the region writes rises by itself once every node can
read the newer one; from then on an older node is refused. Until then the way
back is the same loop with the older software.`

// upgrades are the commands for rolling upgrades.
type upgrades struct{ *app }

func (a upgrades) upgradeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "upgrade",
		Short: "restart or upgrade a region node by node, without an interruption",
		Long:  upgradeLong,
	}
	c.AddCommand(a.upgradePlanCommand(), a.upgradeCheckCommand(), a.upgradeRunCommand())
	return c
}

// upgradeStep is one node's turn.
type upgradeStep struct {
	Node    ownership.NodeID `json:"node"`
	Role    string           `json:"role"`
	Version string           `json:"version"`
	Format  uint32           `json:"format"`
	Live    int              `json:"live"`
	Pinned  int              `json:"pinned"`
	Safe    bool             `json:"safe"`
	Against []string         `json:"against"`
}

// upgradePlan orders the region's nodes: those without a vote, the followers, the
// leader; by id.
func upgradePlan(ctx context.Context, c *client.Client) ([]upgradeStep, error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var plan []upgradeStep
	rank := map[string]int{"non-voter": 0, "follower": 1, "leader": 2}
	for _, n := range nodes {
		if n.State == ownership.NodeGone {
			continue
		}
		check, err := c.StopCheck(ctx, n.ID)
		if err != nil {
			return nil, err
		}
		role := "follower"
		switch {
		case check.Leader:
			role = "leader"
		case !check.Voter:
			role = "non-voter"
		}
		plan = append(plan, upgradeStep{
			Node: n.ID, Role: role, Version: n.Version, Format: n.Format,
			Live: check.Live, Pinned: check.Pinned, Safe: check.Safe, Against: check.Against,
		})
	}
	slices.SortStableFunc(plan, func(x, y upgradeStep) int {
		return cmp.Or(cmp.Compare(rank[x.Role], rank[y.Role]), cmp.Compare(x.Node, y.Node))
	})
	return plan, nil
}

func (a upgrades) upgradePlanCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plan",
		Short: "the order in which to restart the nodes, and what it would cost now",
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			plan, err := upgradePlan(ctx, c)
			if err != nil {
				return err
			}
			rows := [][]string{{"STEP", "NODE", "ROLE", "VERSION", "READS FORMAT", "LIVE", "PINNED", "SAFE NOW"}}
			for i, s := range plan {
				safe := yes(s.Safe)
				if !s.Safe {
					safe += ": " + strings.Join(s.Against, "; ")
				}
				rows = append(rows, []string{
					strconv.Itoa(i + 1), string(s.Node), s.Role, dash(s.Version), strconv.Itoa(int(s.Format)),
					strconv.Itoa(s.Live), strconv.Itoa(s.Pinned), safe,
				})
			}
			return a.print(plan, rows)
		}),
	}
}

func (a upgrades) upgradeCheckCommand() *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:   "check NODE",
		Short: "whether a node may be stopped now: exit 0 yes, 1 no",
		Long: `All other voters must answer, act as owners and follow the table, so that never
two of them are down; and another active node must be there to take its calls.`,
		Args: cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			check, err := a.awaitSafe(ctx, c, ownership.NodeID(args[0]), wait)
			if err != nil {
				return err
			}
			if check.Pinned > 0 {
				a.done("note: %d calls have their media on %s and end with its bot", check.Pinned, check.Node)
			}
			a.done("%s may be stopped now", check.Node)
			return nil
		}),
	}
	c.Flags().DurationVar(&wait, "wait", 0, "go on asking for so long until it may")
	return c
}

// upgradeLook lies between two checks.
const upgradeLook = time.Second

// awaitSafe asks until the node may be stopped or the wait is over.
func (a upgrades) awaitSafe(ctx context.Context, c *client.Client, id ownership.NodeID, wait time.Duration) (ownership.StopCheck, error) {
	until := time.Now().Add(wait)
	told := ""
	for {
		check, err := c.StopCheck(ctx, id)
		why := strings.Join(check.Against, "; ")
		switch {
		case err != nil && (!client.Unavailable(err) || time.Now().After(until)):
			return check, err
		case err != nil:
			why = err.Error()
		case check.Safe:
			return check, nil
		case time.Now().After(until):
			return check, fmt.Errorf("%s may not be stopped now: %s", id, why)
		}
		if why != told {
			a.done("not yet: %s", why)
			told = why
		}
		select {
		case <-ctx.Done():
			return check, ctx.Err()
		case <-time.After(upgradeLook):
		}
	}
}

func (a upgrades) upgradeRunCommand() *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:   "run -- COMMAND {} …",
		Short: "restart all nodes in the plan's order with a command of yours",
		Long: `For each node of the plan: wait until it may be stopped, then run the command with
{} replaced by the node's id. The command must return when the node has been
started again. The loop stops at the first failure and says where.`,
		Example: `  tandem upgrade run -- ssh {} sudo systemctl restart tandem`,
		Args:    cobra.MinimumNArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			plan, err := upgradePlan(ctx, c)
			if err != nil {
				return err
			}
			for i, s := range plan {
				if _, err := a.awaitSafe(ctx, c, s.Node, wait); err != nil {
					return fmt.Errorf("step %d of %d, %s: %w", i+1, len(plan), s.Node, err)
				}
				a.done("step %d of %d: %s", i+1, len(plan), s.Node)
				if err := a.restart(ctx, s.Node, args); err != nil {
					return fmt.Errorf("step %d of %d, %s: %w", i+1, len(plan), s.Node, err)
				}
			}
			for _, s := range plan[:min(1, len(plan))] {
				if _, err := a.awaitSafe(ctx, c, s.Node, wait); err != nil {
					return fmt.Errorf("after the last step: %w", err)
				}
			}
			a.done("all %d nodes were restarted", len(plan))
			return nil
		}),
	}
	c.Flags().DurationVar(&wait, "wait", 10*time.Minute, "how long to wait at each node until it may be stopped")
	return c
}

// restart runs the operator's command for one node.
func (a upgrades) restart(ctx context.Context, id ownership.NodeID, args []string) error {
	argv := make([]string, len(args))
	for i, w := range args {
		argv[i] = strings.ReplaceAll(w, "{}", string(id))
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = a.err, a.err
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w", strings.Join(argv, " "), err)
	}
	return nil
}
