package doorway

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"

	"tandem/addrlimit"
)

func within(all []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Caller returns the address, as addrlimit.Key would, of whoever sent a request through any
// number of trusted proxies: of what they wrote into X-Forwarded-For the last
// address that is not one of theirs, for what stands before it is the caller's own
// word. Those of whom no proxy tells count together.
func Caller(r *http.Request, trusted []netip.Prefix) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	if addr := addrlimit.Plain(ap.Addr()); !within(trusted, addr) {
		return addrlimit.Of(addr)
	}
	for _, line := range slices.Backward(r.Header["X-Forwarded-For"]) {
		for rest := line; rest != ""; {
			at := strings.LastIndexByte(rest, ',')
			word := strings.TrimSpace(rest[at+1:])
			rest = rest[:max(at, 0)]
			named, ok := forwarded(word)
			if !ok {
				return netip.Addr{} // a proxy that hides its callers, or says nonsense
			}
			if !within(trusted, named) {
				return addrlimit.Of(named)
			}
		}
	}
	return netip.Addr{}
}

// forwarded reads one address of X-Forwarded-For. Some proxies (Azure's Application
// Gateway) add the port.
func forwarded(word string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
		return addrlimit.Plain(a), true
	}
	ap, err := netip.ParseAddrPort(word)
	return addrlimit.Plain(ap.Addr()), err == nil
}

// Limits of the PROXY protocol.
const (
	introduceIn   = 5 * time.Second // for the first line of a connection
	introductable = 256             // connections at a time that have yet to send it
)

// introductions takes connections of proxies that say first whose they are. Each is
// read beside the others: one that says nothing holds nobody up.
type introductions struct {
	ready chan net.Conn
	over  context.Context // ends with the listener
	err   error           // why it ended
	all   sync.WaitGroup
}

func introduce(inner net.Listener, trusted func(netip.Addr) bool) *introductions {
	over, end := context.WithCancel(context.Background())
	in := &introductions{ready: make(chan net.Conn), over: over}
	in.all.Go(func() {
		defer end()
		places := make(chan struct{}, introductable)
		for {
			c, err := inner.Accept()
			if err != nil {
				in.err = err
				return
			}
			select {
			case places <- struct{}{}:
			default:
				_ = c.Close()
				continue
			}
			in.all.Go(func() {
				defer func() { <-places }()
				in.hear(c, trusted)
			})
		}
	})
	return in
}

// hear reads the introduction of a connection where one is due.
func (in *introductions) hear(raw net.Conn, trusted func(netip.Addr) bool) {
	c := raw
	defer context.AfterFunc(in.over, func() { _ = raw.Close() })()
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil && trusted(addrlimit.Plain(ap.Addr())) {
		said := proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(introduceIn))
		if said.ProxyHeader() == nil {
			_ = said.Close()
			return
		}
		c = said
	}
	select {
	case in.ready <- c:
	case <-in.over.Done():
		_ = c.Close()
	}
}

func (in *introductions) accept() (net.Conn, error) {
	select {
	case c := <-in.ready:
		return c, nil
	case <-in.over.Done():
		return nil, in.err
	}
}
