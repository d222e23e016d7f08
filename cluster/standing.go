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
// before the first of such hand-overs, and again when the last sign is old. So is a
// node that has not been met since this process began, whatever the call.
const (
	signLimit = 500 * time.Millisecond
	signLasts = time.Second
)

// awake makes sure that a node that may be silent is there, so that a hand-over to
// a silent one is refused at once and not after the time for bots.
func (c *Cluster) awake(ctx context.Context, p *peer, to ownership.Node, call ownership.CallID) error {
	k, reserved := c.reserved(call)
	reserved = reserved && k.Owner == to.ID
	if !reserved && c.present.met(to.ID, to.Process) {
		return nil
	}
	if at := p.sign.Load(); at != nil && time.Since(*at) < signLasts {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, signLimit)
	defer cancel()
	why := fmt.Sprintf("node %s has not been met yet", to.ID)
	if reserved {
		why = fmt.Sprintf("the call is reserved for node %s", to.ID)
	}
	res, err := ask(ctx, p, p.term, &peerpb.TermRequest{})
	if err != nil {
		return fmt.Errorf("%s, which gives no sign of life: %w", why, err)
	}
	if !res.GetActing() {
		return fmt.Errorf("%s, which has no lease yet: %w", why, ownership.ErrFenced)
	}
	now := time.Now()
	p.sign.Store(&now)
	c.present.hears(to.ID, res.GetProcess(), to.Process, now)
	return nil
}
