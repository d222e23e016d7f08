package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"tandem/cluster"
	"tandem/ownership"
	"tandem/store"
)

// Survivor is a node whose process has ended, with the data in its directory.
type Survivor struct {
	// Term and Index are those of its last raft entry. Of several survivors the
	// one with the highest term, and of those the highest index, has most.
	Term, Index uint64

	c  Config
	st *store.Store
}

// OpenSurvivor opens the data of a node that is stopped; Close lets go of them.
func OpenSurvivor(c Config) (*Survivor, error) {
	if c.Logger == nil {
		c.Logger = newLogger(c.Log, c.LogTo, new(slog.LevelVar))
	}
	st, err := store.Open(c.Node.DataDir, c.stamp(), store.Options{Logger: c.Logger})
	if err != nil {
		return nil, fmt.Errorf("opening the store in %s: %w", c.Node.DataDir, err)
	}
	s := &Survivor{c: c, st: st}
	if s.Term, s.Index, err = cluster.Last(st); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return s, nil
}

// Close closes the data.
func (s *Survivor) Close() error { return s.st.Close() }

// Alone makes sure that no other node of the region answers, neither those of
// the table nor those of cluster.join: they might go on as a region without this
// one, or have been recovered already.
func (s *Survivor) Alone(ctx context.Context) error {
	cfg := s.c.Filled().clusterConfig()
	for _, n := range s.st.Table().Nodes() {
		if n.ID != cfg.Node.ID && n.State != ownership.NodeGone {
			cfg.Join = append(cfg.Join, n.ClusterAddr)
		}
	}
	running, err := cluster.Running(ctx, cfg)
	if err != nil {
		return err
	}
	if len(running) == 0 {
		return nil
	}
	var who []string
	for _, id := range slices.Sorted(maps.Keys(running)) {
		who = append(who, fmt.Sprintf("node %s answers at %s", id, running[id]))
	}
	return fmt.Errorf("other nodes of region %s run with its data: %s: stop them first, or there will be two regions: %w",
		s.c.Node.Region, strings.Join(who, ", "), ownership.ErrConflict)
}

// Recover makes this node the only voter of its region. Every other node of the
// region must be stopped, and stay so until its data directory is empty.
func (s *Survivor) Recover() error {
	addr := cmp.Or(s.c.Cluster.Advertise, s.c.Cluster.Listen)
	return cluster.Recover(s.st, addr, s.c.Logger)
}
