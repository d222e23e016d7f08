package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
)

// logVerbs are the verbs about what the nodes write to their logs.
type logVerbs struct{ *app }

func (a logVerbs) logCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "log [set | off]",
		Short: "write each step of a call, a tenant or a node to the nodes' logs, for a while",
		Long: `Without a word it shows what is followed. 'log set' has all nodes of the region write
one line for each step of a call, of a tenant's calls, or of one node: where a
notification was received, where it went, what the bot and Graph answered. The lines
come whatever log.level says, and end by themselves. Nothing of them is a token, a
secret or a body.

The last steps of a call are kept without this too: see 'tandem explain'.`,
		Example: `  tandem log
  tandem log set --call 57dab8b1-894c-409a-b240-bd8beae78896
  tandem log set --tenant 8986d25d-ed3f-4bb8-b739-14d2fcc37b09 --level info --for 1h   only what fails
  tandem log off --call 57dab8b1-894c-409a-b240-bd8beae78896`,
		Args: cobra.NoArgs,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			now, err := client.Log{Client: c}.Following(ctx)
			if err != nil {
				return err
			}
			return a.showLog(now)
		}),
	}
	c.AddCommand(a.logSetCommand(), a.logOffCommand())
	return c
}

// logScope are the flags that say whose steps are meant.
func logScope(c *cobra.Command, ask *api.LogAsk) {
	c.Flags().StringVar(&ask.Call, "call", "", "steps of this call")
	c.Flags().StringVar(&ask.Tenant, "tenant", "", "steps of this tenant's calls")
	c.Flags().StringVar(&ask.Node, "node", "", "every step of this node")
	c.MarkFlagsOneRequired("call", "tenant", "node")
	c.MarkFlagsMutuallyExclusive("call", "tenant", "node")
}

func (a logVerbs) logSetCommand() *cobra.Command {
	var ask api.LogAsk
	var length time.Duration
	c := &cobra.Command{
		Use:     "set",
		Short:   "begin, or change how much and for how long",
		Example: "  tandem log set --node emea-1 --for 2m",
		Args:    cobra.NoArgs,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			if length <= 0 || length > 24*time.Hour {
				return usage("--for %s: write a time such as 10m, 24h at most", length)
			}
			if ask.Level != "debug" && ask.Level != "info" {
				return usage("--level %q: debug writes every step, info only those that failed", ask.Level)
			}
			ask.For = length.String()
			return a.setLog(ctx, c, ask)
		}),
	}
	logScope(c, &ask)
	c.Flags().StringVar(&ask.Level, "level", "debug", "debug: every step; info: only those that failed")
	c.Flags().DurationVar(&length, "for", 10*time.Minute, "then it ends by itself; 24h at most")
	return c
}

func (a logVerbs) logOffCommand() *cobra.Command {
	var ask api.LogAsk
	c := &cobra.Command{
		Use:     "off",
		Short:   "end it before its time",
		Example: "  tandem log off --node emea-1",
		Args:    cobra.NoArgs,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			ask.Level = "off"
			return a.setLog(ctx, c, ask)
		}),
	}
	logScope(c, &ask)
	return c
}

func (a logVerbs) setLog(ctx context.Context, c *client.Client, ask api.LogAsk) error {
	if ask.Call != "" {
		if err := checkCallID(ask.Call); err != nil {
			return err
		}
	}
	now, err := client.Log{Client: c}.Set(ctx, ask)
	if err != nil {
		return err
	}
	if err := a.showLog(now); err != nil {
		return err
	}
	if len(now.Missing) > 0 {
		return errors.New("not all nodes were told: " + strings.Join(now.Missing, "; "))
	}
	return nil
}

func (a logVerbs) showLog(l api.LogFollows) error {
	rows := [][]string{{"CALL", "TENANT", "NODE", "LEVEL", "UNTIL", "BY", "NODES"}}
	for _, f := range l.Items {
		rows = append(rows, []string{
			dash(string(f.Call)), dash(string(f.Tenant)), dash(string(f.Node)), f.Level, f.Until.Local().Format(time.DateTime), dash(f.By), joined(f.Nodes, " "),
		})
	}
	for _, m := range l.Missing {
		a.done("no answer of %s", m)
	}
	return a.print(l, rows)
}
