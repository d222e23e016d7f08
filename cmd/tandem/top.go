package main

import (
	"cmp"
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tandem/admin/client"
	"tandem/cmd/tandem/top"
)

// plainWidth is how wide a plain frame is that goes to no terminal.
const plainWidth = 140

// lookouts are the verbs that look at a whole deployment.
type lookouts struct{ *app }

func (a lookouts) topCommand() *cobra.Command {
	var (
		once  bool
		every time.Duration
	)
	c := &cobra.Command{
		Use:   "top",
		Short: "the deployment on one screen, as it goes: promises, regions, nodes, rates, live calls",
		Long: `Shows on one screen, anew every few seconds: which promises hold, the regions, the nodes
with their load and what each does in a second, and below them the live calls, the
partitions with their owners, or all promises with their reasons.

  tab, shift-tab  the next pane, the one before     space  pause
  up, down        scroll                            r      look now
  + -             look more often, less often       q      quit

What nodes do in a second is told by each node itself: by those whose admin door
(admin.url) can be reached from here; of the others it shows -.`,
		Example: `  tandem top
  tandem top --once | head -20        one plain frame, for a script or a report`,
	}
	c.RunE = a.asking(func(ctx context.Context, door *client.Client, _ []string) error {
		g := top.NewGatherer(door, a.dial)
		defer g.Close()
		if out, ok := a.out.(*os.File); once || !ok || !term.IsTerminal(int(out.Fd())) {
			return top.Once(ctx, g, min(every, time.Second), cmp.Or(a.width(), plainWidth), a.out, a.environ)
		}
		return top.Run(ctx, g, every, c.InOrStdin(), a.out, a.environ)
	})
	c.Flags().BoolVar(&once, "once", false, "print one plain frame and end; so it does where the output is no terminal")
	c.Flags().DurationVar(&every, "every", 2*time.Second, "between two looks, at least 500ms")
	return c
}
