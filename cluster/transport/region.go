package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/ownership"
)

// The regions' link carries letters, each a request of HTTP/2 of its own: target, headers
// and body are the cloud's, the answer is that of the door which takes it. Besides it
// carries two questions: whether somebody is there, and which calls are known there.
const (
	pathLetter = "/letter"
	pathSign   = "/sign"
	pathKnown  = "/known"
)

// Headers of the link itself. A letter's own names may not begin like these.
const (
	headerClock = "Tandem-Clock"     // of an answer: which process gives it, and what its clock shows
	headerUntil = "Tandem-Until"     // of a letter: by that clock, when its sender gives it up
	headerTaken = "Tandem-Not-Taken" // of an answer: nothing was done with the letter
)

const (
	maxLetter     = 1 << 20 // bytes of a body, and of an answer
	maxLetterHead = 192 << 10
	// maxAsked bounds the calls of one question.
	maxAsked = 1000
)

// A node far away is asked for a sign of life before a letter, unless it has just given
// one: what it surely did not take may still go to another.
const (
	farSignLasts = 5 * time.Second
	farSignLimit = time.Second
)

// farConn is a connection with a node of another region, plain to net/http: it speaks
// HTTP/2 on it by prior knowledge, for the name of the protocol is the link's own.
type farConn struct {
	net.Conn
	who Identity // zero without TLS
}

// admit returns who is at the other end of a connection that came in: a node of this
// region or, on the regions' link and nowhere else, of another one.
func (c *Credentials) admit(s tls.ConnectionState) (Identity, error) {
	if s.NegotiatedProtocol == ALPNRegion {
		return c.checkFar(s, Identity{})
	}
	return c.check(s, "")
}

// checkFar returns the identity of a verified connection with another region of this
// deployment, refusing any but want unless that is zero.
func (c *Credentials) checkFar(s tls.ConnectionState, want Identity) (Identity, error) {
	if len(s.PeerCertificates) == 0 {
		return Identity{}, errors.New("checking a peer: it shows no certificate")
	}
	id, err := identityOf(s.PeerCertificates[0])
	switch {
	case err != nil:
		return Identity{}, err
	case id.Deployment != c.self.Deployment || id.Region == c.self.Region:
		return Identity{}, fmt.Errorf("checking a peer: its certificate names %s, which is no other region of this deployment: %w", id.URI(), ownership.ErrForeign)
	case want != Identity{} && id != want:
		return Identity{}, fmt.Errorf("checking a peer: its certificate names %s, not %s", id.URI(), want.URI())
	}
	return id, nil
}

