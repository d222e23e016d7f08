// Package doorway keeps a door passable: it tells whose connection one is, also
// behind proxies, and who gives way when all places are taken.
//
// A place is never refused to a newcomer while a stranger sits idle: the connection
// that has been idle the longest without having shown a good token is closed for it, and
// before all others one of a crowd, an address that fills many places with strangers. So a
// crowd that holds connections open, however large, pushes out itself, and not who has just
// come from elsewhere and is slow to speak.
package doorway

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"tandem/addrlimit"
)

// Config is what a door is told.
type Config struct {
	All  int // connections at one time
	Each int // of them from one address, see addrlimit.Key; 0: as many as in all
	// Trusted are the proxies whose word on a caller's address is taken. They are
	// not bound by Each: their connections are those of many.
	Trusted []netip.Prefix
	// ProxyProtocol says that a trusted proxy begins each connection with the
	// caller's address (PROXY protocol, version 1 or 2), and that one which does
	// not is closed.
	ProxyProtocol bool
	// Crowded is called for each connection that is closed for want of a place.
	Crowded func()
}

// Door is a listener whose places are given out anew when all are taken. Its server
// must be watched (Watch).
type Door struct {
	net.Listener
	cfg  Config
	told *introductions // nil: nobody is introduced

	mu   sync.Mutex
	all  crowd
	each map[netip.Addr]*crowd
}

// crowd is a number of connections in the order in which they give way.
type crowd struct {
	open      int
	known     int
	strangers list.List // *Place, the one idle longest first
	idle      list.List // the same of those that have shown a good token
}

// New makes a door of a listener.
func New(inner net.Listener, c Config) *Door {
	if c.Each <= 0 || c.Each > c.All {
		c.Each = c.All
	}
	d := &Door{Listener: inner, cfg: c, each: map[netip.Addr]*crowd{}}
	if c.ProxyProtocol {
		d.told = introduce(inner, func(a netip.Addr) bool { return within(c.Trusted, a) })
	}
	return d
}

// Accept returns the next connection that has a place.
func (d *Door) Accept() (net.Conn, error) {
	for {
		c, err := d.next()
		if err != nil {
			return nil, err
		}
		if p := d.enter(c); p != nil {
			return p, nil
		}
		_ = c.Close() // there is nobody to tell
	}
}

func (d *Door) next() (net.Conn, error) {
	if d.told != nil {
		return d.told.accept()
	}
	return d.Listener.Accept()
}

// Close ends the listener.
func (d *Door) Close() error {
	err := d.Listener.Close()
	if d.told != nil {
		d.told.all.Wait() // until nobody is heard any more
	}
	return err
}

// kept is how many of so many places those who have shown a good token cannot hold
// against newcomers, such as probes: an eighth.
func kept(places int) int { return (places + 7) / 8 }

// enter gives a connection a place, or nil when everybody has more right to stay.
func (d *Door) enter(c net.Conn) *Place {
	p := &Place{Conn: c, door: d, addr: addrlimit.Key(c.RemoteAddr().String())}
	p.capped = !within(d.cfg.Trusted, p.addr)
	d.mu.Lock()
	of := d.of(p)
	var leaver *Place
	capped := p.capped && of.open >= d.cfg.Each
	if capped {
		leaver = of.first()
	} else if d.all.open >= d.cfg.All {
		leaver = d.first()
	}
	full := leaver == nil && (capped || d.all.open >= d.cfg.All)
	if leaver != nil {
		leaver.leave()
	}
	if !full {
		p.count(+1)
		p.line()
	} else if of.open == 0 {
		delete(d.each, p.addr)
	}
	d.mu.Unlock()
	if (leaver != nil || full) && d.cfg.Crowded != nil {
		d.cfg.Crowded()
	}
	if leaver != nil {
		_ = leaver.Conn.Close()
	}
	if full {
		return nil
	}
	return p
}

// of returns the crowd of a place's address.
func (d *Door) of(p *Place) *crowd {
	if d.each[p.addr] == nil {
		d.each[p.addr] = &crowd{}
	}
	return d.each[p.addr]
}

// first returns who has to go first; nil: everybody is at work.
func (c *crowd) first() *Place {
	for _, l := range []*list.List{&c.strangers, &c.idle} {
		if e := l.Front(); e != nil {
			return e.Value.(*Place)
		}
	}
	return nil
}

// lookedAt bounds whom a door looks at to find who gives way.
const lookedAt = 512

// crowded is how many strangers of one address are a crowd, at a door of so many places: more
// than a sixteenth. Nobody else is measured by his address: among thousands of addresses with
// one connection each, the calling cloud's would have most.
func crowded(places int) int { return places/16 + 1 }

// first returns who has to go first of all that are here; nil: everybody is at work.
func (d *Door) first() *Place {
	n := 0
	for e := d.all.strangers.Front(); e != nil && n < lookedAt; e = e.Next() {
		n++
		if p := e.Value.(*Place); d.of(p).strangers.Len() >= crowded(d.cfg.All) {
			return p
		}
	}
	return d.all.first()
}

// GiveWay closes the connection of a stranger that holds several requests, the
// oldest first, if there is one: so what is under way at this door can be bounded
// without a crowd of HTTP/2 streams shutting others out.
func (d *Door) GiveWay() {
	d.mu.Lock()
	var leaver *Place
	n := 0
	for e := d.all.strangers.Front(); e != nil && n < lookedAt; e = e.Next() {
		n++
		if p := e.Value.(*Place); p.busy.Load() > 1 {
			leaver = p
			leaver.leave()
			break
		}
	}
	d.mu.Unlock()
	if leaver != nil {
		_ = leaver.Conn.Close()
	}
}

// Watch makes a server tell this door what its connections do, beside whomever it
// tells already, and its handlers find their Place.
func (d *Door) Watch(s *http.Server) {
	state, ctx := s.ConnState, s.ConnContext
	s.ConnState = func(c net.Conn, to http.ConnState) {
		d.follow(c, to)
		if state != nil {
			state(c, to)
		}
	}
	s.ConnContext = func(base context.Context, c net.Conn) context.Context {
		if ctx != nil {
			base = ctx(base, c)
		}
		return d.context(base, c)
	}
}

func (d *Door) follow(c net.Conn, s http.ConnState) {
	p := placeOf(c)
	if p == nil || s != http.StateActive && s != http.StateIdle {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p.idle = s == http.StateIdle
	if p.idle || p.known {
		p.line() // a stranger's place in the line is where its last answer ended
	}
}

func (d *Door) context(ctx context.Context, c net.Conn) context.Context {
	if p := placeOf(c); p != nil {
		return context.WithValue(ctx, placeKey{}, p)
	}
	return ctx
}
