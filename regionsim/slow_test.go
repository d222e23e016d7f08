package regionsim

import (
	"context"
	"io"
	"time"

	"tandem/ownership"
)

// pause stops a process, as a busy hypervisor does: nothing that it says gets out,
// nothing that is said to it gets in, its disk and its bot stand still, and all of
// that goes on at once. Only its clocks cannot be stopped in a bubble.
func pause(g *stage, s step) {
	at := g.seat(s)
	p := at.now()
	if p == nil {
		return
	}
	out, in := g.waysOf(p.host)
	ways := append(append(out, in...), way{cloudHost, p.host}, way{p.host, cloudHost})
	mend := g.net.cut(ways...)
	p.disk.held.Store(true)
	p.bot.slow.Store(int64(s.length))
	g.rest(s)
	p.bot.slow.Store(0)
	p.disk.held.Store(false)
	mend()
}

// lateTable cuts a node off until others have what was its own; when it is back its
// table lags behind for a moment, as after a long time without a processor.
func lateTable(g *stage, s step) {
	p := g.seat(s).now()
	if p == nil {
		return
	}
	out, in := g.waysOf(p.host)
	mend := g.net.cut(append(out, in...)...)
	doze(g.ctx, p.cl.Load().Lease()+2*time.Second+s.length/8)
	p.disk.held.Store(true)
	mend()
	doze(g.ctx, 500*time.Millisecond+time.Duration(s.n%2500)*time.Millisecond)
	p.disk.held.Store(false)
}

// slowTableFault has a node apply what is decided only slowly.
func slowTableFault(g *stage, s step) {
	if p := g.seat(s).now(); p != nil {
		p.disk.apply.Store(int64(time.Duration(s.n%150) * time.Millisecond))
		g.rest(s)
		p.disk.apply.Store(0)
	}
}

// changeLease changes how long leases last.
func changeLease(g *stage, s step) {
	p := g.anyProcessOf(s)
	if p == nil {
		return
	}
	length := []time.Duration{time.Second, 1500 * time.Millisecond, 2 * time.Second, 4 * time.Second}[s.n%4]
	ctx, cancel := context.WithTimeout(g.ctx, 10*time.Second)
	defer cancel()
	err := p.cl.Load().SetLease(ctx, length)
	g.tell("leases last %v: %v", length, err)
}

// snapshot has a node take one, and cut its log.
func snapshot(g *stage, s step) {
	if p := g.seat(s).now(); p != nil {
		ctx, cancel := context.WithTimeout(g.ctx, 5*time.Second)
		defer cancel()
		if err := p.cl.Load().SaveSnapshot(ctx, io.Discard); err != nil {
			g.tell("%s takes no snapshot: %v", p, err)
		}
	}
}

// rename replaces a node by one of another name: the new one comes, takes part, and
// the old one leaves for good.
func rename(g *stage, s step) {
	old := g.seat(s)
	g.apart(old, func() {
		if old.now() == nil {
			return
		}
		next := g.addSeat()
		g.with(next, func() { g.startAgain(next) })
		for range 150 {
			if p := next.now(); p != nil && p.cl.Load().Leased() {
				break
			}
			if !doze(g.ctx, 100*time.Millisecond) {
				return
			}
		}
		g.tell("%s is to replace %s", next.id, old.id)
		if s.n%2 == 0 {
			giveAway(g, old.now())
		}
		err := g.insist("removing "+string(old.id), func(ctx context.Context, p *process) error {
			if p.id == old.id {
				return ownership.ErrUnreachable
			}
			return p.cl.Load().Remove(ctx, old.id)
		})
		if err != nil {
			return
		}
		old.crash(false)
		old.wipe()
		g.removeSeat(old)
	})
}
