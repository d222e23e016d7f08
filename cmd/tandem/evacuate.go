package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/forecast"
	"tandem/ownership"
)

// evacuations are the verbs that take a region out of service for new calls.
type evacuations struct{ *app }

func (a evacuations) evacuate() *cobra.Command {
	var to []string
	var dry bool
	ask := api.EvacuationAsk{}
	c := &cobra.Command{
		Use:   "evacuate REGION",
		Short: "send a region's new calls elsewhere; live ones stay until they end",
		Long: `Sends the new calls of a region to others, wherever they arrive. Its live calls stay
where they are until they end: none is moved. What a rule with residency: hard, or
with here: force, binds to the region stays there, too.

It is a change of the rules, so it can be told at any node of any region, travels as
they do ('tandem rules history'), and ends with 'tandem regions restore REGION'.

  tandem regions evacuate emea --dry-run          # what would it bring?
  tandem regions evacuate emea --to amer,apac     # amer first, apac where amer is full or down
  tandem regions evacuation emea --watch          # how far is it?
  tandem regions restore emea                     # abort, or take part again

The dry run holds the new rules against the last 4,096 new calls that each node of the
region remembers, as the regions are at this moment.`,
		Args: cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			region := ownership.Region(args[0])
			ask.To = ownership.Words[ownership.Region](to)
			if dry {
				return printing(a.app, planRows)(c.Evacuation(ctx, region, ask.To...))
			}
			v, err := c.Evacuate(ctx, region, ask)
			if err != nil {
				return err
			}
			a.done("New calls of %s go elsewhere by rules %d. See how far it is: tandem regions evacuation %s", region, v.Number, region)
			return nil
		}),
	}
	c.Flags().StringSliceVar(&to, "to", nil, "who takes its new calls, in this order; without it: the others that are well, most room first")
	c.Flags().BoolVar(&dry, "dry-run", false, "only say what it would bring")
	c.Flags().StringVar(&ask.Note, "note", "", "why, for the history of the rules")
	return c
}

func (a evacuations) restore() *cobra.Command {
	return a.acting("restore REGION", "end a region's evacuation: it takes its new calls again", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, args []string) (string, error) {
			v, err := c.RestoreRegion(ctx, ownership.Region(args[0]))
			return fmt.Sprintf("%s takes its new calls again, by rules %d.", args[0], v.Number), err
		})
}

// watchEvacuation lies between two looks at an evacuation's progress.
const watchEvacuation = 5 * time.Second

func (a evacuations) evacuation() *cobra.Command {
	var watch, lost bool
	c := &cobra.Command{
		Use:   "evacuation REGION",
		Short: "how far a region's evacuation is: calls left, and when the last will have ended",
		Long: `Shows the calls that a region still has, by tenant and by age, when the last of them
will have ended by the lengths of past calls (with a probability of one half, 0.9 and
0.99), and where new ones go. With --lost it says what would come of the calls that
arrive in the asked region, were the other one lost all of a sudden.`,
		Args: cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			region := ownership.Region(args[0])
			if lost {
				return printing(a.app, planRows)(c.LoseRegion(ctx, region))
			}
			e, err := c.Evacuation(ctx, region)
			if err != nil {
				return err
			}
			for watch && e.Evacuated && e.Live > 0 {
				a.done("%s  %d calls left; all over in %s, by nine in ten", e.AsOf.Local().Format(time.TimeOnly), e.Live, seconds(e.Ends.P90))
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(watchEvacuation):
				}
				if e, err = c.Evacuation(ctx, region); err != nil {
					return err
				}
			}
			return a.print(e, planRows(e))
		}),
	}
	c.Flags().BoolVar(&lost, "lost", false, "what if it were lost? Asked in another region")
	c.Flags().BoolVar(&watch, "watch", false, "tell the progress until no call is left")
	return c
}

func planRows(e api.Evacuation) [][]string {
	state := "takes its new calls; this is what an evacuation would bring"
	if e.Lost {
		state = "this is what its loss would bring here"
	}
	if e.Evacuated {
		state = "evacuated"
		if !e.Since.IsZero() {
			state += " since " + e.Since.Local().Format(time.DateTime) + " by " + dash(e.By)
		}
	}
	rows := [][]string{
		{string(e.Region), state},
		{"to", dash(joined(e.To, ", "))},
		{"live calls", strconv.Itoa(e.Live)},
		{"all over in", ends(e.Ends)},
	}
	rows = append(rows, whose(e.Tenants, e.Ages)...)
	rows = append(rows, []string{"new calls", fmt.Sprintf("of the last %d that arrived:", e.Recorded)})
	for _, n := range e.NewCalls {
		rows = append(rows, []string{"", arrival(n)})
		for _, w := range n.Why {
			if n.After != n.Before {
				rows = append(rows, []string{"", fmt.Sprintf("    %d  %s", w.Calls, w.Text)})
			}
		}
	}
	return append(rows, under("missing", e.Missing)...)
}

func forecastRows(f api.NodeForecast) [][]string {
	rows := [][]string{
		{string(f.Node), f.State.String()},
		{"live calls", fmt.Sprintf("%d: %d bound to it, %d that can move, %d that ring", f.Live, f.Bound, f.Movable, f.Ringing)},
		{"all over in", ends(f.Ends)},
	}
	rows = append(rows, whose(f.Tenants, f.Ages)...)
	room := fmt.Sprintf("for %d; %d would move at once if it were lost", f.Room, f.Needs)
	if !f.Enough {
		room += " -- NOT ENOUGH"
	}
	return append(rows, []string{"room elsewhere", room})
}

func ends(e forecast.Ends) string {
	return fmt.Sprintf("%s (p50), %s (p90), %s (p99), from %d calls of the past", seconds(e.P50), seconds(e.P90), seconds(e.P99), e.Learned)
}

func whose(tenants []forecast.Tenant, ages []forecast.Ages) (rows [][]string) {
	for _, t := range tenants {
		rows = append(rows, []string{"tenant", fmt.Sprintf("%s  %d calls, the oldest %s", cmp.Or(t.Tenant, "others"), t.Live, seconds(t.Oldest))})
	}
	for _, g := range ages {
		if g.Live > 0 {
			rows = append(rows, []string{"younger than " + seconds(g.Below), strconv.Itoa(g.Live)})
		}
	}
	return rows
}

func arrival(n forecast.Arrival) string {
	if n.Region == "" {
		return fmt.Sprintf("nobody takes %d, now %d", n.After, n.Before)
	}
	room := "it does not answer"
	if n.Room >= 0 {
		room = fmt.Sprintf("room for %d", n.Room)
	}
	line := fmt.Sprintf("%s takes %d, now %d: %g a minute, %d more at a time, %s", n.Region, n.After, n.Before, n.PerMinute, n.Needs, room)
	if !n.Enough {
		line += " -- NOT ENOUGH"
	}
	return line
}

func seconds(n int) string { return (time.Duration(n) * time.Second).String() }
