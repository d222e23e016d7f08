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

func (a rulesVerbs) diff() *cobra.Command {
	return &cobra.Command{
		Use:   "diff FILE",
		Short: "which of the last calls would have gone elsewhere by the rules in FILE",
		Long: `Holds the document against the calls that rang last at the nodes of this region (each
remembers what the rules could see of 4,096, since its start), and says how many would
be handled in another region, as the regions are now, with examples. Nothing changes. Ask each
region: calls ring where the cloud sends them.`,
		Example: "  tandem rules diff rules.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			text, _, err := a.read(args[0])
			if err != nil {
				return err
			}
			d, err := c.Rules().Diff(ctx, text)
			if err != nil {
				return err
			}
			for _, m := range d.Missing {
				a.done("not heard: %s", m)
			}
			return a.print(d, diffRows(d, time.Now()))
		}),
	}
}

func diffRows(d api.RulesDiff, now time.Time) [][]string {
	rows := [][]string{
		{"recorded", fmt.Sprintf("%d calls, the oldest %s", d.Recorded, ago(d.Since, now))},
		{"elsewhere", strconv.Itoa(d.Elsewhere)}, {"pinned otherwise", strconv.Itoa(d.Repinned)},
	}
	if d.Failing > 0 {
		rows = append(rows, []string{"failing", fmt.Sprintf("%d, where a rule could not be evaluated", d.Failing)})
	}
	for _, m := range d.Moves {
		rows = append(rows, []string{"move", fmt.Sprintf("%d  %s -> %s", m.Calls, m.From, m.To)})
	}
	for _, e := range d.Examples {
		rows = append(rows, []string{"call", fmt.Sprintf("%s  %s -> %s  %s", e.Call, e.From, e.To, e.Why)})
	}
	return rows
}

func (a rulesVerbs) history() *cobra.Command {
	return &cobra.Command{
		Use:   "history",
		Short: "the versions that are kept, newest first: who set them where, and why",
		Long: `Lists the last 50 versions. 'tandem rules get NUMBER' prints one, 'tandem rules
rollback NUMBER' makes it the newest. Two of one number were set in two regions at once:
the upper one is what counts.`,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Rules().History(ctx)
			if err != nil {
				return err
			}
			rows := [][]string{{"NUMBER", "DIGEST", "SET BY", "IN", "SET", "NOTE"}}
			for _, v := range all {
				rows = append(rows, historyRow(v, time.Now()))
			}
			return a.print(all, rows)
		}),
	}
}

func historyRow(v ownership.Rules, now time.Time) []string {
	return []string{strconv.FormatUint(v.Number, 10), fmt.Sprintf("%.8s", v.Digest), dash(v.By), dash(string(v.Origin)), ago(v.At, now), v.Note}
}

func (a rulesVerbs) rollback() *cobra.Command {
	var note string
	c := &cobra.Command{
		Use:   "rollback NUMBER",
		Short: "make an earlier version the newest, in all regions",
		Long: `Sets the text of a version of 'tandem rules history' anew, under a number of its own:
numbers only rise, so the other regions take it over like any change.`,
		Example: "  tandem rules rollback 6 --note \"canada is not ready\"",
		Args:    cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			n, err := rulesNumber(args[0])
			if err != nil {
				return err
			}
			all, err := c.Rules().History(ctx)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				return exitError{exitNotFound, fmt.Errorf("no rules were ever set, so there is nothing to go back to")}
			}
			v, err := c.Rules().RollBack(ctx, api.RulesBack{Number: n, Expect: all[0].Number, Note: note})
			return a.became(v, err)
		}),
	}
	c.Flags().StringVar(&note, "note", "", "why, for the history")
	return c
}

func rulesNumber(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, usage("%.20q is no number of rules: see 'tandem rules history'", s)
	}
	return n, nil
}
