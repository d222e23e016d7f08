package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"slices"

	"tandem/store/files"
)

// fileLineage stands beside the stamp and, other than the stamp, changes: which
// processes ran on this disk, and which region its data belong to.
const fileLineage = "lineage.json"

// Lineage says which processes have run over a data directory since the region
// last confirmed one of them, the oldest first, and whether the newest ended in
// order. A copy of the directory has the same past; what is started on it later is
// a branch of its own. That is how two processes of one node are told apart.
type Lineage struct {
	Ancestors []string `json:"ancestors,omitempty"`
	Over      bool     `json:"over,omitempty"`     // the last of them stopped in order: it acts no more
	Identity  string   `json:"identity,omitempty"` // of the region that the data belong to; empty: none yet
	Newcomer  bool     `json:"newcomer,omitempty"` // began empty, and has yet to catch up so far that its table has its own record
	SetBack   string   `json:"set_back,omitempty"` // who said that this disk has forgotten what it held; empty: nobody did
}

// lineageFile is lineage.json: the lineage and its CRC-32C.
type lineageFile struct {
	Lineage Lineage `json:"lineage"`
	CRC     string  `json:"crc"`
}

// maxAncestors bounds the list. A node that starts again and again without being
// let in keeps the oldest one, which its region is most likely to know, and the
// newest ones.
const maxAncestors = 512

func (l Lineage) crc() (string, error) {
	b, err := json.Marshal(l)
	return fmt.Sprintf("%08x", crc32.Checksum(b, files.Castagnoli)), err
}

// readLineage reads the file; a directory of older software has none.
func readLineage(path string) (Lineage, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Lineage{}, nil
	}
	if err != nil {
		return Lineage{}, err
	}
	var f lineageFile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Lineage{}, files.Damage("%s is unreadable; bring it back, or empty the directory and join the node anew: %w", path, err)
	}
	if sum, err := f.Lineage.crc(); err != nil || sum != f.CRC {
		return Lineage{}, files.Damage("the checksum of %s does not match; bring it back, or empty the directory and join the node anew", path)
	}
	return f.Lineage, nil
}

// changeLineage makes a change durable before it counts.
func (s *Store) changeLineage(change func(*Lineage)) error {
	s.lineageMu.Lock()
	defer s.lineageMu.Unlock()
	next := s.lineage
	next.Ancestors = slices.Clone(next.Ancestors)
	change(&next)
	sum, err := next.crc()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(lineageFile{Lineage: next, CRC: sum}, "", "  ")
	if err != nil {
		return err
	}
	if err := files.Write(s.path(fileLineage), append(b, '\n')); err != nil {
		return fmt.Errorf("writing %s: %w", s.path(fileLineage), err)
	}
	s.lineage = next
	return nil
}

// Lineage returns what is known of the processes on this disk and of its region.
func (s *Store) Lineage() Lineage {
	s.lineageMu.Lock()
	defer s.lineageMu.Unlock()
	l := s.lineage
	l.Ancestors = slices.Clone(l.Ancestors)
	return l
}

// Begin notes a process that starts, before it says or does anything. On a disk without
// raft state it is a newcomer's, until Settle.
func (s *Store) Begin(process string) error {
	has, err := s.HasState()
	if err != nil {
		return err
	}
	return s.changeLineage(func(l *Lineage) {
		l.Newcomer = l.Newcomer || !has
		l.Ancestors, l.Over = append(l.Ancestors, process), false
		if n := len(l.Ancestors); n > maxAncestors {
			l.Ancestors = slices.Delete(l.Ancestors, 1, 1+n-maxAncestors)
		}
	})
}

// End notes that the process has stopped in order and acts no more, so that the
// next one need not wait for its lease.
func (s *Store) End(process string) error {
	return s.changeLineage(func(l *Lineage) {
		if n := len(l.Ancestors); n > 0 && l.Ancestors[n-1] == process {
			l.Over = true
		}
	})
}

// Confirm notes that the region knows the process: what went before it is not
// needed any more.
func (s *Store) Confirm(process string) error {
	if l := s.Lineage(); len(l.Ancestors) == 0 || l.Ancestors[0] == process {
		return nil
	}
	return s.changeLineage(func(l *Lineage) {
		if i := slices.Index(l.Ancestors, process); i > 0 {
			l.Ancestors = slices.Delete(l.Ancestors, 0, i)
		}
	})
}

// Settle notes that the node is a newcomer no more.
func (s *Store) Settle() error {
	if !s.Lineage().Newcomer {
		return nil
	}
	return s.changeLineage(func(l *Lineage) { l.Newcomer = false })
}

// Belong notes the identity of the region that the data belong to.
func (s *Store) Belong(identity string) error {
	if s.Lineage().Identity == identity {
		return nil
	}
	return s.changeLineage(func(l *Lineage) { l.Identity = identity })
}

// MarkSetBack notes that the disk has forgotten what it held, by somebody's word, so that
// a later start, when nobody remembers any more, does not take part with it. An empty why
// takes that back.
func (s *Store) MarkSetBack(why string) error {
	if s.Lineage().SetBack == why {
		return nil
	}
	return s.changeLineage(func(l *Lineage) { l.SetBack = why })
}
