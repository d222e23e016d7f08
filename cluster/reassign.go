package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"tandem/ownership"
)

// watchPartitions tells the node which partitions it got or lost, and where calls
// that are reserved for a silent node have come to stand otherwise. It compares
// what the table says now with what was told before, so that nothing is missed
// over a restart, a restored snapshot, or a burst of changes.
func (c *Cluster) watchPartitions() {
	told := told{owned: make(map[ownership.PartitionID]ownership.Partition), reserved: make(map[ownership.PartitionID]string)}
	first := true
	var looked uint64
	for {
		next := c.applied.next()
		if now := c.shifts.Load(); first || now != looked {
			looked = now
			from := c.origins.of
			if first {
				from = func(ownership.Partition) ownership.NodeID { return c.self }
			}
			ch := told.compare(c.tb.Partitions(), c.self, from)
			ch.Look = c.orphans.take(ch)
			if c.deps.OnReassigned != nil && len(ch.Got)+len(ch.Lost)+len(ch.Look) > 0 {
				c.deps.OnReassigned(ch)
			}
			first = false
		}
		select {
		case <-next:
		case <-c.ctx.Done():
			return
		}
	}
}

// told is what the node was told of partitions that concern it.
type told struct {
	owned    map[ownership.PartitionID]ownership.Partition
	reserved map[ownership.PartitionID]string // how the reservations stood that concern it
}

// compare brings what was told up to the partitions as they are now, and gives the
// difference.
func (t *told) compare(all []ownership.Partition, self ownership.NodeID, from func(ownership.Partition) ownership.NodeID) Change {
	var ch Change
	lost := maps.Clone(t.owned)
	for _, p := range all {
		old, had := t.owned[p.ID]
		got := p.Owner == self && !p.Retired && !(had && old.Epoch == p.Epoch)
		switch {
		case p.Owner == self && !p.Retired:
			delete(lost, p.ID)
			t.owned[p.ID] = p
			if got {
				ch.Got = append(ch.Got, ownership.Reassignment{Partition: p.ID, From: from(p), To: self, Epoch: p.Epoch})
			}
		case had:
			delete(lost, p.ID)
			delete(t.owned, p.ID)
			gone := ownership.Reassignment{Partition: p.ID, From: self, Epoch: old.Epoch}
			if !p.Retired {
				gone.To, gone.Epoch = p.Owner, p.Epoch
			}
			ch.Lost = append(ch.Lost, gone)
		}
		if now := concern(p, self); now != t.reserved[p.ID] {
			t.reserved[p.ID] = now
			if !got { // else all its calls are looked at anyway
				ch.Look = append(ch.Look, p.ID)
			}
		}
	}
	for id, old := range lost { // the table does not know them any more
		delete(t.owned, id)
		delete(t.reserved, id)
		ch.Lost = append(ch.Lost, ownership.Reassignment{Partition: id, From: self, Epoch: old.Epoch})
	}
	slices.SortFunc(ch.Lost, func(a, b ownership.Reassignment) int { return cmp.Compare(a.Partition, b.Partition) })
	return ch
}

// concern tells how the reservations of a partition stand that concern a node: all
// of them in its own, its own in another's. How many calls are left is not part of
// it.
func concern(p ownership.Partition, self ownership.NodeID) string {
	var b strings.Builder
	for i := range p.Reserved {
		if r := &p.Reserved[i]; r.Node == self || p.Owner == self {
			fmt.Fprintf(&b, "%s %d %v %v;", r.Node, r.Epoch, r.Final, r.Lapsed)
		}
	}
	return b.String()
}

// orphans remembers the partitions in which an answer of a former owner, recorded
// late, made orphans: their records stay as they were, and both nodes have to look.
type orphans struct {
	mu sync.Mutex
	m  map[ownership.PartitionID]bool
}

func (o *orphans) note(in []ownership.PartitionID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.m == nil {
		o.m = make(map[ownership.PartitionID]bool)
	}
	for _, id := range in {
		o.m[id] = true
	}
}

// take returns what is to be looked at for a change, with those partitions.
func (o *orphans) take(ch Change) []ownership.PartitionID {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range ch.Got { // all its calls are looked at anyway
		delete(o.m, m.Partition)
	}
	look := slices.AppendSeq(ch.Look, maps.Keys(o.m))
	o.m = nil
	slices.Sort(look)
	return slices.Compact(look)
}

// origins remembers, from the acts as they are applied, from whom this node got
// its partitions.
type origins struct {
	mu sync.Mutex
	m  map[ownership.PartitionID]ownership.Reassignment
}

func (o *origins) note(moves []ownership.Reassignment, self ownership.NodeID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range moves {
		if m.To != self {
			delete(o.m, m.Partition)
			continue
		}
		if o.m == nil {
			o.m = make(map[ownership.PartitionID]ownership.Reassignment)
		}
		o.m[m.Partition] = m
	}
}

// of returns the former owner; empty for a partition that was born here, or one
// that came in a snapshot.
func (o *origins) of(p ownership.Partition) ownership.NodeID {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m, ok := o.m[p.ID]; ok && m.Epoch == p.Epoch {
		return m.From
	}
	return ""
}
