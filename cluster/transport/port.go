package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tandem/addrlimit"
	"tandem/ownership"
)

// Prefaces tell the protocols apart where there is no TLS, on loopback only. The
// dialling side writes one of them before anything else.
const (
	prefaceRaft   = "TANDEM-RAFT/2\n"
	prefacePeer   = "TANDEM-PEER/1\n"
	prefaceRegion = "TANDEM-REGION/1\n"
	maxPreface    = len(prefaceRegion)
)

// prefaces gives the protocol of each.
var prefaces = map[string]string{prefaceRaft: ALPNRaft, prefacePeer: ALPNPeer, prefaceRegion: ALPNRegion}

// Port is the one listening port of raft, the peer link and the regions' link. It counts a
// connection against its address, takes it through its handshake, and gives it
// to the protocol it chose.
type Port struct {
	ln        net.Listener
	creds     *Credentials // nil: plain, loopback only
	handshake time.Duration
	log       *slog.Logger
	lines     *rate.Limiter
	refused   func(why string)

	raft    func(net.Conn, ownership.NodeID) // node is empty on a plain port
	peer    *handedListener
	regions *handedListener

	open   openConns
	counts *addrlimit.Conns
	mu     sync.Mutex
	greets []*openConn // connections in their handshake, the oldest first
	wg     sync.WaitGroup
}

// maxGreets bounds the handshakes under way. The oldest gives way to a new one:
// an honest node is through in milliseconds, whoever only holds a place is not.
const maxGreets = 256

// A flood of refused connections must not fill the disk: so many of them are
// told at level warn in a second, the rest at debug. The metrics count all.
const (
	refusedLines = 5
	refusedBurst = 50
)

// PortConfig says what a port does with what comes in.
type PortConfig struct {
	Handshake     time.Duration // bound of one
	MaxConnsPerIP int           // connections of one address, or of one /64 of IPv6
	Logger        *slog.Logger
	Refused       func(why string)                 // counts what was refused
	Raft          func(net.Conn, ownership.NodeID) // takes the connections of raft; the node is empty without TLS
}

// NewPort returns the port of a listener; nil credentials: plain, on loopback only.
func NewPort(ln net.Listener, creds *Credentials, cfg PortConfig) *Port {
	return &Port{
		ln: ln, creds: creds, handshake: cfg.Handshake, log: cfg.Logger, refused: cfg.Refused, raft: cfg.Raft,
		peer: newHandedListener(ln.Addr()), regions: newHandedListener(ln.Addr()),
		open: openConns{creds: creds, use: x509.ExtKeyUsageClientAuth, told: func(err error) {
			cfg.Logger.Warn("a peer's certificate does not hold any more", "err", err)
		}},
		counts: addrlimit.NewConns(cfg.MaxConnsPerIP), lines: rate.NewLimiter(refusedLines, refusedBurst),
	}
}

// Serve accepts until the port is closed.
func (p *Port) Serve() {
	p.wg.Go(func() {
		var pause time.Duration
		for {
			conn, err := p.ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				// Out of file descriptors, most likely: others still need this loop.
				pause = min(max(2*pause, 5*time.Millisecond), time.Second)
				p.log.Error("accepting on the cluster port", "err", err, "pause", pause)
				time.Sleep(pause)
				continue
			}
			pause = 0
			if counted := p.admit(conn); counted != nil {
				p.wg.Go(func() { p.greet(counted) })
			}
		}
	})
}

// admit counts the connection, or closes it when its address has too many.
func (p *Port) admit(raw net.Conn) *openConn {
	from := addrlimit.Key(raw.RemoteAddr().String())
	c, oldest := p.count(raw, from)
	if oldest != nil {
		p.refused("too many handshakes")
		_ = oldest.Close() // its greet sees that and says so
	}
	return c
}

