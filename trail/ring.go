package trail

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
)

// limits bound a ring.
type limits struct {
	segments int // that are kept, the one under way included
	bytes    int // of one
	steps    int // in one
}

// segment is steps one after the other. Its bytes are written once: readers need no lock
// for those that they saw.
type segment struct {
	bytes []byte
	steps int
	first time.Time
}

// ring keeps the newest steps.
type ring struct {
	limits
	mu  sync.Mutex
	all []segment // oldest first; the last is under way
}

func (r *ring) add(s *history.Step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := len(r.all) - 1
	if now < 0 || len(r.all[now].bytes)+longestStep > r.limits.bytes || r.all[now].steps >= r.limits.steps {
		if len(r.all) >= r.segments {
			r.all = slices.Delete(r.all, 0, 1)
		}
		r.all = append(r.all, segment{bytes: make([]byte, 0, r.limits.bytes), first: s.At})
		now = len(r.all) - 1
	}
	at := &r.all[now]
	at.bytes = appendStep(at.bytes, s)
	at.steps++
}

// seen returns what is kept at this moment, and since when.
func (r *ring) seen() (all []segment, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all = slices.Clone(r.all)
	if len(all) > 0 {
		since = all[0].first
	}
	return all, since
}

// find returns the steps, oldest first, that tell of one of the ids; when there are more
// than most of them, the newest ones, and at most those of one segment more.
func find(segments []segment, ids []string, most int) (found []history.Step) {
	needles := make([][]byte, len(ids))
	for i, id := range ids {
		needles[i] = []byte(id)
	}
	for _, g := range slices.Backward(segments) {
		var here []history.Step
		for b, rest := next(g.bytes); b != nil; b, rest = next(rest) {
			if !slices.ContainsFunc(needles, func(n []byte) bool { return bytes.Contains(b, n) }) {
				continue // cheaper than reading it
			}
			if s, ok := readStep(b); ok && slices.ContainsFunc(ids, func(id string) bool { return named(&s, id) }) {
				here = append(here, s)
			}
		}
		if found = append(here, found...); len(found) > most {
			break
		}
	}
	return found
}

// named reports whether an id names the step.
func named(s *history.Step, id string) bool {
	return id == string(s.Call) || id == s.Message || id == s.Chain || id == s.Scenario || id == s.Request
}

// callsOf lists the calls of steps, each once.
func callsOf(steps []history.Step) (calls []ownership.CallID) {
	seen := map[ownership.CallID]bool{"": true}
	for i := range steps {
		if c := steps[i].Call; !seen[c] {
			seen[c] = true
			calls = append(calls, c)
		}
	}
	return calls
}
