package store

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
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

// maxAncestors bounds the list. A node that starts again and again without being
// let in keeps the oldest one, which its region is most likely to know, and the
// newest ones.
const maxAncestors = 512

// readLineage reads the file; a directory of older software has none.
func readLineage(path string) (l Lineage, err error) {
	if err = readGuarded(path, "lineage", &l); errors.Is(err, fs.ErrNotExist) {
		return Lineage{}, nil
	}
	return l, err
}

// changeLineage makes a change durable before it counts. One that changes nothing costs
// nothing.
func (s *Store) changeLineage(change func(*Lineage)) error {
	s.lineageMu.Lock()
	defer s.lineageMu.Unlock()
	next := s.lineage
	next.Ancestors = slices.Clone(next.Ancestors)
	change(&next)
	if reflect.DeepEqual(next, s.lineage) {
		return nil
	}
	if err := writeGuarded(s.path(fileLineage), "lineage", next); err != nil {
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
	return s.changeLineage(func(l *Lineage) {
		if i := slices.Index(l.Ancestors, process); i > 0 {
			l.Ancestors = slices.Delete(l.Ancestors, 0, i)
		}
	})
}

// Settle notes that the node is a newcomer no more.
func (s *Store) Settle() error {
	return s.changeLineage(func(l *Lineage) { l.Newcomer = false })
}

// Belong notes the identity of the region that the data belong to.
func (s *Store) Belong(identity string) error {
	return s.changeLineage(func(l *Lineage) { l.Identity = identity })
}

// MarkSetBack notes that the disk has forgotten what it held, by somebody's word, so that
// a later start, when nobody remembers any more, does not take part with it. An empty why
// takes that back.
func (s *Store) MarkSetBack(why string) error {
	return s.changeLineage(func(l *Lineage) { l.SetBack = why })
}
