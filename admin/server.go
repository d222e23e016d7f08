package admin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"tandem/admin/console"
)

// Caps of the listener: connections at a time in all, and from one address.
const (
	DefaultConnections        = 512
	DefaultConnectionsAddress = 128
)

// NewServer gives an http.Server with the door's limits: 32 KiB of headers
// within 5 s, 30 s for the rest of a request and for its answer (streams and
// snapshots extend their own), 60 s idle. Its Shutdown ends the event streams.
func NewServer(d *Door) *http.Server {
	s := &http.Server{
		Handler:           d,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    32 << 10,
	}
	s.RegisterOnShutdown(d.Close)
	return s
}

// outer is what every request passes first: the headers that browsers heed, a
// bound on the body, and a refusal of requests that another site's page made a
// browser send.
func (d *Door) outer(inner http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusForbidden, "Another site's page sent this request.")
	}))
	checked := cross.Handler(sameSite(inner))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if strings.ContainsRune(r.URL.Path, 0) {
			writeProblem(w, http.StatusBadRequest, "The path holds a NUL.")
			return
		}
		if r.URL.Path != "/v1/snapshot" {
			// On a copy: the server looks at the body of its own request to see
			// whether it was read to the end. If it found a wrapped one there, it
			// would take what is left of a refused body for the next request.
			bounded := *r
			bounded.Body = http.MaxBytesReader(w, r.Body, d.cfg.BodyLimit)
			r = &bounded
		}
		checked.ServeHTTP(w, r)
	})
}

// sameSite refuses reads, too, that a page of another site made a browser send:
// such a page cannot see the answer, but a snapshot or a profile costs. Links to
// the console's pages are no harm.
func sameSite(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		stranger := site == "cross-site" || site == "same-site"
		if origin := r.Header.Get("Origin"); site == "" && origin != "" {
			u, err := url.Parse(origin)
			stranger = err != nil || u.Host != r.Host
		}
		link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && (r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, console.Root))
		if stranger && !link {
			writeProblem(w, http.StatusForbidden, "Another site's page sent this request.")
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// CapListener closes connections beyond all at a time, and beyond each from one
// address, at once; 0 means the defaults. It keeps a crowd of idle connections
// from using up the process's file descriptors.
func CapListener(l net.Listener, all, each int) net.Listener {
	return &capListener{
		Listener: l, all: orElse(all, DefaultConnections), each: orElse(each, DefaultConnectionsAddress),
		open: map[netip.Addr]int{},
	}
}

type capListener struct {
	net.Listener
	all, each int

	mu    sync.Mutex
	total int
	open  map[netip.Addr]int
}

// Accept gives the next connection that is within the caps.
func (l *capListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := callerAddr(c.RemoteAddr().String())
		if l.take(addr) {
			return &cappedConn{Conn: c, leave: func() { l.give(addr) }}, nil
		}
		_ = c.Close() // it is turned away: there is nobody to tell
	}
}

func (l *capListener) take(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.all || l.open[a] >= l.each {
		return false
	}
	l.total++
	l.open[a]++
	return true
}

func (l *capListener) give(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.open[a]--; l.open[a] == 0 {
		delete(l.open, a)
	}
}

type cappedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close gives the connection's place back, once.
func (c *cappedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}
