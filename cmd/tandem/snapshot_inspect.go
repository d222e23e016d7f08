package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

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
