package regionsim

import (
	"context"
	"errors"
	"sync"
	"time"

	"tandem/cluster"
	"tandem/ownership"
)

// giveAway hands over what a node has, as its stop does.
func giveAway(g *stage, p *process) {
	ctx, cancel := context.WithTimeout(g.ctx, 4*time.Second)
	defer cancel()
	given, err := p.cl.Load().HandOff(ctx, cluster.HandingOff{Ringing: true, Empty: true})
	g.tell("%s gives away: %+v %v", p, given, err)
}

// spare reports whether the region can do without the node's data, see bears. It keeps
// others from taking data away until let is called; nil: not now.
func (g *stage) spare(at *seat) (let func()) {
	select {
	case g.taking <- struct{}{}:
	default:
		return nil
	}
	let = func() { <-g.taking }
	if !g.bears(at) {
		let()
		return nil
	}
	return let
}

// bears reports whether a majority of the region's voters, as the leader sees them, runs
// and stands in the table beside the node, each with a log that says that it votes. More
// than the loss of the others no region bears. The node counts as a voter in any case: it
// may get its vote at this moment.
func (g *stage) bears(at *seat) bool {
	for _, p := range g.running() {
		now := p.cl.Load().Status()
		if now.State != "leader" || !now.Leased {
			continue
		}
		voters, well := 0, 0
		for _, peer := range now.Peers {
			if !peer.Voter && peer.ID != at.id {
				continue
			}
			voters++
			if q := g.processOf(peer.ID); q != nil && peer.ID != at.id && q.ended.Load() == nil {
				if s := q.cl.Load().Status(); s.Joined && s.Voter {
					well++
				}
			}
		}
		if well >= voters/2+1 {
			return true
		}
	}
	return false
}

// apart does something that takes a node's data away, if the region can bear it.
func (g *stage) apart(at *seat, do func()) {
	g.with(at, func() {
		let := g.spare(at)
		if let == nil {
			g.tell("not done: the region could not bear it")
			return
		}
		defer let()
		do()
		for range 100 { // until it stands in the table again, or has other troubles
			p := at.now()
			if p == nil || p.ended.Load() != nil || p.cl.Load().Status().Joined || !doze(g.ctx, 100*time.Millisecond) {
				return
			}
		}
	})
}

// replace removes a node, running or not, and starts it with empty data.
func replace(g *stage, s step) {
	at := g.seat(s)
	g.apart(at, func() {
		if s.n%3 == 0 {
			at.crash(s.n%2 == 0)
		}
		g.renew(at)
	})
}

// renew removes a node from the region and lets it join anew.
func (g *stage) renew(at *seat) {
	err := g.insist("removing "+string(at.id), func(ctx context.Context, p *process) error {
		if p.id == at.id {
			return errors.New("it is the one to be removed")
		}
		return p.cl.Load().Remove(ctx, at.id)
	})
	if err != nil && !errors.Is(err, ownership.ErrUnknown) {
		if at.now() == nil {
			g.startAgain(at)
		}
		return
	}
	if at.now() != nil {
		at.crash(false)
	}
	at.wipe()
	g.startAgain(at)
}

// join adds a node.
func join(g *stage, s step) {
	if len(g.all()) >= 6 {
		return
	}
	at := g.addSeat()
	g.with(at, func() { g.startAgain(at) })
}

// leave has a node leave by itself; later it comes back empty.
func leave(g *stage, s step) {
	at := g.seat(s)
	g.apart(at, func() {
		if at.now() == nil {
			return
		}
		ctx, cancel := context.WithTimeout(g.ctx, 15*time.Second)
		err := at.now().cl.Load().Leave(ctx)
		cancel()
		g.tell("%s leaves: %v", at.now(), err)
		if err != nil {
			// It has stopped acting for good, and may or may not be a member.
			g.renew(at)
			return
		}
		at.stop()
		at.wipe()
		g.rest(s)
		g.startAgain(at)
	})
}

// watchOver restarts processes that ended by themselves, as a service manager
// does, and brings those back in whose data the region does not want.
func (g *stage) watchOver(ctx context.Context) {
	var reviving sync.WaitGroup
	defer reviving.Wait()
	for doze(ctx, 500*time.Millisecond) {
		for _, at := range g.all() {
			if p := at.now(); p != nil && p.ended.Load() != nil {
				reviving.Go(func() { g.with(at, func() { g.revive(at) }) })
			}
		}
	}
}

func (g *stage) revive(at *seat) {
	p := at.now()
	if p == nil || p.ended.Load() == nil {
		return
	}
	why := *p.ended.Load()
	at.stop()
	for _, unwanted := range []error{ownership.ErrGone, ownership.ErrForeign, ownership.ErrDiffers, ownership.ErrConflict, ownership.ErrTwin} {
		if errors.Is(why, unwanted) {
			g.renew(at)
			return
		}
	}
	time.Sleep(time.Second)
	g.startAgain(at)
}
