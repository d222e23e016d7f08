package store

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"tandem/ownership"
	"tandem/store/files"
)

// LayoutFormat is the newest layout of the files that this software reads and
// writes.
const LayoutFormat uint32 = 1

// Stamp says whose data a directory holds. It is made when the directory is
// first opened and never changes. A server that was moved to another region
// with its old disk would otherwise overwrite that region's log.
type Stamp struct {
	Deployment  string           `json:"deployment"`
	Region      ownership.Region `json:"region"`
	Node        ownership.NodeID `json:"node"`
	Incarnation string           `json:"incarnation"` // random: a node whose disk was emptied shows another
	Format      uint32           `json:"format"`      // of the files, see LayoutFormat
}

// stampIn reads the directory's stamp, or makes it when there is none and the
// directory is new, and compares it with who opens it.
func stampIn(path string, want Stamp, empty bool) (Stamp, error) {
	var have Stamp
	err := readGuarded(path, "stamp", &have)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !empty:
		return Stamp{}, files.Damage("%s is missing although the directory holds data; bring it back, or empty the directory "+
			"and join the node anew", path)
	case errors.Is(err, fs.ErrNotExist):
		return makeStamp(path, want)
	case err != nil:
		return Stamp{}, err
	}
	return have, have.fits(want)
}

func (s Stamp) fits(want Stamp) error {
	switch {
	case s.Deployment != want.Deployment:
		return fmt.Errorf("the data are of deployment %q, this node is configured for deployment %q: %w", s.Deployment, want.Deployment, ErrForeign)
	case s.Region != want.Region:
		return fmt.Errorf("the data are of region %q, this node is configured for region %q: %w", s.Region, want.Region, ErrForeign)
	case s.Node != want.Node:
		return fmt.Errorf("the data are of node %q, this node is configured as %q: %w", s.Node, want.Node, ErrForeign)
	case want.Incarnation != "" && s.Incarnation != want.Incarnation:
		return fmt.Errorf("the data are of another incarnation of node %q: %w", s.Node, ErrForeign)
	case s.Format > LayoutFormat:
		return fmt.Errorf("the data have layout %d, this software reads up to %d; upgrade it: %w", s.Format, LayoutFormat, ErrNewerLayout)
	default:
		return nil
	}
}

func makeStamp(path string, want Stamp) (Stamp, error) {
	if want.Deployment == "" || want.Region == "" || want.Node == "" {
		return Stamp{}, errors.New("a new data directory needs the names of its deployment, region and node")
	}
	s := want
	s.Format, s.Incarnation = LayoutFormat, cmp.Or(s.Incarnation, rand.Text())
	return s, writeGuarded(path, "stamp", s)
}