func (p *Port) count(raw net.Conn, from netip.Addr) (c, oldest *openConn) {
	if !p.counts.Enter(from) {
		_ = raw.Close()
		p.refused("too many connections")
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c = p.open.add(raw, func() { p.counts.Leave(from) }); c == nil {
		p.counts.Leave(from)
		return nil, nil
	}
	if len(p.greets) == maxGreets {
		oldest, p.greets = p.greets[0], p.greets[1:]
	}
	p.greets = append(p.greets, c)
	return c, oldest
}

// greeted ends the handshake of a connection, one way or the other.
func (p *Port) greeted(c *openConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.greets = slices.DeleteFunc(p.greets, func(g *openConn) bool { return g == c })
}

// greet takes one connection through its handshake and hands it on.
func (p *Port) greet(conn *openConn) {
	_ = conn.SetDeadline(time.Now().Add(p.handshake))
	out, proto, who, err := p.protocol(conn)
	p.greeted(conn)
	if err != nil {
		p.refused("handshake")
		level := slog.LevelDebug
		if p.lines.Allow() {
			level = slog.LevelWarn
		}
		p.log.Log(context.Background(), level, "refusing a connection on the cluster port", "from", conn.RemoteAddr().String(), "err", err)
		_ = conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	switch proto {
	case ALPNRaft1:
		p.raft(firstRaft{out}, who.Node)
	case ALPNRaft:
		p.raft(out, who.Node)
	case ALPNRegion:
		p.regions.hand(&farConn{out, who})
	default:
		p.peer.hand(out)
	}
}

// protocol takes a connection through its handshake; who is zero on a plain port.
func (p *Port) protocol(conn *openConn) (out net.Conn, proto string, who Identity, err error) {
	if p.creds == nil {
		proto, err = readPreface(conn)
		return conn, proto, Identity{}, err
	}
	tc := tls.Server(conn, p.creds.server())
	if err := tc.HandshakeContext(context.Background()); err != nil { // bounded by the deadline of conn
		return nil, "", Identity{}, err
	}
	s := tc.ConnectionState()
	who, err = p.creds.admit(s)
	if err != nil {
		return nil, "", Identity{}, err
	}
	if err := conn.settle(s.PeerCertificates); err != nil {
		return nil, "", Identity{}, err
	}
	return tc, s.NegotiatedProtocol, who, nil
}

// readPreface reads which protocol follows, byte by byte: the rest belongs to it.
func readPreface(r io.Reader) (proto string, err error) {
	buf := make([]byte, 0, maxPreface)
	var one [1]byte
	for len(buf) < cap(buf) {
		if _, err := io.ReadFull(r, one[:]); err != nil {
			return "", fmt.Errorf("reading the preface: %w", err)
		}
		buf = append(buf, one[0])
		if one[0] == '\n' {
			break
		}
	}
	proto, known := prefaces[string(buf)]
	if !known {
		return "", errors.New("reading the preface: it names none of the protocols spoken here")
	}
	return proto, nil
}

// PeerLink is the listener of the connections that speak the peer link.
func (p *Port) PeerLink() net.Listener { return p.peer }

// RegionLink is the listener of the connections of other regions' nodes.
func (p *Port) RegionLink() net.Listener { return p.regions }

// Vet closes the connections whose peers the authority in force does not vouch for, and
// returns why, one error for each.
func (p *Port) Vet() []error { return p.open.vet() }

// CloseAll closes the listener and every connection that came in through it.
func (p *Port) CloseAll() {
	_ = p.ln.Close()
	p.peer.close()
	p.regions.close()
	p.open.closeAll()
}

// Wait returns when the goroutines of the port have ended.
func (p *Port) Wait() { p.wg.Wait() }

// handedListener is a net.Listener of connections that the port accepted.
type handedListener struct {
	addr net.Addr
	ch   chan net.Conn
	done chan struct{}
	once sync.Once
}

func newHandedListener(addr net.Addr) *handedListener {
	return &handedListener{addr: addr, ch: make(chan net.Conn), done: make(chan struct{})}
}

func (l *handedListener) hand(c net.Conn) {
	select {
	case l.ch <- c:
	case <-l.done:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (l *handedListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ch:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *handedListener) Close() error { l.close(); return nil }

// Addr implements net.Listener.
func (l *handedListener) Addr() net.Addr { return l.addr }

func (l *handedListener) close() { l.once.Do(func() { close(l.done) }) }
