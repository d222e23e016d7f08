package regionsim

import (
	"context"
	"errors"
	"time"

	"tandem/ownership"
)

// fault is one kind of fault. do returns when it is over and undone.
type fault struct {
	name   string
	weight int
	do     func(*stage, step)
}

var faults = []fault{
	{"isolate", 6, isolate},
	{"link", 5, cutLink},
	{"flap", 3, flap},
	{"slow link", 3, slowLink},
	{"cloud", 2, cutCloud},
	{"slow disk", 4, slowDisk},
	{"stalled disk", 1, stalledDisk},
	{"stop", 4, stopAndStart},
	{"crash", 5, crashAndStart},
	{"long crash", 1, crashForLong},
	{"readdress", 2, readdress},
	{"move", 4, movePartitions},
	{"drain", 3, drain},
	{"lead", 4, handOnLead},
	{"sick bot", 2, sickBot},
	{"slow bot", 2, slowBot},
	{"replace", 2, replace},
	{"join", 1, join},
	{"leave", 1, leave},
	{"copy", 2, copyNode},
	{"wipe", 1, wipe},
	{"roll back", 1, rollBack},
	{"swap", 1, swap},
}

// later are the faults that only seeds from second on draw: those before it keep
// the schedules with which they once found something.
var later = []fault{
	{"rename", 2, rename},
	{"pause", 3, pause},
	{"late table", 8, lateTable},
	{"slow table", 2, slowTableFault},
	{"lease", 2, changeLease},
	{"snapshot", 1, snapshot},
}

// latest are those that only seeds from third on draw.
var latest = []fault{
	{"mislead", 6, mislead},
}

// missing names the faults that the product cannot bear yet, and the rules that it
// breaks, with the reason. Such a fault is not drawn; a broken rule is only told.
var missing = map[string]string{
	"leak": "raft forgets to answer some questions when it shuts down; the goroutine that waits for the answer stays",
}

// stage is a region during its schedule.
type stage struct {
	*region
	ctx context.Context
}

// seat returns the seat that a step means.
func (g *stage) seat(s step) *seat {
	all := g.all()
	if s.leader {
		for _, x := range all {
			if p := x.now(); p != nil && !p.dead() && p.cl.Load().Status().State == "leader" {
				return x
			}
		}
	}
	return all[s.node%len(all)]
}

// other returns another seat than at.
func (g *stage) other(s step, at *seat) *seat {
	all := g.all()
	for i := range all {
		if x := all[(s.other+i)%len(all)]; x != at {
			return x
		}
	}
	return at
}

// with does something with a seat that nobody else is busy with.
func (g *stage) with(at *seat, do func()) {
	if leave := at.take(); leave != nil {
		defer leave()
		do()
	}
}

func (g *stage) rest(s step) { doze(g.ctx, s.length) }

// waysOf returns the ways from and to a host.
func (g *stage) waysOf(host string) (out, in []way) {
	for _, x := range g.all() {
		if h := x.place(); h != host {
			out, in = append(out, way{host, h}), append(in, way{h, host})
		}
	}
	return out, in
}

// isolate cuts a node off: it hears nobody, nobody hears it, or both.
func isolate(g *stage, s step) {
	out, in := g.waysOf(g.seat(s).place())
	var mend func()
	switch s.n % 3 {
	case 0:
		mend = g.net.cut(out...)
	case 1:
		mend = g.net.cut(in...)
	default:
		mend = g.net.cut(append(out, in...)...)
	}
	g.rest(s)
	mend()
}

// cutLink cuts one link, in one direction or in both.
func cutLink(g *stage, s step) {
	at := g.seat(s)
	to := g.other(s, at)
	ways := []way{{at.place(), to.place()}}
	if s.n%2 == 0 {
		ways = append(ways, way{to.place(), at.place()})
	}
	mend := g.net.cut(ways...)
	g.rest(s)
	mend()
}

// flap cuts a node off again and again.
func flap(g *stage, s step) {
	out, in := g.waysOf(g.seat(s).place())
	ways := [][]way{out, in, append(out, in...)}[s.n%3]
	beat := 50*time.Millisecond + time.Duration(s.n%1500)*time.Millisecond
	for over := time.Now().Add(2 * s.length); time.Now().Before(over) && g.ctx.Err() == nil; {
		mend := g.net.cut(ways...)
		doze(g.ctx, beat)
		mend()
		doze(g.ctx, beat/2)
	}
}

func slowLink(g *stage, s step) {
	out, in := g.waysOf(g.seat(s).place())
	mend := g.net.delay(time.Duration(10+s.n%700)*time.Millisecond, append(out, in...)...)
	g.rest(s)
	mend()
}

// cutCloud keeps the cloud from a node, and the node from Graph.
func cutCloud(g *stage, s step) {
	at := g.seat(s)
	mend := g.net.cut(way{cloudHost, at.place()}, way{at.place(), cloudHost})
	g.rest(s)
	mend()
}

