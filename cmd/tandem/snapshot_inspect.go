package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"tandem/node"
)

func (a *app) snapshotInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "check a snapshot file and say what it holds; asks no node",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("reading the snapshot: %w", err)
			}
			defer f.Close()
			info, err := node.InspectSnapshot(f)
			if err != nil {
				return fmt.Errorf("reading the snapshot %s: %w", args[0], err)
			}
			return a.print(info, func() [][]string {
				return [][]string{
					{"deployment", info.Deployment},
					{"region", string(info.Region)},
					{"applied", fmt.Sprint(info.Applied)},
				}
			})
		},
	}
}
