package lease

import (
	"fmt"
	"sync"
	"time"

	"tandem/ownership"
)

// succession is the leader's memory of processes that wait to take a node over
// from the one before, and of those that gave their lease back.
type succession struct {
	mu   sync.Mutex
	of   map[ownership.NodeID]*successor
	seen map[ownership.NodeID]time.Time // when it last asked for anything, granted or not
}

type successor struct {
	process  string // that waits
	asked    time.Time
	last     time.Time
	renewals int    // of the present process since the other asked
	twin     string // a process that asked while the present one lives
	over     string // a process that gave its lease back
}

// Waits is how long a process that asks again and again counts as waiting after
// it last asked.
func (t *Table) Waits() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.longest/2, time.Second)
}

// Ask notes that a process asks to be admitted while another one is the node's.
// ErrTwin: the present one is alive. One renewal after the question may have been
// on its way when its sender died; with a second one it has not.
func (s *succession) Ask(id ownership.NodeID, process string, waits time.Duration, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(id)
	if e.twin == process {
		return ownership.ErrTwin
	}
	if e.process != process {
		if e.process != "" && now.Sub(e.last) < waits {
			return fmt.Errorf("another process waits to take over as that node")
		}
		e.process, e.asked, e.renewals = process, now, 0
	}
	e.last = now
	return nil
}

// Renewed notes a renewal of the node's present process.
func (s *succession) Renewed(id ownership.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.of[id]
	if e == nil || e.process == "" {
		return
	}
	if e.renewals++; e.renewals >= 2 {
		e.twin, e.process = e.process, ""
	}
}

// Sees notes a sign of life of a node; seenAt gives the last one.
func (s *succession) Sees(id ownership.NodeID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = make(map[ownership.NodeID]time.Time)
	}
	s.seen[id] = now
}

func (s *succession) SeenAt(id ownership.NodeID) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[id]
}

// Done ends the waiting: the process was admitted.
func (s *succession) Done(id ownership.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.of[id]; e != nil {
		e.process = ""
	}
}

// GaveBack notes that a process stopped in order: it acts no more.
func (s *succession) GaveBack(id ownership.NodeID, process string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entry(id).over = process
}

func (s *succession) IsOver(id ownership.NodeID, process string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.of[id]
	return e != nil && process != "" && e.over == process
}

func (s *succession) entry(id ownership.NodeID) *successor {
	if s.of == nil {
		s.of = make(map[ownership.NodeID]*successor)
	}
	e := s.of[id]
	if e == nil {
		e = &successor{}
		s.of[id] = e
	}
	return e
}

// Waiting reports whether a process waits to take the node over: the node is there
// then, and is not to be failed over.
func (t *Table) Waiting(id ownership.NodeID, now time.Time) bool {
	waits := t.Waits()
	t.Next.mu.Lock()
	defer t.Next.mu.Unlock()
	e := t.Next.of[id]
	return e != nil && e.process != "" && now.Sub(e.last) < waits
}
