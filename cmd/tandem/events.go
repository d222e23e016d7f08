package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tandem/admin/client"
	"tandem/ownership/history"
)

func (a *app) eventsCommand() *cobra.Command {
	var (
		after  uint64
		follow bool
	)
	c := &cobra.Command{
		Use:   "events",
		Short: "what happened to the table, as it happens",
		Example: `  tandem events --follow
  tandem events --after 1200 --format json`,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			err := c.Events(ctx, after, follow, func(e history.Event) error {
				if a.client.format != "table" {
					return json.NewEncoder(a.out).Encode(e) // a line an event
				}
				_, err := fmt.Fprintln(a.out, eventLine(e))
				return err
			})
			if errors.Is(err, context.Canceled) && ctx.Err() != nil {
				return nil //nolint:nilerr // told to stop
			}
			return err
		}),
	}
	a.regionFlag(c, "of another region")
	c.Flags().Uint64Var(&after, "after", 0, "only events with a higher number")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted; resumes after a lost connection")
	return c
}

// eventLine tells an event; what it does not concern is left out.
func eventLine(e history.Event) string {
	words := []string{e.At.Format("15:04:05.000"), strconv.FormatUint(e.ID, 10), string(e.Kind)}
	if e.Call != "" {
		words = append(words, string(e.Call))
	}
	if e.Partition != 0 {
		words = append(words, "partition "+e.Partition.String())
	}
	if e.From != "" {
		words = append(words, string(e.From)+" →")
	}
	for _, w := range []string{string(e.Node), string(e.Reason), e.Text} {
		if w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, "  ")
}
