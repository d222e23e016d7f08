package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

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

func (a *app) leaveCommand() *cobra.Command {
	return a.acting("leave", "take the asked node out of its region, handing its partitions over", nil,
		func(ctx context.Context, c *client.Client, _ []string) (string, error) {
			return "the node has left; its record stays as gone", c.Leave(ctx)
		})
}

func (a *app) removeCommand() *cobra.Command {
	return a.acting("remove NODE", "take another node out, dead or alive", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, args []string) (string, error) {
			return args[0] + " is gone; its partitions have new owners", c.Remove(ctx, ownership.NodeID(args[0]))
		})
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
	return a.acting("release CALL", "end a call's record by hand; the call itself is not touched", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, args []string) (string, error) {
			if err := checkCallID(args[0]); err != nil {
				return "", err
			}
			return "released", c.Release(ctx, args[0])
		})
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
	if err := f.Sync(); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return fmt.Errorf("naming the snapshot: %w", err)
	}
	a.done("saved %d bytes to %s", size, file)
	return nil
}
