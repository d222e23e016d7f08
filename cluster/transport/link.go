package transport

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// Headers by which a node says who speaks. Under TLS the certificate must say
// the same; on a plain loopback port they are all there is.
const (
	headerDeployment = "Tandem-Deployment"
	headerRegion     = "Tandem-Region"
	headerNode       = "Tandem-Node"
)

// HeaderOperator names the operator in whose name a peer asks, in the escapes of a
// URL's query.
const HeaderOperator = "Tandem-Operator"

// maxMessage bounds one message of the peer link, in bytes: a hand-over carries a body
// of 1 MiB and its headers.
const maxMessage = 8 << 20

// Keep-alive of a peer connection: a peer whose machine vanished is found out
// before its lease is over.
const (
	pingAfter = time.Second
	pingLimit = time.Second
	idleLimit = 2 * time.Minute
)

// Peer is this node's end of the peer link to one other node. Errors of its
// procedures are what the other node said, or ownership.ErrUnreachable; those of streams
// are to be read with Said.
type Peer struct {
	peerpb.PeerClient
	Sign atomic.Pointer[Sign] // the last one of life

	// Via sends what this node asks of that one, in this node's name.
	Via *http.Client

	node ownership.NodeID // empty: whoever answers at addr
	addr string
	http *http.Transport
}

// Sign is a peer's last sign of life: that its process was there, and what its clock
// said. No clocks are compared: whoever read the clock here at the time At knows that
// it shows no less than Clock and the time since then.
type Sign struct {
	At      time.Time
	Process string
	Clock   int64 // nanoseconds; 0: it does not tell
}

// Links keeps one peer per node, so that connections are reused.
type Links struct {
	Dialer *Dialer
	Self   Identity // whose name goes with every request

	mu  sync.Mutex
	all map[linkKey]*Peer
}

type linkKey struct {
	node ownership.NodeID
	addr string
}

// NewLinks returns links that the dialer opens and that speak as self.
func NewLinks(d *Dialer, self Identity) *Links {
	return &Links{Dialer: d, Self: self, all: make(map[linkKey]*Peer)}
}

// To returns the peer link to the node at addr. A node that has moved gets a new
// link; the old one is closed. An empty node takes whoever of the region answers
// there; that link is not kept, nor is its connection: a caller may name any
// address.
func (l *Links) To(node ownership.NodeID, addr string) *Peer {
	if node == "" {
		p := l.make(node, addr)
		p.http.DisableKeepAlives = true
		return p
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := linkKey{node, addr}
	if p, ok := l.all[key]; ok {
		return p
	}
	for k, p := range l.all {
		if k.node == node {
			p.http.CloseIdleConnections()
			delete(l.all, k)
		}
	}
	p := l.make(node, addr)
	l.all[key] = p
	return p
}

func (l *Links) make(node ownership.NodeID, addr string) *Peer {
	scheme := "https://"
	protocols := new(http.Protocols)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return l.Dialer.Dial(ctx, addr, false, node)
	}
	tr := &http.Transport{
		Protocols: protocols, IdleConnTimeout: idleLimit, DisableCompression: true,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingLimit, WriteByteTimeout: pingAfter + pingLimit},
	}
	if l.Dialer.creds == nil {
		scheme = "http://"
		protocols.SetUnencryptedHTTP2(true)
		tr.DialContext = dial
	} else {
		protocols.SetHTTP2(true)
		tr.DialTLSContext = dial
	}
	p := &Peer{node: node, addr: addr, http: tr, Via: &http.Client{
		Transport:     &speaking{self: l.Self, next: tr},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	p.PeerClient = peerpb.NewPeerClient(p.Via, scheme+addr,
		connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage), connect.WithInterceptors(p.reading()))
	return p
}

// Len counts the peers that are kept.
func (l *Links) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// Close drops the idle connections; the dialer closes the busy ones.
func (l *Links) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.all {
		p.http.CloseIdleConnections()
	}
}

// name is how error texts call the peer.
func (p *Peer) name() string {
	if p.node == "" {
		return "at " + p.addr
	}
	return string(p.node)
}

// Said reads an error of a call: what the other node said, or ownership.ErrUnreachable
// when it said nothing in time.
func (p *Peer) Said(err error) error { return fromConnect(p.name(), err) }

// diedUnused is what net/http says to the next request after a connection, which it had opened
// for one that left meanwhile, died before it was used (errClientConnNotEstablished in
// h2_bundle.go of Go 1.26, which has no name outside). Nothing of the request was sent, and the
// connection is forgotten.
const diedUnused = "http2: client conn could not be established"

// reading reads the error of each call. What an earlier caller's connection came to is no
// answer to this one, so it is sent over another.
func (p *Peer) reading() connect.UnaryInterceptorFunc {
	return func(call connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			res, err := call(ctx, req)
			if err != nil && strings.HasSuffix(err.Error(), diedUnused) {
				res, err = call(ctx, req)
			}
			if err != nil {
				return nil, p.Said(err)
			}
			return res, nil
		}
	}
}

// speaking puts the speaker's name on every request, and sends each once.
type speaking struct {
	self Identity
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (s *speaking) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	// A request whose connection goes away is its caller's to send again. net/http, which
	// would rewind the body, looks at it while the old stream may still read it.
	r.GetBody = nil
	r.Header.Set(headerDeployment, s.self.Deployment)
	r.Header.Set(headerRegion, string(s.self.Region))
	r.Header.Set(headerNode, string(s.self.Node))
	if by := ownership.Operator(r.Context()); by != "" {
		r.Header.Set(HeaderOperator, url.QueryEscape(by))
	}
	return s.next.RoundTrip(r)
}
