package regionsim

import (
	"os"
	"time"
)

// copyNode starts a copy of a node's data on another machine while the node runs.
// Two processes must never act as one node, and one of them must end. One copy runs at a
// time, and never one of the only voter: with copies of two of two voters the half of a cut
// in which they are is a region of its own, and nothing tells it from the other one.
func copyNode(g *stage, s step) {
	at := g.seat(s)
	if !g.copied.CompareAndSwap(false, true) {
		g.tell("not done: another copy runs")
		return
	}
	defer g.copied.Store(false)
	dir, host := g.newDir(at.id), g.newHost()
	var err error
	found := false
	g.with(at, func() {
		if at.now() == nil {
			return
		}
		if !g.bears(at) {
			g.tell("not done: the region could not bear it")
			return
		}
		g.still(func() { found, err = true, copyDisk(at.dir, dir) })
	})
	if !found {
		return
	}
	if err != nil {
		g.t.Error(err)
		return
	}
	shadow, err := g.launch(at.id, host, dir)
	if err != nil {
		g.t.Errorf("starting a copy of node %s: %v", at.id, err)
		return
	}
	g.tell("%s starts at %s, a copy of %s", shadow, host, at.id)
	g.cast(shadow, true)
	for over := time.Now().Add(s.length); time.Now().Before(over) && shadow.ended.Load() == nil; {
		doze(g.ctx, 100*time.Millisecond)
	}
	g.tell("%s, the copy, is taken away", shadow)
	g.cast(shadow, false)
	if shadow.ended.Load() != nil || !shadow.cl.Load().Status().Joined {
		_ = os.RemoveAll(shadow.crash(false))
		return
	}
	// The copy has become the node. Its disk holds what the node voted and acknowledged
	// since: without it a voter would be lost.
	at.busy <- struct{}{}
	defer func() { <-at.busy }()
	dir = shadow.crash(false)
	at.stop()
	at.wipe()
	at.dir = dir
	g.tell("%s goes on with the data of the copy", at.id)
	g.startAgain(at)
}

// wipe takes a node's data away and starts it again, and nobody has told the region.
func wipe(g *stage, s step) {
	at := g.seat(s)
	g.apart(at, func() {
		at.crash(s.n%2 == 0)
		at.wipe()
		doze(g.ctx, s.length/3)
		g.tell("%s was wiped", at.id)
		g.startAgain(at)
	})
}

// rollBack starts a node with the data that it had a while ago.
func rollBack(g *stage, s step) {
	at := g.seat(s)
	g.apart(at, func() {
		if at.now() == nil {
			return
		}
		dir := g.newDir(at.id)
		var err error
		g.still(func() { err = copyDisk(at.dir, dir) })
		if err != nil {
			g.t.Error(err)
			return
		}
		doze(g.ctx, s.length)
		at.stop()
		g.startAgain(at)
		doze(g.ctx, s.length/2)
		if !g.bears(at) { // the others were well when it began
			g.tell("not done: the region could not bear it")
			return
		}
		at.crash(s.n%3 == 0)
		at.wipe()
		at.dir = dir
		g.tell("%s was rolled back by %v", at.id, s.length)
		g.startAgain(at)
	})
}

// swap has two nodes change their machines.
func swap(g *stage, s step) {
	a := g.seat(s)
	b := g.other(s, a)
	if a == b {
		return
	}
	g.with(a, func() {
		g.with(b, func() {
			if a.now() == nil || b.now() == nil {
				return
			}
			a.crash(false)
			b.stop()
			there, here := a.place(), b.place()
			a.move(here)
			b.move(there)
			g.startAgain(a)
			doze(g.ctx, s.length/4)
			g.startAgain(b)
		})
	})
}
