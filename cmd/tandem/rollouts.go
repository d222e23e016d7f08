package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

// rolloutVerbs are the verbs about versions of bots.
type rolloutVerbs struct{ *app }

func (a rolloutVerbs) command() *cobra.Command {
	c := &cobra.Command{
		Use:   "rollouts",
		Short: "versions of bots: what becomes of their calls, and how many they get",
		Long: `A bot says its version in its health reply ({"version": "2.5.0"}). The region counts
what becomes of each version's calls, by the cloud's own result codes, and compares
them. A version that came while another one was there and is worse halts by itself:
new calls go to the others, and an event says why.

Give a version a share before it is deployed, and a bad one hurts five calls at most,
or one in a hundred of the new ones:

  tandem rollouts set 2.5.0 --share 1 --steps
  # now deploy 2.5.0 on one node, or on several
  tandem rollouts list
  tandem events --follow

With --steps the share grows by itself once the version is proven: 1 %, 10 %, 50 %, all.
What a pin or a running meeting binds to a node stays with it, but for a halt. Where no
node has a healthy bot of another version, a version gets all calls, halted or not.

How a version stands:
  watched    it came when another one was there; it has no rule, and halts if it is worse
  unproven   it has a rule, and too few of its calls have ended well yet
  proven     enough of them have: the limit of five calls or one in a hundred is off
  halted     it gets no new calls; 'resume' ends that
  alone      no node has a healthy bot of another version
  usual      what newcomers are compared with`,
	}
	c.AddCommand(a.list(), a.set(), a.noting("halt VERSION", "give a version no new calls, as long as another one can take them", "%s is halted", client.Rollouts.Halt),
		a.noting("resume VERSION", "give a halted version calls again, of the share that it had; it is judged anew", "%s gets calls again", client.Rollouts.Resume),
		a.noting("end VERSION", "take the rule for a version out: it is treated as any", "%s has no rule any more", client.Rollouts.End))
	return c
}

func (a rolloutVerbs) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "all versions, with nodes, share, calls and how they stand",
		Long: `One line a version. SHARE is its rule's (- : it has none), CALLS how many it took since
its nodes' processes began, WELL, BAD and SHORT how those ended: SHORT ended as calls do, but
within five seconds of the answer. HURT is how many have not ended well, those under way
among them, of how many that may be while it is not proven.`,
		Example: `  tandem rollouts list
  tandem rollouts list --format json`,
		Args: cobra.NoArgs,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Rollouts().List(ctx)
			if err != nil {
				return err
			}
			if err := a.print(all, rolloutRows(all)); err != nil || a.client.format != "table" {
				return err
			}
			for _, r := range all {
				if r.Rule != nil && r.Rule.Reason != "" {
					a.done("%s: %s (%s, %s)", r.Version, r.Rule.Reason, r.Rule.By, r.Rule.At.Format("2006-01-02 15:04:05Z"))
				}
			}
			return nil
		}),
	}
}

func rolloutRows(all []api.BotVersion) [][]string {
	rows := [][]string{{"APP", "VERSION", "NODES", "SHARE", "CALLS", "WELL", "BAD", "SHORT", "HURT", "STANDS"}}
	for _, r := range all {
		share, hurt := "-", "-"
		if r.Rule != nil {
			share = fmt.Sprintf("%g %%", float64(r.Rule.Share)/100)
			if r.Rule.Steps {
				share += " +"
			}
			if !r.Proven && !r.Rule.Halted {
				hurt = fmt.Sprintf("%d of %d", r.Hurt, r.Bound)
			}
		}
		count := func(n uint64) string { return strconv.FormatUint(n, 10) }
		rows = append(rows, []string{string(r.App), dash(r.Version), dash(joined(r.Nodes, ",")), share, count(r.Taken), count(r.Well), count(r.Bad), count(r.Short), hurt, r.Stands})
	}
	return rows
}

// of finds the version's app where only one is served.
func (a rolloutVerbs) of(ctx context.Context, c *client.Client, app, version string) (api.RolloutOf, error) {
	of := api.RolloutOf{App: ownership.AppID(app), Version: version}
	if app != "" {
		return of, nil
	}
	all, err := c.Rollouts().List(ctx)
	if err != nil {
		return of, err
	}
	var apps []string
	for _, r := range all {
		if of.App != r.App {
			of.App, apps = r.App, append(apps, string(r.App))
		}
	}
	switch len(apps) {
	case 1:
		return of, nil
	case 0:
		return of, usage("no node tells of a bot yet: name the app with --app")
	}
	return of, usage("name the app with --app: there are %s", strings.Join(apps, ", "))
}

func (a rolloutVerbs) set() *cobra.Command {
	var (
		app, note string
		share     float64
		steps     bool
	)
	c := &cobra.Command{
		Use:   "set VERSION",
		Short: "give a version a share of the new calls, best before it is deployed",
		Long: `Of the calls that are placed freely, drawn by their ids: what a pin or a running meeting
binds to a node goes there. While the version is not proven, five of its calls, or one in a
hundred of the new ones, may not have ended well, those under way among them; then it
gets no more for the moment.`,
		Example: `  tandem rollouts set 2.5.0 --share 1 --steps
  tandem rollouts set 2.5.0 --share 100 --note "after a day at 10 %"`,
		Args: cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&app, "app", "", "whose bot; needed where the region serves several apps")
	c.Flags().Float64Var(&share, "share", 0, "percent of the new calls, from 0.01 to 100")
	c.Flags().BoolVar(&steps, "steps", false, "let the share grow by itself once the version is proven")
	c.Flags().StringVar(&note, "note", "", "why, for those who read it later")
	c.RunE = a.asking(func(ctx context.Context, door *client.Client, args []string) error {
		if _, err := ownership.ParseShare(share); err != nil {
			return usage("--share is %g: give percent, from 0.01 to 100", share)
		}
		of, err := a.of(ctx, door, app, args[0])
		if err != nil {
			return err
		}
		if err := door.Rollouts().Set(ctx, api.RolloutAsk{RolloutOf: of, Percent: share, Steps: steps, Note: note}); err != nil {
			return err
		}
		a.done("%s gets %g %% of the new calls", args[0], share)
		return nil
	})
	return c
}

// noting makes a verb that changes the rule of a version in one respect.
func (a rolloutVerbs) noting(use, short, done string, do func(client.Rollouts, context.Context, api.RolloutNote) error) *cobra.Command {
	var app, note string
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), Example: "  tandem rollouts " + strings.Replace(use, "VERSION", "2.5.0", 1)}
	c.Flags().StringVar(&app, "app", "", "whose bot; needed where the region serves several apps")
	c.Flags().StringVar(&note, "note", "", "why, for those who read it later")
	c.RunE = a.asking(func(ctx context.Context, door *client.Client, args []string) error {
		of, err := a.of(ctx, door, app, args[0])
		if err != nil {
			return err
		}
		if err := do(door.Rollouts(), ctx, api.RolloutNote{RolloutOf: of, Note: note}); err != nil {
			return err
		}
		a.done(done, args[0])
		return nil
	})
	return c
}
