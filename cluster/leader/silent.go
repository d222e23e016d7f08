package leader

import (
	"slices"
	"sync"
	"time"

	"tandem/ownership"
)

// silent returns the nodes of which nothing is heard, by id, with what is known of it.
// Not sure: this leader is so new that a node may only not have had the time to renew;
// then those are named that an earlier leader said so of.
func (l *Leadership) silent(now time.Time) (all []ownership.Silence, sure bool) {
	sure = true
	young := now.Sub(l.told.since) <= l.leaseLength()
	before, fit := l.Silent(), l.Leases.Fitness(now)
	for _, n := range l.Table.Nodes() {
		if n.State == ownership.NodeGone {
			continue
		}
		s, silent := l.Leases.Silent(n.ID, n.Process, now)
		if !silent {
			l.went.forget(n.ID)
			sure = sure && (fit[n.ID].Leased || !young)
			continue
		}
		i := slices.IndexFunc(before, func(b ownership.Silence) bool { return b.Node == n.ID })
		known := i >= 0 && !l.Leases.Heard(n.ID) // what an earlier leader said still stands
		if young && !known && !l.Leases.Refusing(n.ID) {
			sure = false
			continue
		}
		s.Went = l.went.to(n.ID)
		if known {
			s.Since, s.Cause = before[i].Since, before[i].Cause
			if len(s.Went) == 0 {
				s.Went = before[i].Went
			}
		}
		all = append(all, s)
	}
	return all, sure
}

// went remembers where the partitions of silent nodes went. It is safe for concurrent
// use.
type went struct {
	mu sync.Mutex
	of map[ownership.NodeID][]ownership.Reassignment
}

func (w *went) add(id ownership.NodeID, moves []ownership.Reassignment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = make(map[ownership.NodeID][]ownership.Reassignment)
	}
	w.of[id] = append(w.of[id], moves...)
}

func (w *went) forget(id ownership.NodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.of, id)
}

func (w *went) to(id ownership.NodeID) []ownership.Inherited {
	w.mu.Lock()
	defer w.mu.Unlock()
	return ownership.Inheritance(w.of[id])
}
