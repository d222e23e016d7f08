package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/node"
	"tandem/ownership"
)

func (a *app) snapshotRestoreCommand() *cobra.Command {
	var terms ownership.RestoreTerms
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "replace the region's table by a saved one",
		Long: `Replaces the table of the whole region. First it says what the snapshot brings,
and asks; with --yes it does not ask.

A snapshot of another deployment or region, and a damaged or truncated one, is
refused and changes nothing. So is one that the region is newer than, and one from
before the region was founded anew, if it holds calls by now: with --yes these calls
are given up. And so is one that is not signed with a handle key of this deployment
(handle_keys_file), as older software saved it, or with a key that is no longer in
the file: with --unsigned it is taken. Say so only of a file whose way you know.

The region keeps its tokens of the admin doors. With --with-tokens it gets those of
the snapshot instead: revoke again what was revoked since.`,
		Args: cobra.ExactArgs(1),
	}
	c.RunE = a.asking(func(ctx context.Context, door *client.Client, args []string) error {
		f, info, err := openSnapshot(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		lines, err := brings(ctx, door, info, terms.Tokens)
		if err != nil {
			return err
		}
		for _, l := range lines {
			a.done("%s", l)
		}
		if !terms.Anyhow {
			a.done("Replace the table of region %s by it? [y/N]", info.Region)
			if !agreed(c.InOrStdin()) {
				return errors.New("nothing was restored: nobody said yes (y, or --yes)")
			}
		}
		if err := door.RestoreSnapshot(ctx, f, terms); err != nil {
			return err
		}
		a.done("the region has the table of %s", args[0])
		return nil
	})
	c.Flags().BoolVar(&terms.Anyhow, "yes", false, "do not ask; also over the calls of a region that was founded anew")
	c.Flags().BoolVar(&terms.Unsigned, "unsigned", false, "also a snapshot that no handle key of this deployment has signed")
	c.Flags().BoolVar(&terms.Tokens, "with-tokens", false, "take over the snapshot's tokens of the admin doors, in place of today's")
	return c
}

// openSnapshot reads a saved snapshot whole, and gives the file from its beginning.
func openSnapshot(name string) (_ *os.File, info node.SnapshotInfo, err error) {
	fail := func(err error) (*os.File, node.SnapshotInfo, error) {
		return nil, info, fmt.Errorf("reading the snapshot %s: %w", name, err)
	}
	f, err := os.Open(name)
	if err != nil {
		return fail(err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	of, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	if info, err = node.InspectSnapshot(f, of.Size()); err != nil { // which does not move in the file
		return fail(err)
	}
	return f, info, nil
}

// brings says what a snapshot holds, and what of it the region does not have now.
func brings(ctx context.Context, c *client.Client, info node.SnapshotInfo, tokens bool) ([]string, error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	today, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	doors, err := c.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	knows := func(id ownership.NodeID) bool {
		return slices.ContainsFunc(nodes, func(n api.Node) bool { return n.ID == id && n.State != ownership.NodeGone })
	}
	var ids, held []string
	for _, id := range info.NodeIDs {
		ids = append(ids, marked(string(id), knows(id)))
	}
	for _, t := range info.DoorTokens {
		known := slices.ContainsFunc(doors, func(d api.TokenInfo) bool { return d.Name == t.Name && d.Origin == api.OriginRegion })
		held = append(held, marked(t.Name+" ("+strings.Join(t.Roles, ", ")+")", known))
	}
	what := "stay out: the region keeps its own (--with-tokens takes them)"
	if tokens {
		what = "come in, in place of those that the region has now"
	}
	return []string{
		fmt.Sprintf("The snapshot was saved by node %s at %s, at entry %d. It brings", info.MadeBy, info.MadeAt.Format(time.RFC3339), info.Applied),
		fmt.Sprintf("  nodes       %s", orNone(ids)),
		fmt.Sprintf("  partitions  %d", info.Partitions),
		fmt.Sprintf("  calls       %d, %d of them live", info.Calls, info.Live),
		fmt.Sprintf("  tokens      %s; they %s", orNone(held), what),
		fmt.Sprintf("The region is at entry %d and has %d live calls: those that are not in the snapshot are forgotten, and so is what happened to the others since.", today.Cluster.Applied, today.Live),
	}, nil
}

// marked quotes a name that came with a file, and marks one that is new here.
func marked(name string, known bool) string {
	name = strings.Trim(fmt.Sprintf("%q", name), `"`)
	if known {
		return name
	}
	return name + " (not in the region now)"
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// agreed reads one line; anything but yes, and the end of the input, is no.
func agreed(in io.Reader) bool {
	line, _ := bufio.NewReader(in).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

func (a *app) snapshotInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "check a snapshot file and say what it holds; asks no node",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, info, err := openSnapshot(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			return a.print(info, [][]string{
				{"deployment", info.Deployment},
				{"region", string(info.Region)},
				{"applied", fmt.Sprint(info.Applied)},
				{"nodes", fmt.Sprint(info.NodeIDs)},
				{"partitions", fmt.Sprint(info.Partitions)},
				{"calls", fmt.Sprintf("%d, %d of them live", info.Calls, info.Live)},
				{"tokens", fmt.Sprint(info.DoorTokens)},
			})
		},
	}
}
