package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

// acting is a command that asks the door for one thing and says that it was done.
func (a *app) acting(use, short string, words cobra.PositionalArgs, do func(ctx context.Context, c *client.Client, args []string) (said string, err error)) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: words, RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
		said, err := do(ctx, c, args)
		if err == nil {
			a.done("%s", said)
		}
		return err
	})}
}

// yesFlag lets a command go on without asking.
func yesFlag(c *cobra.Command) {
	c.Flags().Bool("yes", false, "do not ask, although something alive is lost")
}

// sure says what would be lost and asks, unless --yes was said. Nothing to lose: it does
// not ask.
func (a *app) sure(c *cobra.Command, question string, lost []string) error {
	if len(lost) == 0 {
		return nil
	}
	for _, l := range lost {
		a.done("%s", l)
	}
	if said, err := c.Flags().GetBool("yes"); err != nil || said {
		return err
	}
	a.done("%s [y/N]", question)
	if !agreed(c.InOrStdin()) {
		return errors.New("nothing was changed: nobody said yes (y, or --yes)")
	}
	return nil
}

// goesWith says what is lost with a node that goes: nothing, if it is not alive and has no
// live call.
func goesWith(ctx context.Context, c *client.Client, id ownership.NodeID) ([]string, error) {
	sum, err := c.Summary(ctx)
	if err != nil {
		return nil, err
	}
	state := ""
	for _, n := range sum.NodesList {
		if n.ID == id {
			state = n.State
		}
	}
	f, err := c.ForecastNode(ctx, id)
	var p *client.Problem
	if errors.As(err, &p) && p.Status == http.StatusNotImplemented {
		n, err := c.Node(ctx, id)
		if err != nil {
			return nil, err
		}
		f, state = api.NodeForecast{Node: id, State: n.State, Live: n.Live, Bound: n.Live}, cmp.Or(state, n.State.String())
	} else if err != nil {
		return nil, err
	}
	var lost []string
	if state == ownership.NodeActive.String() || state == ownership.NodeDraining.String() {
		lost = append(lost, fmt.Sprintf("%s is alive: it is %s, and takes no call of the region any more once it is out.", id, state))
	}
	if f.Live > 0 {
		lost = append(lost, fmt.Sprintf("It has %d live calls: %d have their media on it and are lost to it, %d move to other nodes, %d ring and are answered elsewhere.", f.Live, f.Bound, f.Movable, f.Ringing))
		if !f.Enough {
			lost = append(lost, fmt.Sprintf("The other nodes have room for %d, and %d would come at once.", f.Room, f.Needs))
		}
	}
	if len(lost) > 0 {
		lost = append(lost, fmt.Sprintf("'tandem drain %s --wait' empties it first.", id))
	}
	return lost, nil
}

func (a *app) leaveCommand() *cobra.Command {
	var c *cobra.Command
	c = a.acting("leave", "take the asked node out of its region, handing its partitions over", nil,
		func(ctx context.Context, door *client.Client, _ []string) (string, error) {
			s, err := door.Status(ctx)
			if err != nil {
				return "", err
			}
			lost, err := goesWith(ctx, door, s.Node)
			if err == nil {
				err = a.sure(c, fmt.Sprintf("Take %s out of region %s?", s.Node, s.Region), lost)
			}
			if err != nil {
				return "", err
			}
			return "the node has left; its record stays as gone", door.Leave(ctx)
		})
	c.Long = `Hands over what can move and takes the node that is asked out of its region. A node
that is alive, and every node with live calls, is told of first: what would be lost. Then
it asks; with --yes it does not ask. The process goes on running, without calls.`
	yesFlag(c)
	return c
}

func (a *app) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "have the asked node read its configuration and files again",
		Long: `Puts in force what needs no restart: certificates, admin tokens, handle keys, secrets
of bots, rules, pins and the log level. What else has changed is named, and waits for a
restart. If anything that is written cannot be read or does not hold, all that was in
force stays, and the answer says what is wrong. SIGHUP does the same.`,
		RunE: a.asking(func(ctx context.Context, door *client.Client, _ []string) error {
			told, err := door.Reload(ctx)
			if err != nil {
				return err
			}
			rows := make([][]string, 0, len(told.Waiting))
			for _, section := range told.Waiting {
				rows = append(rows, []string{section, "waits for a restart of the node"})
			}
			a.done("reloaded")
			return a.print(told, rows)
		}),
	}
}

