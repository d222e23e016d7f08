package node

import (
	"errors"
	"fmt"
	"log/slog"

	"tandem/cluster"
	"tandem/ownership"
	"tandem/store"
)

// Recover makes this node the only voter of its region, from the data in its
// directory. Every node of the region must be stopped.
func Recover(c Config) error {
	st, err := store.Open(c.Node.DataDir, store.Stamp{
		Deployment: c.Deployment, Region: ownership.Region(c.Node.Region), Node: ownership.NodeID(c.Node.ID), Format: store.CommandFormat,
	}, store.Options{Logger: c.Logger})
	if err != nil {
		return fmt.Errorf("opening the store in %s: %w", c.Node.DataDir, err)
	}
	addr, log := first(c.Cluster.Advertise, c.Cluster.Listen), c.Logger
	if log == nil {
		log = newLogger(c.Log, new(slog.LevelVar))
	}
	return errors.Join(cluster.Recover(st, []cluster.Peer{{ID: ownership.NodeID(c.Node.ID), Addr: addr, Voter: true}}, log), st.Close())
}
