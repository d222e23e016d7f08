package cluster

import (
	"cmp"
	"slices"
	"sync"

	"tandem/ownership"
)

// watchPartitions tells the node which partitions it got or lost. It compares
// what the table says now with what was told before, so that nothing is missed
// over a restart, a restored snapshot, or a burst of changes.
func (c *Cluster) watchPartitions() {
	told := make(map[ownership.PartitionID]ownership.Partition)
	first := true
	var applied uint64
	for {
		next := c.applied.next()
		if now := c.tb.Applied(); first || now != applied {
			applied = now
			from := c.origins.of
			if first {
				from = func(ownership.Partition) ownership.NodeID { return c.self }
			}
			ch := compare(told, c.tb.PartitionsOf(c.self), c.self, c.tb.Partition, from)
			if len(ch.Got)+len(ch.Lost) > 0 {
				ch.Resumed = first
				if c.doors.OnReassigned != nil {
					c.doors.OnReassigned(ch)
				}
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

// compare brings told up to what self owns now and gives the difference.
func compare(told map[ownership.PartitionID]ownership.Partition, owned []ownership.Partition, self ownership.NodeID,
	find func(ownership.PartitionID) (ownership.Partition, bool), from func(ownership.Partition) ownership.NodeID) Change {
	var ch Change
	now := make(map[ownership.PartitionID]bool, len(owned))
	for _, p := range owned {
		now[p.ID] = true
		if old, ok := told[p.ID]; ok && old.Epoch == p.Epoch {
			continue
		}
		ch.Got = append(ch.Got, ownership.Reassignment{Partition: p.ID, From: from(p), To: self, Epoch: p.Epoch})
		told[p.ID] = p
	}
	for id, old := range told {
		if now[id] {
			continue
		}
		lost := ownership.Reassignment{Partition: id, From: self, Epoch: old.Epoch}
		if p, ok := find(id); ok && !p.Retired {
			lost.To, lost.Epoch = p.Owner, p.Epoch
		}
		ch.Lost = append(ch.Lost, lost)
		delete(told, id)
	}
	slices.SortFunc(ch.Lost, func(a, b ownership.Reassignment) int { return cmp.Compare(a.Partition, b.Partition) })
	return ch
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

// of gives the former owner; empty for a partition that was born here, or one
// that came in a snapshot.
func (o *origins) of(p ownership.Partition) ownership.NodeID {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m, ok := o.m[p.ID]; ok && m.Epoch == p.Epoch {
		return m.From
	}
	return ""
}
