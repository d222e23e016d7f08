package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"tandem/ownership"
)

// TestO5_TwoNodesSwapTheirAddresses: known nodes are taken where they are now.
func TestO5_TwoNodesSwapTheirAddresses(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	atB, atC := b.Addr(), c.Addr()
	b.stop()
	c.stop()
	b.up(func(cfg *Config) { cfg.Listen = atC; cfg.Join = []string{a.Addr(), atB, atC} })
	c.up(func(cfg *Config) { cfg.Listen = atB; cfg.Join = []string{a.Addr(), atB, atC} })
	for _, n := range nodes {
		n.ready()
		if len(n.fatals()) > 0 {
			t.Errorf("%s ended: %v", n.id, n.fatals())
		}
	}
	for _, n := range nodes {
		eventually(t, "the table has the addresses of now", func() bool {
			rb, _ := n.tb.Node("b")
			rc, _ := n.tb.Node("c")
			return rb.ClusterAddr == atC && rc.ClusterAddr == atB
		})
	}
	claim(t, a, 1)
}

// TestO6_ANewNodeAtADeadOnesAddress: it waits while the dead one may have a lease,
// and is then taken in; it does not end over it.
func TestO6_ANewNodeAtADeadOnesAddress(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	dead := without(nodes, leaderOf(t, nodes...))[0]
	rest := without(nodes, dead)
	addr := dead.Addr()
	dead.kill()
	d := &testNode{r: r, id: "d", dir: r.dir + "/d"}
	r.nodes["d"] = d
	d.up(func(c *Config) {
		c.Listen = addr
		joining(rest...)(c)
	})
	d.ready()
	if len(d.fatals()) > 0 {
		t.Errorf("it ended: %v", d.fatals())
	}
	if rec, _ := rest[0].tb.Node(dead.id); rec.ClusterAddr == addr {
		t.Error("the dead node still has the address in the table")
	}
	claim(t, d, 1)
}

// TestO7_AllAddressesAreNew: all nodes come back elsewhere, and list each other at
// their new addresses. They find each other and elect a leader.
func TestO7_AllAddressesAreNew(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	claim(t, nodes[0], 1)
	for _, n := range nodes {
		n.kill()
	}
	addrs := freeAddrs(t, 3)
	for i, n := range nodes {
		n.up(func(c *Config) { c.Listen, c.Join = addrs[i], addrs })
	}
	for _, n := range nodes {
		n.ready()
	}
	claim(t, nodes[2], 2)
}

// TestF53_NobodyIsSentToWhereANodeWas: until a node is back at its new address, its
// record tells the old one, where nobody is. New calls of it are relayed, which says
// at once that it cannot be reached, and are not redirected there.
func TestF53_NobodyIsSentToWhereANodeWas(t *testing.T) {
	long(t)
	at := "old"
	r := newRegion(t, func(c *Config) {
		c.Node.PublicURL = fmt.Sprintf("https://%s.%s.example", c.Node.ID, at)
	})
	nodes := r.form(3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	for _, n := range nodes {
		n.kill()
	}
	at = "new"
	addrs := freeAddrs(t, 3)
	move := func(i int) { nodes[i].up(func(c *Config) { c.Listen, c.Join = addrs[i], addrs }) }
	move(0)
	move(1)
	a.ready()
	b.ready()
	for _, n := range []*testNode{a, b} {
		if o := n.owner(c.id, 1, 1); o.PublicURL != "" {
			t.Errorf("%s sends callers of %s to %s, where nobody is", n.id, c.id, o.PublicURL)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if _, err := n.Relay(ctx, c.id, ownership.HandOver{Call: "c1", Partition: 1, Epoch: 1}); !errors.Is(err, ownership.ErrUnreachable) || ctx.Err() != nil {
			t.Errorf("relaying to a node that is away: %v", err)
		}
		cancel()
	}
	move(2)
	c.ready()
	for _, n := range []*testNode{a, b} {
		eventually(t, "the new address at the others", func() bool {
			o := n.owner(c.id, 1, 1)
			if o.PublicURL != "" && o.PublicURL != "https://c.new.example" {
				t.Fatalf("%s sends callers to %s", n.id, o.PublicURL)
			}
			return o.PublicURL != ""
		})
	}
}

// TestO9_EachAddressOfANameIsGreeted: the region's first node is behind the last of
// the addresses of one name.
func TestO9_EachAddressOfANameIsGreeted(t *testing.T) {
	long(t)
	ips, err := net.DefaultResolver.LookupHost(t.Context(), "localhost")
	if err != nil || len(ips) < 2 {
		t.Skipf("SKIPPED: localhost has the addresses %v here, two are needed", ips)
	}
	last := ips[len(ips)-1]
	ln, err := net.Listen("tcp", net.JoinHostPort(last, "0"))
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	_ = ln.Close()
	r := newRegion(t, nil)
	a := &testNode{r: r, id: "a", dir: r.dir + "/a"}
	r.nodes["a"] = a
	a.up(func(c *Config) { c.Listen = net.JoinHostPort(last, port) })
	if err := a.Found(soon(t)); err != nil {
		t.Fatal(err)
	}
	b := &testNode{r: r, id: "b", dir: r.dir + "/b"}
	r.nodes["b"] = b
	b.up(func(c *Config) { c.Join = []string{net.JoinHostPort("localhost", port)} })
	b.ready()
}
