package node

import (
	"context"
	"time"

	"tandem/cluster"
	"tandem/ownership"
	"tandem/store"
)

// reassigned is told which partitions this node has just got or lost. The calls
// of those that it got are adopted: answered if they still ring, told to the
// bot otherwise. What it lost needs nothing: the fence in front of every effect
// refuses the old epoch.
func (n *Node) reassigned(ch cluster.Change) {
	for _, m := range ch.Lost {
		n.log.Warn("a partition has another owner now", "partition", m.Partition, "to", m.To, "epoch", m.Epoch)
	}
	if len(ch.Got) == 0 {
		return
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
			n.adopt(m)
		}
	})
}

// adopt hands the live calls of one partition to the desk.
func (n *Node) adopt(m ownership.Reassignment) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() {
		select {
		case <-n.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	count := 0
	for cursor := ""; ; {
		calls, next, err := n.table.Calls(store.Filter{Partition: m.Partition}, cursor, 0)
		if err != nil {
			n.log.Error("listing the calls of an adopted partition", "partition", m.Partition, "error", err)
			return
		}
		live := calls[:0]
		for _, c := range calls {
			if c.State != ownership.CallEnded {
				c.Epoch = m.Epoch
				live = append(live, c)
			}
		}
		count += len(live)
		n.desk.Adopt(ctx, live, func(c ownership.Call) string {
			return n.door.CallbackURI(c.Partition, m.Epoch, string(c.ID))
		})
		if next == "" {
			break
		}
		cursor = next
	}
	if count > 0 {
		n.log.Info("adopted the calls of a partition", "partition", m.Partition, "from", m.From, "epoch", m.Epoch, "calls", count)
	}
}
