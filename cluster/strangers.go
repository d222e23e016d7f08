package cluster

import (
	"context"
	"time"

	"tandem/ownership"
)

// dismissStrangers takes nodes out of the table that have no place in raft's
// configuration: those that Recover gave up, and those of the day of a restored
// snapshot. A node gets its place before its record and loses it after, so in the
// ordinary course there are none. With its record gone, such a node is refused
// when it comes back with its old data, which may hold what this region does not;
// with empty data it may join at once.
func (r *reign) dismissStrangers() {
	placed := make(map[ownership.NodeID]bool)
	for _, s := range r.c.servers() {
		placed[ownership.NodeID(s.ID)] = true
	}
	for _, n := range r.c.tb.Nodes() {
		if n.State == ownership.NodeGone || placed[n.ID] || len(placed) == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(r.ctx, r.c.dismissLimit())
		err := r.dismiss(ctx, n.ID, false)
		cancel()
		if err != nil && r.ctx.Err() == nil {
			r.c.log.Warn("taking out a node that raft does not know", "node", string(n.ID), "err", err)
		}
	}
}

// forsakenAfter is how long a node of the region may know no leader before it
// asks around: far longer than any election.
const forsakenAfter = 5 * time.Second

// forsaken reports whether the node has been without a leader for so long that
// the others may have gone on without it.
func (c *entry) forsaken(now time.Time) bool {
	if _, _, ok := c.Leader(); ok {
		c.leaderless = time.Time{}
		return false
	}
	if c.leaderless.IsZero() {
		c.leaderless = now
	}
	return now.Sub(c.leaderless) > forsakenAfter
}

// around gives the addresses at which somebody of the region may be found.
func (c *entry) around() []string {
	all := c.invites.with(c.cfg.Join)
	for _, n := range c.present.Addrs() { // of those who told: they have this node's address, and may be its region
		all = append(all, n.GetAddr())
	}
	for _, n := range c.tb.Nodes() {
		if n.State != ownership.NodeGone { // itself too: who answers at the address of its record?
			all = append(all, c.where(n.ID)...)
		}
	}
	return all
}
