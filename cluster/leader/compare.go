package leader

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"tandem/cluster/lease"
	"tandem/cluster/presence"
	"tandem/ownership"
)

// comparison is what a leader learnt by holding the nodes' renewals against its own
// table and its own configuration.
type comparison struct {
	mu      sync.Mutex
	tables  map[ownership.NodeID]compared
	differs map[ownership.NodeID][]string
}

// compared is how a node's table stood at the last index that both had a sum of.
type compared struct {
	at    time.Time
	since time.Time // it differs from then on; zero: it is the same
}

// note takes one comparison and gives since when that node differs, and how many
// of the nodes that were compared within a while differ and agree.
func (k *comparison) note(id ownership.NodeID, same bool, now time.Time, within time.Duration) (since time.Time, differ, agree int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tables == nil {
		k.tables = make(map[ownership.NodeID]compared)
	}
	e := k.tables[id]
	e.at = now
	switch {
	case same:
		e.since = time.Time{}
	case e.since.IsZero():
		e.since = now
	}
	k.tables[id] = e
	for _, o := range k.tables {
		switch {
		case now.Sub(o.at) > within:
		case o.since.IsZero():
			agree++
		default:
			differ++
		}
	}
	return e.since, differ, agree
}

// compareTables refuses a node whose table differs from the leader's at the same
// index: one of the two answers for calls by what never was. For a lease's time
// it is open which; then the node is the odd one, unless most of the others differ
// from the leader too. Tables of different software may differ rightly.
func (l *Leadership) compareTables(in lease.Renewal, n ownership.Node, now time.Time) error {
	if n.ID == l.Self.ID || in.Sum == 0 || n.Version != l.Self.Version {
		return nil
	}
	mine, known := l.Table.SumAt(in.Applied)
	if !known {
		return nil
	}
	lease := l.Timings.Lease
	since, differ, agree := l.compared.note(n.ID, mine == in.Sum, now, 2*lease)
	switch {
	case mine == in.Sum:
		return nil
	case now.Sub(since) < lease:
		return fmt.Errorf("renewing the lease of %s: at entry %d its table differs from the leader's, it is open which is right: %w",
			n.ID, in.Applied, ownership.ErrFenced)
	case differ > 1 && differ > agree:
		l.Fatal(fmt.Errorf("node %s leads, and at entry %d its table differs from those of most others: %w: %s", l.Self.ID, in.Applied, ownership.ErrDiffers, presence.Heal))
		return fmt.Errorf("renewing the lease of %s: the leader's table is the odd one: %w", n.ID, ownership.ErrFenced)
	}
	return fmt.Errorf("renewing the lease of %s: at entry %d its table differs from the leader's: %w: %s", n.ID, in.Applied, ownership.ErrDiffers, presence.Heal)
}

// compareSettings notes in which settings a node differs from this leader, and logs
// what is new of it.
func (l *Leadership) compareSettings(id ownership.NodeID, theirs map[string]string) {
	if theirs == nil || id == l.Self.ID {
		return // of older software
	}
	mine := l.Settings
	var keys []string
	both := maps.Clone(theirs)
	maps.Copy(both, mine)
	for _, key := range slices.Sorted(maps.Keys(both)) {
		here, ours := mine[key]
		if there, ok := theirs[key]; !ok || !ours || there != here {
			keys = append(keys, key)
		}
	}
	k := &l.compared
	k.mu.Lock()
	was := k.differs[id]
	if k.differs == nil {
		k.differs = make(map[ownership.NodeID][]string)
	}
	k.differs[id] = keys
	k.mu.Unlock()
	for _, key := range keys {
		if !slices.Contains(was, key) {
			l.Log.Warn("a setting that must be equal on all nodes of the region differs from the leader's", "peer", string(id), "key", key, "leader", string(l.Self.ID))
		}
	}
}

// Differences lists the settings that must be equal on all nodes and are not, by node
// and key. A node that was taken out differs from nobody.
func (l *Leadership) Differences() []ownership.Difference {
	k := &l.compared
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []ownership.Difference
	for _, id := range slices.Sorted(maps.Keys(k.differs)) {
		if n, ok := l.Table.Node(id); !ok || n.State == ownership.NodeGone {
			continue
		}
		for _, key := range k.differs[id] {
			out = append(out, ownership.Difference{Node: id, Key: key})
		}
	}
	return out
}
