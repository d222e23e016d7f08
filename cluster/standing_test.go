package cluster

import (
	"errors"
	"net"
	"testing"
	"time"

	"tandem/ownership"
)

// TestO22_AReservedCallStandsWithTheSilentNode: its partition has another owner, and
// what is handed over for it finds out at once that the node is silent, also when its
// port still takes connections, as that of a frozen process does.
func TestO22_AReservedCallStandsWithTheSilentNode(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	silent := without(nodes, leaderOf(t, nodes...))[0]
	rest := without(nodes, silent)
	p := claimOn(t, silent, 1, func(c *ownership.Claim) { c.Pinned, c.Answered = true, true })
	kept := claimOf(1).Call
	converge(t, nodes)
	addr := silent.Addr()
	silent.cut()
	for _, n := range rest {
		eventually(t, "another owner of the partition", func() bool {
			o, ok := n.Owner(p.Partition)
			return ok && o.Node != silent.id && o.Epoch == p.Epoch+1
		})
		if o, ok := n.OwnerOf(kept, p.Partition); !ok || o.Node != silent.id || o.Epoch != p.Epoch || o.Here || o.Acting {
			t.Errorf("%s: the reserved call stands with %+v", n.id, o)
		}
		if o, ok := n.OwnerOf("another", p.Partition); !ok || o.Node == silent.id || o.Epoch != p.Epoch+1 || o.Here != (o.Node == n.id) {
			t.Errorf("%s: an unknown call of the partition stands with %+v", n.id, o)
		}
		if n.Holds(kept, p.Partition, p.Epoch) || n.Holds(kept, p.Partition, p.Epoch+1) {
			t.Errorf("I5: %s may act for the reserved call", n.id)
		}
		if again, err := n.Claim(soon(t), claimOf(1)); err != nil || again.Owner != silent.id || again.Epoch != p.Epoch {
			t.Errorf("%s: a repeat of its first notification hears %+v, %v", n.id, again, err)
		}
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close() // it takes the connection and says nothing
		}
	}()
	start := time.Now()
	_, err = rest[0].Relay(soon(t), silent.id, ownership.HandOver{Event: ownership.EventUpdate, App: "app", Call: kept, Partition: p.Partition, Epoch: p.Epoch})
	if took := time.Since(start); !errors.Is(err, ownership.ErrUnreachable) || took > 3*time.Second {
		t.Errorf("a relay to a silent node gave %v after %s", err, took)
	}
}

// TestFresh: what was claimed anywhere is known here afterwards; alone nobody can say.
func TestFresh(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	lone := without(nodes, leaderOf(t, nodes...))[0]
	other := without(nodes, lone)[0]
	for i := range 20 {
		claim(t, other, i)
		if err := lone.Fresh(soon(t)); err != nil {
			t.Fatal(err)
		}
		if _, ok := lone.Find(claimOf(i).Call); !ok {
			t.Fatalf("call %d is not known on %s", i, lone.id)
		}
	}
	lone.cut()
	eventually(t, "a node that knows that it is alone", func() bool { return lone.Status().Leader == "" })
	start := time.Now()
	if err := lone.Fresh(soon(t)); !errors.Is(err, ownership.ErrNoLeader) || time.Since(start) > 3*time.Second {
		t.Errorf("alone: %v after %s", err, time.Since(start))
	}
}
