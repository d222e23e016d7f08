package cluster

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
)

// setBack makes a region of three, and of one that does not lead a copy of its disk from
// before twenty claims, of which the leader has heard that the node has them.
func setBack(t *testing.T) (nodes []*testNode, ldr, n, was *testNode) {
	t.Helper()
	r := newRegion(t, nil)
	nodes = r.form(3)
	ldr = leaderOf(t, nodes...)
	n = without(nodes, ldr)[0]
	converge(t, nodes)
	if err := n.tb.Flush(); err != nil {
		t.Fatal(err)
	}
	was = n.copyTo(filepath.Join(r.dir, "of-before"))
	for i := range 20 {
		claim(t, ldr, i)
	}
	applied := ldr.tb.Applied()
	eventually(t, "the leader has heard that the node has all of it", func() bool {
		last, _ := ldr.leading.Load().Leases.Last(n.id)
		return last.Applied >= applied
	})
	return nodes, ldr, n, was
}

// TestADiskThatWasSetBackIsRefused: a voter's disk is brought back to an earlier moment
// of the same process's life, as a snapshot of a virtual machine does. It is the heir of
// the process that the table names, and has forgotten entries, and votes.
func TestADiskThatWasSetBackIsRefused(t *testing.T) {
	long(t)
	nodes, _, n, was := setBack(t)
	n.stop()
	was.up(joining(without(nodes, n)...))
	eventually(t, "it is refused", func() bool { return len(was.fatals()) > 0 })
	if err := was.fatals()[0]; !errors.Is(err, ownership.ErrDiffers) || !strings.Contains(err.Error(), "set back") || !strings.Contains(err.Error(), "empty its data directory") {
		t.Errorf("it ended with %v", err)
	}
	if !was.trans.Deaf.Load() {
		t.Error("it takes part in raft")
	}
}

// TestWhoRemembersVouchesForNoDiskThatWasSetBack: without a leader the others vouch for
// a process. With the vote of one that has forgotten entries, and the node that has
// them away, the region would go on without acknowledged claims.
func TestWhoRemembersVouchesForNoDiskThatWasSetBack(t *testing.T) {
	long(t)
	nodes, ldr, n, was := setBack(t)
	third := without(nodes, ldr)[1]
	n.kill()
	third.kill()
	eventually(t, "nobody leads", func() bool { return ldr.leading.Load() == nil })
	was.up(joining(ldr))
	eventually(t, "it is told that its disk was set back", func() bool { return strings.Contains(was.Status().Trouble, "set back") })
	if !was.trans.Deaf.Load() || ldr.leading.Load() != nil || was.leading.Load() != nil {
		t.Error("it takes part in raft, or one of the two leads")
	}
	third.up(joining(ldr), func(c *Config) { // started anew it remembers nothing, so the other is to lead
		c.Timings.Heartbeat, c.Timings.Election = 5*time.Second, 5*time.Second
	})
	eventually(t, "the node that remembers leads", func() bool { return ldr.leading.Load() != nil })
	eventually(t, "it is refused", func() bool { return len(was.fatals()) > 0 })
	for i := range 20 {
		if k, ok := ldr.Find(claimOf(i).Call); !ok || k.Partition == 0 {
			t.Errorf("the acknowledged claim %d is lost", i)
		}
	}
}