func (a *app) removeCommand() *cobra.Command {
	var c *cobra.Command
	c = a.acting("remove NODE", "take another node out, dead or alive", cobra.ExactArgs(1),
		func(ctx context.Context, door *client.Client, args []string) (string, error) {
			id := ownership.NodeID(args[0])
			lost, err := goesWith(ctx, door, id)
			if err == nil {
				err = a.sure(c, fmt.Sprintf("Take %s out of the region?", id), lost)
			}
			if err != nil {
				return "", err
			}
			return args[0] + " is gone; its partitions have new owners", door.Remove(ctx, id)
		})
	c.Long = `Takes a node out of the region for good; its partitions go to the others. Of a node
that is alive, or has live calls, it says first what would be lost, and asks; with --yes
it does not ask. A machine that comes back empty joins anew.`
	yesFlag(c)
	return c
}

func (a *app) undrainCommand() *cobra.Command {
	return a.acting("undrain NODE", "bring a draining node back", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, args []string) (string, error) {
			return args[0] + " takes new calls again", c.Undrain(ctx, ownership.NodeID(args[0]))
		})
}

func (a *app) moveCommand() *cobra.Command {
	c := a.acting("move PARTITION NODE", "hand a partition over to a node", cobra.ExactArgs(2),
		func(ctx context.Context, c *client.Client, args []string) (string, error) {
			id, err := partitionID(args[0])
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("partition %s belongs to %s", id, args[1]), c.Move(ctx, id, ownership.NodeID(args[1]))
		})
	c.Long = `The owner stops acting, then the epoch grows and the new owner starts. Calls with
app-hosted media cannot move: a partition that holds one is refused.`
	return c
}

func (a *app) releaseCommand() *cobra.Command {
	var c *cobra.Command
	c = a.acting("release CALL", "end a call's record by hand; the call itself is not touched", cobra.ExactArgs(1),
		func(ctx context.Context, door *client.Client, args []string) (string, error) {
			if err := checkCallID(args[0]); err != nil {
				return "", err
			}
			k, err := door.Call(ctx, args[0])
			if err != nil {
				return "", err
			}
			if k.State != ownership.CallEnded {
				err = a.sure(c, "Release it?", []string{
					fmt.Sprintf("The call is %s %s: %s acts for it.", k.State, ago(cmp.Or(k.AnsweredAt, k.ClaimedAt), time.Now()), dash(string(k.Owner))),
					"Released, its owner's bot is told lost, and later notifications of it reach nobody; the cloud is not told, and goes on with it.",
				})
			}
			if err != nil {
				return "", err
			}
			return "released", door.Release(ctx, args[0])
		})
	c.Long = `Ends the record of a call that is over, and that the region does not know to be. Of a
call that the region takes for alive it says first what would be lost, and asks; with
--yes it does not ask.`
	yesFlag(c)
	return c
}

func (a *app) snapshotCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "save, restore or inspect the whole table",
	}
	save := &cobra.Command{
		Use:   "save FILE",
		Short: "write the whole table to a file, with its checksum",
		Args:  cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			return a.saveSnapshot(ctx, c, args[0])
		}),
	}
	c.AddCommand(save, a.snapshotRestoreCommand(), a.snapshotInspectCommand())
	return c
}

// saveSnapshot writes beside the file and renames, so that a broken download
// never stands under the wanted name.
func (a *app) saveSnapshot(ctx context.Context, c *client.Client, file string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), ".tandem-snapshot-*")
	if err != nil {
		return fmt.Errorf("making the snapshot file: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := c.SaveSnapshot(ctx, f); err != nil {
		return err
	}
	size, err := f.Seek(0, 1)
	if err != nil {
		return fmt.Errorf("measuring the snapshot: %w", err)
	}
	if err := cmp.Or(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return fmt.Errorf("naming the snapshot: %w", err)
	}
	a.done("saved %d bytes to %s", size, file)
	return nil
}
