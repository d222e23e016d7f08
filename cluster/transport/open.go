package transport

import (
	"crypto/x509"
	"fmt"
	"net"
	"sync"
	"time"
)

// vetEvery is how often the peers of open connections are vetted anew: a
// certificate may have run out, or the clock may have been set.
const vetEvery = time.Minute

// openConns are the open connections of a port or a dialer: they can be closed
// all at once, and those whose peer's certificate no longer holds are closed.
type openConns struct {
	creds *Credentials     // nil: plain, loopback only
	use   x509.ExtKeyUsage // what the certificates of the peers must be good for
	told  func(error)      // of each connection that was closed in passing; may be nil

	mu      sync.Mutex
	all     map[*openConn]struct{}
	watched bool // a vetting is due
	closed  bool
}

// openConn is one of them.
type openConn struct {
	countedConn
	set   *openConns
	shown []*x509.Certificate // by the peer; nil until the handshake is over; under set.mu
}

// add takes a new connection in, unless all were closed: nil, and it is closed
// too. left is told when it is closed, and may be nil.
func (o *openConns) add(raw net.Conn, left func()) *openConn {
	c := &openConn{set: o}
	c.Conn, c.gone = raw, func() {
		o.mu.Lock()
		delete(o.all, c)
		o.mu.Unlock()
		if left != nil {
			left()
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		_ = raw.Close()
		return nil
	}
	if o.all == nil {
		o.all = make(map[*openConn]struct{})
	}
	if o.creds != nil && !o.watched {
		o.watched = true
		o.later()
	}
	o.all[c] = struct{}{}
	return c
}

// settle ends the handshake of a connection: from here on it lives only as long
// as the authority in force vouches for what the peer has shown. The handshake
// has checked that; the authority may have changed since it began.
func (c *openConn) settle(shown []*x509.Certificate) error {
	c.set.mu.Lock()
	c.shown = shown
	c.set.mu.Unlock()
	return c.set.creds.vouch(shown, c.set.use)
}

// vet closes the connections whose peers the authority in force does not vouch
// for at this time, and says why.
func (o *openConns) vet() []error {
	var cut []error
	for c, shown := range o.settled() {
		if err := o.creds.vouch(shown, o.use); err != nil {
			cut = append(cut, fmt.Errorf("closing the connection with %s: %w", c.RemoteAddr(), err))
			_ = c.Close()
		}
	}
	return cut
}

func (o *openConns) settled() map[*openConn][]*x509.Certificate {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make(map[*openConn][]*x509.Certificate, len(o.all))
	for c := range o.all {
		if c.shown != nil {
			out[c] = c.shown
		}
	}
	return out
}

func (o *openConns) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all)
}

// later vets in a while, and again for as long as a connection is open.
func (o *openConns) later() {
	time.AfterFunc(vetEvery, func() {
		for _, err := range o.vet() {
			if o.told != nil {
				o.told(err)
			}
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.watched = len(o.all) > 0; o.watched {
			o.later()
		}
	})
}

// closeAll closes every connection and lets none be opened any more.
func (o *openConns) closeAll() {
	o.mu.Lock()
	o.closed = true
	open := make([]*openConn, 0, len(o.all))
	for c := range o.all {
		open = append(open, c)
	}
	o.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// countedConn tells once when it is closed.
type countedConn struct {
	net.Conn
	once sync.Once
	gone func()
}

func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.gone)
	return err
}
