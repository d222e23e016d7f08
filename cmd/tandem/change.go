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

// changeCommands are the commands that change the region.
func (a *app) changeCommands() []*cobra.Command {
	return []*cobra.Command{
		a.foundCommand(), a.joinCommand(), a.leaveCommand(), a.removeCommand(), a.drainCommand(), a.undrainCommand(),
		a.regionCommand(), upgrades{a}.upgradeCommand(), a.moveCommand(), a.releaseCommand(), a.snapshotCommand(), a.raftCommand(), a.tokensCommand(), rulesVerbs{a}.rulesCommand(),
	}
}

func (a *app) leaveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "leave",
		Short: "take the asked node out of its region, handing its partitions over",
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			if err := c.Leave(ctx); err != nil {
				return err
			}
			a.done("the node has left; its record stays as gone")
			return nil
		}),
	}
}

func (a *app) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NODE",
		Short: "take another node out, dead or alive",
		Args:  cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			if err := c.Remove(ctx, ownership.NodeID(args[0])); err != nil {
				return err
			}
			a.done("%s is gone; its partitions have new owners", args[0])
			return nil
		}),
	}
}

func (a *app) undrainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "undrain NODE",
		Short: "bring a draining node back",
		Args:  cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			if err := c.Undrain(ctx, ownership.NodeID(args[0])); err != nil {
				return err
			}
			a.done("%s takes new calls again", args[0])
			return nil
		}),
	}
}

func (a *app) moveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "move PARTITION NODE",
		Short: "hand a partition over to a node",
		Long: `The owner stops acting, then the epoch grows and the new owner starts. Calls with
app-hosted media cannot move: a partition that holds one is refused.`,
		Args: cobra.ExactArgs(2),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			id, err := partitionID(args[0])
			if err != nil {
				return err
			}
			if err := c.Move(ctx, id, ownership.NodeID(args[1])); err != nil {
				return err
			}
			a.done("partition %s belongs to %s", id, args[1])
			return nil
		}),
	}
}

func (a *app) releaseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "release CALL",
		Short: "end a call's record by hand; the call itself is not touched",
		Args:  cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			if _, err := callID(args[0]); err != nil {
				return err
			}
			if err := c.Release(ctx, args[0]); err != nil {
				return err
			}
			a.done("released")
			return nil
		}),
	}
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
