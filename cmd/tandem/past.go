package main

import (
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

// pastFlags are the flags that ask for the table as it was.
type pastFlags struct {
	at    string
	index uint64
}

func (f *pastFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.at, "at", "", "as it was at this time, such as 2026-11-29T14:03:00Z, as far as the history reaches back")
	c.Flags().Uint64Var(&f.index, "index", 0, "as it was after this raft index")
	c.MarkFlagsMutuallyExclusive("at", "index")
}

// then is the moment that is asked for; its zero value: now.
func (f *pastFlags) then() (client.Then, error) {
	then := client.Then{Index: f.index}
	if f.at != "" {
		at, err := time.Parse(time.RFC3339Nano, f.at)
		if err != nil {
			return then, usage("--at %q: write a time such as 2026-11-29T14:03:00Z", f.at)
		}
		then.At = at
	}
	return then, nil
}

// pastRows show partitions as they were: what stood in them is not told.
func pastRows(all []api.PartitionIn) [][]string {
	rows := [][]string{{"PARTITION", "OWNER", "EPOCH", "BORN ON", "RETIRED"}}
	for _, p := range all {
		rows = append(rows, []string{p.ID.String(), string(p.Owner), p.Epoch.String(), dash(string(p.BornOn)), yes(p.Retired)})
	}
	return inRegion(rows, all, func(p api.PartitionIn) ownership.Region { return p.Region })
}
