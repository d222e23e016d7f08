package cluster

import (
	"testing"
	"time"
)

// cluster.lease is being changed node by node: one node's file says four seconds
// already, the others' one. Whatever the files say, one length holds for all, so
// that a node that is cut off has stopped before anybody takes its partitions.
func TestANodeWithAnotherLeaseInItsFileFollowsTheRegion(t *testing.T) {
	long(t)
	r := newRegion(t, func(c *Config) {
		if c.Node.ID == "c" {
			c.Timings.Lease = 4 * time.Second
		}
	})
	nodes := r.form(3)
	c := nodes[2]
	if err := c.TransferLeader(soon(t), "a"); err != nil {
		t.Fatal(err)
	}
	leaderOf(t, nodes...)
	p := c.tb.PartitionsOf("c")[0]
	eventually(t, "it acts as owner", func() bool { return c.HoldsPartition(p.ID, p.Epoch) })
	c.cut()
	eventually(t, "an heir acts", func() bool {
		for _, heir := range nodes[:2] {
			if heir.HoldsPartition(p.ID, p.Epoch+1) {
				if c.HoldsPartition(p.ID, p.Epoch) {
					t.Fatalf("I5: %s and c both act as owner of partition %s", heir.id, p.ID)
				}
				return true
			}
		}
		return false
	})
}
