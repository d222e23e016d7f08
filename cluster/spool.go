package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"

	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store"
)

// spooled is a copy of a saved snapshot in the data directory.
type spooled struct {
	store.Saved
	file *os.File
}

func (s spooled) drop() { _ = errors.Join(s.file.Close(), os.Remove(s.file.Name())) } // a copy

// tempFile makes a file beside the table.
func (c *Cluster) tempFile() (*os.File, error) { return os.CreateTemp(c.st.Dir(), "restore-*.tmp") }

// spool brings a snapshot to disk.
func (c *Cluster) spool(from io.Reader) (_ spooled, err error) {
	f, err := c.tempFile()
	if err != nil {
		return spooled{}, err
	}
	s := spooled{file: f}
	defer func() {
		if err != nil {
			s.drop()
		}
	}()
	n, err := io.Copy(f, io.LimitReader(from, transport.MaxSnapshot+1))
	if err != nil {
		return s, err
	}
	if n > transport.MaxSnapshot {
		return s, fmt.Errorf("it is longer than %d bytes: %w", int64(transport.MaxSnapshot), store.ErrDamaged)
	}
	s.Saved, err = store.OpenSaved(f, n)
	return s, err
}

// inspect verifies a snapshot, and that it may take the place of the table of today.
func (c *Cluster) inspect(saved spooled, terms ownership.RestoreTerms) (info store.SnapshotInfo, err error) {
	if info, err = store.Inspect(saved); err != nil {
		return info, err
	}
	if info.Deployment != c.cfg.Deployment || info.Region != c.cfg.Region {
		return info, fmt.Errorf("it is of %s/%s, this is %s/%s: %w", info.Deployment, info.Region, c.cfg.Deployment, c.cfg.Region, store.ErrForeign)
	}
	live := 0
	for _, p := range c.tb.Partitions() {
		live += p.Live
	}
	switch same := info.Identity == c.tb.Identity(); {
	case !same && !terms.Anyhow && live > 0:
		return info, fmt.Errorf("it is of another history: the region was founded anew since it was taken, so nobody can tell which is newer; "+
			"the %d live calls of today would be lost; say --yes if they may: %w", live, ownership.ErrConflict)
	case same && info.Applied < c.tb.Applied():
		return info, fmt.Errorf("it ends at entry %d, the table is at %d: owners that were replaced since would come back: %w",
			info.Applied, c.tb.Applied(), ownership.ErrConflict)
	}
	_, err = saved.Seek(0, io.SeekStart)
	return info, err
}

// keepTokens copies a snapshot with the tokens of today in place of its own.
func (c *Cluster) keepTokens(saved spooled) (_ spooled, info store.SnapshotInfo, err error) {
	f, err := c.tempFile()
	if err != nil {
		return spooled{}, info, err
	}
	out := spooled{file: f}
	if info, err = store.WithTokens(saved, f, c.tb.DoorTokens()); err == nil {
		out.Saved, err = store.OpenSaved(f, info.Bytes)
	}
	if err != nil {
		out.drop()
	}
	return out, info, err
}
