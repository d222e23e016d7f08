package regionsim

import (
	"syscall"
	"time"
)

// refuse has something between two hosts refuse the connections that one opens to the
// other, and end those that are open, at once and as often as reset is called. Both may be
// well: to each other they look dead.
func (n *network) refuse(ways ...way) (reset, mend func()) {
	add := func(by int) {
		n.change(func() {
			for _, w := range ways {
				n.wire(w).refusals += by
			}
		})
	}
	reset = func() {
		for _, w := range ways {
			n.mu.Lock()
			c := n.up[w.from]
			n.mu.Unlock()
			if c != nil {
				c.reset(w.to)
			}
		}
	}
	add(1)
	reset()
	return reset, func() { add(-1) }
}

// refused reports whether something on the way refuses connections.
func (n *network) refused(w way) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wire(w).refusals > 0
}

// reset ends what the card has open with a host.
func (c *card) reset(far string) {
	c.mu.Lock()
	var all []*end
	for e := range c.ends {
		if e.far.host == far {
			all = append(all, e)
		}
	}
	c.mu.Unlock()
	for _, e := range all {
		e.arrive(nil, syscall.ECONNRESET)
		e.peer.arrive(nil, syscall.ECONNRESET)
	}
}

// mislead makes a node look dead to one other, or to all, again and again: in both
// directions, or only to those who open connections to it.
func mislead(g *stage, s step) {
	at := g.seat(s)
	out, in := g.waysOf(at.place())
	if s.n%2 == 0 {
		to := g.other(s, at)
		out, in = []way{{at.place(), to.place()}}, []way{{to.place(), at.place()}}
	}
	ways := in
	if s.n%4 < 2 {
		ways = append(ways, out...)
	}
	reset, mend := g.net.refuse(ways...)
	for over := time.Now().Add(s.length); time.Now().Before(over) && g.ctx.Err() == nil; {
		doze(g.ctx, 20*time.Millisecond+time.Duration(s.n%500)*time.Millisecond)
		reset()
	}
	mend()
}
