package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"tandem/cluster/lease"
	"tandem/ownership"
)

// asksWith renews a node's lease at the leader with a sum that is not the table's.
func asksWith(ldr, n *testNode, sum func(applied, sum uint64) uint64) error {
	in := lease.Renewal{Node: n.id, Incarnation: n.cfg.Node.Incarnation, Process: n.process, Bot: true, Applied: ldr.tb.Applied()}
	mine, known := ldr.tb.SumAt(in.Applied)
	if !known {
		return nil
	}
	in.Sum = sum(in.Applied, mine)
	r := ldr.leading.Load()
	if r == nil {
		return ownership.ErrNotLeader
	}
	_, err := r.Renew(context.Background(), in)
	return err
}

// TestATableThatDiffersIsNoticed: a node whose table is another one at the same
// index gets no lease, and ends; when it is the leader's that most others
// contradict, the leader ends.
func TestATableThatDiffersIsNoticed(t *testing.T) {
	long(t)
	wrong := func(_, sum uint64) uint64 { return sum + 1 }
	t.Run("a follower's", func(t *testing.T) {
		r := newRegion(t, nil)
		nodes := r.form(3)
		ldr := leaderOf(t, nodes...)
		odd := without(nodes, ldr)[0]
		resume := odd.pause() // its own renewals tell the truth
		defer resume()
		eventually(t, "it is told to end", func() bool {
			err := asksWith(ldr, odd, wrong)
			if err == nil {
				t.Fatal("it got a lease")
			}
			return errors.Is(err, ownership.ErrDiffers) && strings.Contains(err.Error(), "empty its data directory")
		})
		if len(ldr.fatals()) > 0 {
			t.Errorf("the leader ended: %v", ldr.fatals())
		}
	})
	t.Run("the leader's", func(t *testing.T) {
		r := newRegion(t, nil)
		nodes := r.form(3)
		ldr := leaderOf(t, nodes...)
		for _, n := range without(nodes, ldr) {
			defer n.pause()()
		}
		eventually(t, "the leader ends", func() bool {
			for _, n := range without(nodes, ldr) {
				if err := asksWith(ldr, n, wrong); err == nil || errors.Is(err, ownership.ErrDiffers) {
					t.Fatalf("%s was answered with %v", n.id, err)
				}
			}
			return len(ldr.fatals()) > 0
		})
		if err := ldr.fatals()[0]; !errors.Is(err, ownership.ErrDiffers) {
			t.Errorf("it ended with %v", err)
		}
	})
}

// TestO25_SettingsThatDifferAreNamed: node and key are told, in the status of every
// node, until they are equal again.
func TestO25_SettingsThatDifferAreNamed(t *testing.T) {
	long(t)
	r := newRegion(t, func(c *Config) {
		c.Settings = map[string]string{"cluster.lease": "2s", "rules": "abc"}
		if c.Node.ID == "b" {
			c.Settings = map[string]string{"cluster.lease": "4s", "rules": "abc", "tombstones": "1h"}
		}
	})
	nodes := r.form(2)
	if err := nodes[0].TransferLeader(soon(t), "a"); err != nil {
		t.Fatal(err)
	}
	want := []ownership.Difference{{Node: "b", Key: "cluster.lease"}, {Node: "b", Key: "tombstones"}}
	eventually(t, "the differences are named", func() bool {
		return slices.Equal(nodes[0].Status().Differs, want) && slices.Equal(nodes[1].Status().Differs, want)
	})
}