// DialRegion connects to addr, where the node want of another region is expected.
func (d *Dialer) DialRegion(ctx context.Context, addr string, want Identity) (net.Conn, error) {
	conn, err := d.connect(ctx, addr, prefaceRegion, "", func() *tls.Config {
		return d.creds.client([]string{ALPNRegion}, func(s tls.ConnectionState) error {
			_, err := d.creds.checkFar(s, want)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return &farConn{conn, want}, nil
}

// RegionLinks keeps one link for each node of the other regions, so that connections are
// reused.
type RegionLinks struct {
	dialer *Dialer
	self   Identity

	mu  sync.Mutex
	all map[Identity]*Far
}

// maxFar bounds the links that are kept.
const maxFar = 256

// NewRegionLinks returns links that the dialer opens and that speak as self.
func NewRegionLinks(d *Dialer, self Identity) *RegionLinks {
	return &RegionLinks{dialer: d, self: self, all: make(map[Identity]*Far)}
}

// To returns the link to a node of another region at its cluster address.
func (l *RegionLinks) To(region ownership.Region, node ownership.NodeID, addr string) *Far {
	who := Identity{l.self.Deployment, region, node}
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.all[who]
	if ok && f.addr == addr {
		return f
	}
	for k, old := range l.all {
		if k == who || len(l.all) >= maxFar {
			old.http.CloseIdleConnections()
			delete(l.all, k)
		}
	}
	f = l.make(who, addr)
	l.all[who] = f
	return f
}

func (l *RegionLinks) make(who Identity, addr string) *Far {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{
		Protocols: protocols, IdleConnTimeout: idleLimit, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 2 * pingAfter, PingTimeout: 2 * pingLimit, WriteByteTimeout: 2 * (pingAfter + pingLimit)},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return l.dialer.DialRegion(ctx, addr, who)
		},
	}
	return &Far{who: who, addr: addr, http: tr, via: &http.Client{
		Transport:     &speaking{self: l.self, next: tr},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close drops the idle connections; the dialer closes the busy ones.
func (l *RegionLinks) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.all {
		f.http.CloseIdleConnections()
	}
}

// Far is this node's end of the link to one node of another region.
type Far struct {
	who  Identity
	addr string
	http *http.Transport
	via  *http.Client
	sign atomic.Pointer[Sign]
}

// Send hands a letter over and gives the answer of the door there. What comes there after
// ctx's deadline, by the clock of the one that takes it, is not taken any more. The error
// is ownership.ErrNotTaken when nothing was done with the letter, else ownership.ErrUnreachable: then
// it may have been.
func (f *Far) Send(ctx context.Context, l ownership.Letter) (ownership.Reply, error) {
	var why error
	for range 2 { // another process may be there than the one that gave the sign
		s, err := f.alive(ctx)
		if err != nil {
			return ownership.Reply{}, fmt.Errorf("sending to %s: %w: %w", f.who.URI(), ownership.ErrNotTaken, err)
		}
		header := http.Header(l.Header).Clone()
		if until, ok := ctx.Deadline(); ok {
			header.Set(headerUntil, s.Process+"."+strconv.FormatInt(s.Clock+int64(until.Sub(s.At)), 10))
		}
		reply, taken, err := f.post(ctx, pathLetter+l.Target, header, l.Body)
		if err != nil {
			f.sign.Store(nil) // the next one asks first
			return ownership.Reply{}, fmt.Errorf("sending to %s: %w: %w", f.who.URI(), ownership.ErrUnreachable, err)
		}
		if taken {
			return reply, nil
		}
		f.sign.Store(nil)
		why = errors.New(string(reply.Body))
	}
	return ownership.Reply{}, fmt.Errorf("sending to %s: %w: %w", f.who.URI(), ownership.ErrNotTaken, why)
}

// Known returns those of the calls that the node's region knows, ended ones too.
func (f *Far) Known(ctx context.Context, calls []ownership.CallID) ([]ownership.CallID, error) {
	if _, err := f.alive(ctx); err != nil {
		return nil, fmt.Errorf("asking %s: %w: %w", f.who.URI(), ownership.ErrUnreachable, err)
	}
	reply, taken, err := f.post(ctx, pathKnown, http.Header{}, writeCalls(calls))
	if err == nil && (!taken || reply.Status != http.StatusOK) {
		err = fmt.Errorf("it answers %d: %.200q", reply.Status, reply.Body)
	}
	var known []ownership.CallID
	if err == nil {
		known, err = readCalls(reply.Body)
	}
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w: %w", f.who.URI(), ownership.ErrUnreachable, err)
	}
	return known, nil
}

// alive returns a sign of life of the node, a new one where the last is old.
func (f *Far) alive(ctx context.Context) (*Sign, error) {
	if s := f.sign.Load(); s != nil && time.Since(s.At) < farSignLasts {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, farSignLimit)
	defer cancel()
	if _, _, err := f.post(ctx, pathSign, http.Header{}, nil); err != nil {
		return nil, err
	}
	if s := f.sign.Load(); s != nil {
		return s, nil
	}
	return nil, errors.New("it gives no sign of life that can be read")
}

// post sends one request, and keeps the sign of life in its answer.
func (f *Far) post(ctx context.Context, target string, header http.Header, body []byte) (reply ownership.Reply, taken bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.addr+target, bytes.NewReader(body))
	if err != nil {
		return reply, false, err
	}
	req.Header = header
	res, err := f.via.Do(req)
	if err != nil {
		return reply, false, bare(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxLetter+1))
	if err == nil && len(text) > maxLetter {
		err = fmt.Errorf("the answer is longer than %d bytes", maxLetter)
	}
	if err != nil {
		return reply, false, err
	}
	if process, clock, ok := readClock(res.Header.Get(headerClock)); ok {
		f.sign.Store(&Sign{At: time.Now(), Process: process, Clock: clock})
	}
	taken = res.Header.Get(headerTaken) == ""
	for _, own := range []string{headerClock, headerTaken} {
		res.Header.Del(own)
	}
	return ownership.Reply{Status: res.StatusCode, Header: res.Header, Body: text}, taken, nil
}

// bare takes the address off an error of net/http: a letter's target is signed, and a
// signature is for no log.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// readClock reads process.nanoseconds.
func readClock(s string) (process string, clock int64, ok bool) {
	process, number, ok := strings.Cut(s, ".")
	if !ok || process == "" {
		return "", 0, false
	}
	clock, err := strconv.ParseInt(number, 10, 64)
	return process, clock, err == nil && clock > 0
}

// writeCalls writes call ids, one a line.
func writeCalls(calls []ownership.CallID) []byte {
	var b bytes.Buffer
	for _, c := range calls {
		b.WriteString(string(c))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// readCalls reads what writeCalls wrote.
func readCalls(text []byte) ([]ownership.CallID, error) {
	var calls []ownership.CallID
	for line := range strings.Lines(string(text)) {
		id, whole := strings.CutSuffix(line, "\n")
		if !whole || id == "" || len(id) > ownership.MaxCallIDLen || len(calls) == maxAsked {
			return nil, fmt.Errorf("reading a list of calls: line %d is none", len(calls)+1)
		}
		calls = append(calls, ownership.CallID(id))
	}
	return calls, nil
}
