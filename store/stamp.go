package store

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"

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

// stampFile is stamp.json: the stamp and its CRC-32C.
type stampFile struct {
	Stamp Stamp  `json:"stamp"`
	CRC   string `json:"crc"`
}

func (s Stamp) crc() (string, error) {
	b, err := json.Marshal(s)
	return fmt.Sprintf("%08x", crc32.Checksum(b, files.Castagnoli)), err
}

// stampIn reads the directory's stamp, or makes it when there is none and the
// directory is new, and compares it with who opens it.
func stampIn(path string, want Stamp, empty bool) (Stamp, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !empty {
			return Stamp{}, files.Damage("%s is missing although the directory holds data; bring it back, or empty the directory "+
				"and join the node anew", path)
		}
		return makeStamp(path, want)
	}
	if err != nil {
		return Stamp{}, err
	}
	var f stampFile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Stamp{}, files.Damage("%s is unreadable; bring it back, or empty the directory and join the node anew: %w", path, err)
	}
	if sum, err := f.Stamp.crc(); err != nil || sum != f.CRC {
		return Stamp{}, files.Damage("the checksum of %s does not match; bring it back, or empty the directory and join the node anew", path)
	}
	return f.Stamp, f.Stamp.fits(want)
}

// fits refuses data of someone else.
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
	s.Format = LayoutFormat
	if s.Incarnation == "" {
		s.Incarnation = rand.Text()
	}
	sum, err := s.crc()
	if err != nil {
		return Stamp{}, err
	}
	b, err := json.MarshalIndent(stampFile{Stamp: s, CRC: sum}, "", "  ")
	if err != nil {
		return Stamp{}, err
	}
	return s, files.Write(path, append(b, '\n'))
}
