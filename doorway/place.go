package doorway

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync/atomic"
)

// Place is one connection within a door.
type Place struct {
	net.Conn
	door   *Door
	addr   netip.Addr
	capped bool         // its address may have so many only
	busy   atomic.Int64 // requests under way
	sent   atomic.Int64 // requests sent away
	shown  atomic.Bool  // known, for those who do not hold the lock

	// Under the door's lock:
	known  bool // has shown a good token
	idle   bool
	gone   bool
	inAll  *list.Element // where it stands in one of the door's lines
	inEach *list.Element // and of its address's
}

// Close closes the connection. Its place is free before it is closed.
func (p *Place) Close() error {
	p.door.mu.Lock()
	p.leave()
	p.door.mu.Unlock()
	return p.Conn.Close()
}

// leave gives the place back, once; the caller holds the door's lock.
func (p *Place) leave() {
	if p.gone {
		return
	}
	p.gone = true
	p.unline()
	p.count(-1)
	if of := p.door.each[p.addr]; of != nil && of.open == 0 {
		delete(p.door.each, p.addr)
	}
}

// count adds the place to the numbers of its crowds, or takes it off.
func (p *Place) count(n int) {
	for _, c := range []*crowd{&p.door.all, p.door.of(p)} {
		c.open += n
		if p.known {
			c.known += n
		}
	}
}

// line puts the place at the end of the line in which it belongs: of the strangers,
// or of those known that are idle. Who is known and at work is in none.
func (p *Place) line() {
	p.unline()
	if p.gone || p.known && !p.idle {
		return
	}
	p.inAll = p.in(&p.door.all).PushBack(p)
	p.inEach = p.in(p.door.of(p)).PushBack(p)
}

// unline takes the place out of its lines.
func (p *Place) unline() {
	if p.inAll != nil {
		p.in(&p.door.all).Remove(p.inAll)
	}
	if p.inEach != nil {
		p.in(p.door.of(p)).Remove(p.inEach)
	}
	p.inAll, p.inEach = nil, nil
}

func (p *Place) in(c *crowd) *list.List {
	if p.known {
		return &c.idle
	}
	return &c.strangers
}

type placeKey struct{}

// Of returns the place that a request came by; nil, which all methods take, where its
// server is at no door of this package.
func Of(ctx context.Context) *Place {
	p, _ := ctx.Value(placeKey{}).(*Place)
	return p
}

// placeOf returns the place below a server's connection.
func placeOf(c net.Conn) *Place {
	if over, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = over.NetConn()
	}
	p, _ := c.(*Place)
	return p
}

// Known notes that a good token came by this place. It stays a stranger's where all
// places but those that are kept for strangers are held by others who are known.
func (p *Place) Known() {
	if p == nil || p.shown.Load() {
		return
	}
	d := p.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.known || p.gone || d.all.known >= d.cfg.All-kept(d.cfg.All) {
		return
	}
	if p.capped && d.of(p).known >= d.cfg.Each-kept(d.cfg.Each) {
		return
	}
	p.unline()
	p.count(-1)
	p.known = true
	p.shown.Store(true)
	p.count(+1)
	p.line()
}

// IsKnown reports whether a good token came by this place; without a door nobody is
// a stranger.
func (p *Place) IsKnown() bool { return p == nil || p.shown.Load() }

// Begin counts a request that begins, and tells how many are under way by this
// place. End must follow.
func (p *Place) Begin() int {
	if p == nil {
		return 0
	}
	return int(p.busy.Add(1))
}

// End counts a request that has ended.
func (p *Place) End() {
	if p != nil {
		p.busy.Add(-1)
	}
}

// maxSent is how many requests of a stranger's connection may be sent away for being
// too many at a time before it is closed.
const maxSent = 256

// SendAway counts a request that was one too many of its connection.
func (p *Place) SendAway() {
	if p != nil && p.sent.Add(1) > maxSent {
		_ = p.Close()
	}
}

// GiveWay closes another stranger's connection of the same door, see Door.GiveWay.
func (p *Place) GiveWay() {
	if p != nil {
		p.door.GiveWay()
	}
}
