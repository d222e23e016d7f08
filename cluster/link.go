package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
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

// Keep-alive of a peer connection: a peer whose machine vanished is found out
// before its lease is over.
const (
	pingAfter = time.Second
	pingLimit = time.Second
	idleLimit = 2 * time.Minute
)

// peer is this node's end of the peer link to one other node. Errors of its
// procedures are what the other node said, or ErrUnreachable; those of streams are to
// be read with fromConnect.
type peer struct {
	peerpb.PeerClient
	node ownership.NodeID // empty: whoever answers at addr
	addr string
	http *http.Transport
	sign atomic.Pointer[sign] // the last one of life
}

// links keeps one peer per node, so that connections are reused.
type links struct {
	d    *dialer
	self identity

	mu  sync.Mutex
	all map[linkKey]*peer
}

type linkKey struct {
	node ownership.NodeID
	addr string
}

func newLinks(d *dialer, self identity) *links {
	return &links{d: d, self: self, all: make(map[linkKey]*peer)}
}

// to gives the peer link to the node at addr. A node that has moved gets a new
// link; the old one is closed. An empty node takes whoever of the region answers
// there; that link is not kept, nor is its connection: a caller may name any
// address.
func (l *links) to(node ownership.NodeID, addr string) *peer {
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

func (l *links) make(node ownership.NodeID, addr string) *peer {
	scheme := "https://"
	protocols := new(http.Protocols)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return l.d.dial(ctx, addr, false, node)
	}
	tr := &http.Transport{
		Protocols: protocols, IdleConnTimeout: idleLimit, DisableCompression: true,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingLimit, WriteByteTimeout: pingAfter + pingLimit},
	}
	if l.d.creds == nil {
		scheme = "http://"
		protocols.SetUnencryptedHTTP2(true)
		tr.DialContext = dial
	} else {
		protocols.SetHTTP2(true)
		tr.DialTLSContext = dial
	}
	client := &http.Client{
		Transport:     &speaking{self: l.self, next: tr},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	p := &peer{node: node, addr: addr, http: tr}
	p.PeerClient = peerpb.NewPeerClient(client, scheme+addr,
		connect.WithReadMaxBytes(maxPeerMessage), connect.WithSendMaxBytes(maxPeerMessage), connect.WithInterceptors(p.reading()))
	return p
}

// close drops the idle connections; the dialer closes the busy ones.
func (l *links) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.all {
		p.http.CloseIdleConnections()
	}
}

// name is how error texts call the peer.
func (p *peer) name() string {
	if p.node == "" {
		return "at " + p.addr
	}
	return string(p.node)
}

// reading reads the error of each call.
func (p *peer) reading() connect.UnaryInterceptorFunc {
	return func(call connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			res, err := call(ctx, req)
			if err != nil {
				return nil, fromConnect(p.name(), err)
			}
			return res, nil
		}
	}
}

// speaking puts the speaker's name on every request, and sends each once.
type speaking struct {
	self identity
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (s *speaking) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	// A request whose connection goes away is its caller's to send again. net/http, which
	// would rewind the body, looks at it while the old stream may still read it.
	r.GetBody = nil
	r.Header.Set(headerDeployment, s.self.deployment)
	r.Header.Set(headerRegion, string(s.self.region))
	r.Header.Set(headerNode, string(s.self.node))
	if by := ownership.Operator(r.Context()); by != "" {
		r.Header.Set(headerOperator, url.QueryEscape(by))
	}
	return s.next.RoundTrip(r)
}

type speakerKey struct{}

// speakerOf gives the node that sent the request being handled.
func speakerOf(ctx context.Context) ownership.NodeID {
	id, _ := ctx.Value(speakerKey{}).(ownership.NodeID)
	return id
}

// heldAgainst lets a request through when its speaker is of this deployment and
// region and, under TLS, is the one whom the certificate names.
func heldAgainst(creds *credentials, self identity, refused func(string), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := identity{r.Header.Get(headerDeployment), ownership.Region(r.Header.Get(headerRegion)), ownership.NodeID(r.Header.Get(headerNode))}
		if err := speakerAllowed(creds, self, said, r.TLS); err != nil {
			refused("speaks for another node")
			_ = connect.NewErrorWriter().Write(w, r, toConnect(err))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), speakerKey{}, said.node)))
	})
}

func speakerAllowed(creds *credentials, self, said identity, state *tls.ConnectionState) error {
	if said.deployment != self.deployment || said.region != self.region {
		return &peerError{text: "taking a peer's request: it comes from " + said.URI().String() + ", this is " + self.URI().String() + ": a node of another deployment or region is not let in", kind: ownership.ErrForeign}
	}
	if said.node == "" {
		return errors.New("taking a peer's request: it does not say which node speaks")
	}
	if creds == nil {
		return nil
	}
	if state == nil {
		return errors.New("taking a peer's request: it did not come over TLS")
	}
	_, err := creds.check(*state, said.node)
	return err
}
