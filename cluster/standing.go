package cluster

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"tandem/cluster/lease"
	"tandem/cluster/presence"
	"tandem/ownership"
)

// standing is what this node knows of calls, partitions and nodes, and what it may
// do by its lease. It changes nothing.
type standing struct {
	*shared
	lease     lease.Lease
	ahead     *overlay
	present   *presence.Book
	former    atomic.Pointer[string] // see formerly
	leader    leaderView
	trouble   atomic.Pointer[string] // why the table does not hold this node, or why it cannot go on
	fatalOnce sync.Once
}

// OwnerOf gives who acts for a call of a partition, at which epoch, and whether
// this node may do so right now: the call's standing where this node knows the
// call, else the partition's owner. The two differ for calls that are reserved
// for a node that fell silent.
func (c *standing) OwnerOf(call ownership.CallID, id ownership.PartitionID) (ownership.Owner, bool) {
	k, reserved := c.reserved(call)
	if !reserved || k.Partition != id {
		return c.Owner(id)
	}
	o := c.owner(k.Owner, id, k.Epoch)
	o.Acting = o.Here && c.Holds(call, id, k.Epoch)
	return o, true
}

// reserved gives a call whose standing is not its partition's.
func (c *standing) reserved(call ownership.CallID) (ownership.Known, bool) {
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
func (c *proposals) Fresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, freshLimit)
	defer cancel()
	return c.ReadBarrier(ctx)
}

// freshLimit bounds Fresh: longer than an election takes, shorter than a caller's
// patience.
const freshLimit = time.Second