func slowDisk(g *stage, s step) {
	p := g.seat(s).now()
	if p == nil {
		return
	}
	p.disk.slow.Store(int64(time.Duration(s.n%2500) * time.Millisecond))
	g.rest(s)
	p.disk.slow.Store(0)
}

// stalledDisk is slower than the watchdog bears: the process must end by itself.
func stalledDisk(g *stage, s step) {
	p := g.seat(s).now()
	if p == nil {
		return
	}
	p.disk.slow.Store(int64(8 * time.Second))
	g.rest(s)
	p.disk.slow.Store(0)
}

// mostRefusals is how often a node with a disk that the region refuses is to be removed:
// each time the region has half a minute for it.
const mostRefusals = 20

// startAgain starts a node. One whose disk takes part no more is removed, and comes anew.
func (g *stage) startAgain(at *seat) {
	err := at.start()
	switch {
	case err == nil:
		at.refused = 0
	case errors.Is(err, ownership.ErrDiffers) && at.refused < mostRefusals:
		at.refused++
		if doze(g.ctx, time.Second) {
			g.renew(at)
		}
	default:
		g.t.Errorf("after %v %v", g.age(), err)
	}
}

// stopAndStart stops a node in order, drained before it or not.
func stopAndStart(g *stage, s step) {
	at := g.seat(s)
	g.with(at, func() {
		if at.now() == nil {
			return
		}
		if s.n%2 == 0 {
			giveAway(g, at.now())
		}
		at.stop()
		g.rest(s)
		g.startAgain(at)
	})
}

func crashAndStart(g *stage, s step) {
	at := g.seat(s)
	g.with(at, func() {
		at.crash(s.n%2 == 0)
		doze(g.ctx, s.length/2)
		g.startAgain(at)
	})
}

// crashForLong is longer than a node is waited for.
func crashForLong(g *stage, s step) {
	s.length += 35 * time.Second
	crashAndStart(g, s)
}

// readdress starts a node again at another address.
func readdress(g *stage, s step) {
	at := g.seat(s)
	g.with(at, func() {
		if s.n%2 == 0 {
			at.crash(s.n%4 == 0)
		} else {
			at.stop()
		}
		at.move(g.newHost())
		doze(g.ctx, s.length/4)
		g.startAgain(at)
	})
}

// movePartitions moves some of a node's partitions in a planned way.
func movePartitions(g *stage, s step) {
	from := g.seat(s)
	to, by := g.other(s, from), g.anyProcessOf(s)
	if by == nil {
		return
	}
	for i, p := range by.st.Table().PartitionsOf(from.id) {
		if i > int(s.n%6) {
			return
		}
		ctx, cancel := context.WithTimeout(g.ctx, 3*time.Second)
		_ = by.cl.Load().Move(ctx, p.ID, to.id) // it may be refused
		cancel()
	}
}

func (g *stage) anyProcessOf(s step) *process {
	all := g.running()
	if len(all) == 0 {
		return nil
	}
	return all[s.n%uint64(len(all))]
}

// drain has a node hand over what it has; then it takes calls again.
func drain(g *stage, s step) {
	at, by := g.seat(s), g.anyProcessOf(s)
	if by == nil || at.now() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(g.ctx, 3*time.Second)
	err := by.cl.Load().Drain(ctx, at.id, time.Now().Add(s.length))
	cancel()
	g.tell("%s is drained: %v", at.id, err)
	if p := at.now(); p != nil && s.n%2 == 0 {
		giveAway(g, p)
	}
	g.rest(s)
	g.insist("undraining "+string(at.id), func(ctx context.Context, p *process) error {
		return p.cl.Load().Undrain(ctx, at.id)
	})
}

// insist tries something at any node until it is done or known to be needless.
func (g *stage) insist(what string, do func(context.Context, *process) error) error {
	var err error
	for n := range 40 {
		if p := g.anyProcessOf(step{n: uint64(n)}); p != nil {
			ctx, cancel := context.WithTimeout(ownership.By(context.Background(), "ops"), 15*time.Second)
			err = do(ctx, p)
			cancel()
			if err == nil || errors.Is(err, ownership.ErrUnknown) || errors.Is(err, ownership.ErrConflict) {
				break
			}
		}
		time.Sleep(500 * time.Millisecond)
	}
	g.tell("%s: %v", what, err)
	return err
}

func handOnLead(g *stage, s step) {
	p := g.anyProcessOf(s)
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(g.ctx, 3*time.Second)
	defer cancel()
	_ = p.cl.Load().TransferLeader(ctx, "") // it may be refused
}

func sickBot(g *stage, s step) {
	if p := g.seat(s).now(); p != nil {
		p.bot.sick.Store(true)
		g.rest(s)
		p.bot.sick.Store(false)
	}
}

func slowBot(g *stage, s step) {
	if p := g.seat(s).now(); p != nil {
		p.bot.slow.Store(int64(time.Duration(s.n%3000) * time.Millisecond))
		g.rest(s)
		p.bot.slow.Store(0)
	}
}
