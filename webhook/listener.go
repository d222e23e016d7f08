package webhook

import (
	"net"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
)

// Listener caps the connections of a listener, so that they and their
// descriptors are bounded, and those of one address, so that nobody can hold
// them all and keep the cloud waiting.
//
// The cap on all is on accepting: more connections wait in the kernel's queue.
// Those beyond the cap of their address are closed at once, for in that queue
// they would stand before everybody else's. Behind something that hides the
// callers' addresses (Attempts.Shared) there is no cap of an address.
func (h *Handler) Listener(inner net.Listener, l Limits) net.Listener {
	l = l.withDefaults()
	all := netutil.LimitListener(inner, l.Connections)
	if h.cfg.Attempts.Shared {
		return all
	}
	return &fairListener{Listener: all, each: l.Each, crowded: h.count.crowded, open: map[netip.Addr]int{}}
}

// fairListener takes so many connections of each address (see sender).
type fairListener struct {
	net.Listener
	each    int
	crowded prometheus.Counter

	mu   sync.Mutex
	open map[netip.Addr]int
}

// Accept gives the next connection that is within the cap of its address.
func (l *fairListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := sender(c.RemoteAddr().String())
		if l.enter(from) {
			return &fairConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		l.crowded.Inc()
		_ = c.Close() // nothing was said on it
	}
}

func (l *fairListener) enter(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] >= l.each {
		return false
	}
	l.open[from]++
	return true
}

func (l *fairListener) leave(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from]--; l.open[from] <= 0 {
		delete(l.open, from)
	}
}

// fairConn gives its place back when it is closed.
type fairConn struct {
	net.Conn
	leave func()
}

// Close closes the connection. Its place is free before whoever waits for it in
// the kernel's queue is accepted.
func (c *fairConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
