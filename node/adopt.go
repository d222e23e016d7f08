package node

import (
	"iter"

	"tandem/bot"
	"tandem/cluster"
	"tandem/ownership"
)

// reassigned is told of which partitions this node has just got or lost, and in
// which calls may stand differently. The dispatcher compares them with what it has: it
// answers what rings here now, and its bots hear what else came and went. The
// fence in front of every effect refuses whatever has become another's.
func (n *Node) reassigned(ch cluster.Change) {
	for _, m := range ch.Lost {
		n.log.Warn("a partition has another owner now", "partition", m.Partition, "to", m.To, "epoch", m.Epoch)
	}
	n.adopting.Go(func() {
		// The door opens after the region; until then there is nobody to sign the
		// callback URIs of adopted calls.
		select {
		case <-n.opened:
		case <-n.closing:
			return
		}
		for _, m := range ch.Got {
			n.look(m.Partition, m.From)
		}
		for _, p := range ch.Look {
			n.look(p, "")
		}
		for _, m := range ch.Lost {
			n.dispatcher.Look(bot.Sight{Partition: m.Partition})
		}
	})
}

// look shows the dispatcher the live calls of one partition.
func (n *Node) look(id ownership.PartitionID, from ownership.NodeID) {
	sight := bot.Sight{Partition: id, URI: func(c ownership.Call) string {
		return n.door.CallbackURI(c.Partition, c.Epoch, string(c.ID))
	}}
	// Before the calls are listed: should the partition change meanwhile, it is
	// looked at again.
	if p, ok := n.table.Partition(id); ok && p.Owner == n.ID() && !p.Retired {
		sight.Epoch = p.Epoch
	}
	count := 0
	sight.Calls = n.liveCalls(id, &count)
	n.dispatcher.Look(sight)
	if count > 0 {
		n.log.Info("looked at the calls of a partition", "partition", id, "from", from, "epoch", sight.Epoch, "calls", count)
	}
}

// liveCalls walks the calls of a partition that have not ended, as they stand,
// those that ring first: they cannot wait until all are read.
func (n *Node) liveCalls(id ownership.PartitionID, count *int) iter.Seq[ownership.Call] {
	return func(yield func(ownership.Call) bool) {
		for _, f := range []ownership.CallFilter{{Partition: id, State: ownership.CallClaimed}, {Partition: id}} {
			for c, err := range n.table.Each(f) {
				if err != nil {
					n.log.Error("listing the calls of a partition", "partition", id, "err", err)
					return
				}
				if c.State == ownership.CallEnded || f.State == 0 && c.State == ownership.CallClaimed {
					continue
				}
				select {
				case <-n.closing:
					return
				default:
				}
				*count++
				if !yield(c) {
					return
				}
			}
		}
	}
}
