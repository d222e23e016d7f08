package cluster

import (
	"context"
	"fmt"
	"time"

	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// OwnerOf gives who acts for a call of a partition, at which epoch, and whether
// this node may do so right now: the call's standing where this node knows the
// call, else the partition's owner. The two differ for calls that are reserved
// for a node that fell silent.
func (c *Cluster) OwnerOf(call ownership.CallID, id ownership.PartitionID) (ownership.Owner, bool) {
	k, reserved := c.reserved(call)
	if !reserved || k.Partition != id {
		return c.Owner(id)
	}
	o := c.owner(k.Owner, id, k.Epoch)
	o.Acting = o.Here && c.Holds(call, id, k.Epoch)
	return o, true
}

// reserved gives a call whose standing is not its partition's.
func (c *Cluster) reserved(call ownership.CallID) (ownership.Known, bool) {
	k, ok := c.tb.Known(call)
	if !ok || k.Owner == "" || k.State == ownership.CallEnded {
		return k, false
	}
	p, ok := c.tb.Partition(k.Partition)
	return k, ok && (k.Owner != p.Owner || k.Epoch != p.Epoch)
}

// Fresh returns once this node knows every call that the region knew when it was
// asked, within a second. Then what Find does not know does not exist. The error
// is ErrNoLeader when nobody could tell in time.
func (c *Cluster) Fresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, freshLimit)
	defer cancel()
	return c.ReadBarrier(ctx)
}

// freshLimit bounds Fresh: longer than an election takes, shorter than a caller's
// patience.
const freshLimit = time.Second

// A node that a call is reserved for was silent once, and may still be: a frozen
// process takes connections and answers nothing. So it is asked for a sign of life
// before the first of such hand-overs, and again when the last sign is old.
const (
	signLimit = 500 * time.Millisecond
	signLasts = time.Second
)

// awake makes sure that the node a reserved call belongs to is there, so that a
// hand-over to a silent one is refused at once and not after the time for bots.
func (c *Cluster) awake(ctx context.Context, p *peer, to ownership.NodeID, call ownership.CallID) error {
	if k, reserved := c.reserved(call); !reserved || k.Owner != to {
		return nil
	}
	if at := p.sign.Load(); at != nil && time.Since(*at) < signLasts {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, signLimit)
	defer cancel()
	res, err := ask(ctx, p, p.term, &peerpb.TermRequest{})
	if err != nil {
		return fmt.Errorf("the call is reserved for node %s, which gives no sign of life: %w", to, err)
	}
	if !res.GetActing() {
		return fmt.Errorf("the call is reserved for node %s, which has no lease yet: %w", to, ownership.ErrFenced)
	}
	now := time.Now()
	p.sign.Store(&now)
	return nil
}
