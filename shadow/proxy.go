package shadow

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"tandem/graph"
)

// Upstream is one address that requests are passed on to.
type Upstream struct {
	Name string // of the instance behind it; empty: it says nothing about instances
	URL  *url.URL
}

// ReadUpstream reads [NAME=]URL.
func ReadUpstream(text string) (Upstream, error) {
	name, rest, named := strings.Cut(text, "=")
	if !named || strings.Contains(name, "://") {
		name, rest = "", text
	}
	u, err := url.Parse(rest)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return Upstream{}, fmt.Errorf("%.128q is no upstream: write [NAME=]http(s)://HOST[:PORT], without a path: paths are passed on as they come", rest)
	}
	if named && name != "" && (!graph.IsPlain(name) || len(name) > mostNameBytes) || named && name == "" && rest != text {
		return Upstream{}, fmt.Errorf("the name of the upstream %s is empty or no short plain text", u.Host)
	}
	return Upstream{Name: name, URL: u}, nil
}

// ProxyConfig says where requests go, and which of them are judged.
type ProxyConfig struct {
	Upstreams []Upstream  // several are taken in turns, as a balancer without affinity does
	TLS       *tls.Config // towards https upstreams; nil: the system's authorities
	Host      string      // Host header to send; empty: as it came
	Forwarded bool        // add the caller's address, host and scheme as X-Forwarded-…
	Path      string      // only requests whose path begins so are judged; empty: all
	Instance  Source
	Tokens    Tokens
	Home      Home         // nil: no rules are asked
	Log       *slog.Logger // nil: discard
	Now       func() time.Time
}

// Proxy passes requests on as they came. Close ends its judging.
type Proxy struct {
	cfg       ProxyConfig
	transport *http.Transport
	through   *httputil.ReverseProxy
	witness   *witness
	since     time.Time
	turn      atomic.Uint32
	stop      context.CancelFunc
	done      sync.WaitGroup

	requests, unreachable, hungUp atomic.Int64
	classes                       [6]atomic.Int64 // statuses by their first digit
	told                          atomic.Int64    // when an unreachable upstream was last told of, Unix seconds
}

// Waits of the proxy. It waits for a response as long as the caller does.
const (
	dialWithin = 10 * time.Second
	// keepIdle is shorter than what servers keep idle connections for (Node: 5 s), so that
	// no request is sent on a connection that is just being closed: a POST cannot be repeated.
	keepIdle = 4 * time.Second
	idleEach = 512 // connections kept to each upstream
)

// NewProxy makes a proxy and starts to judge what passes.
func NewProxy(c ProxyConfig) (*Proxy, error) {
	switch {
	case len(c.Upstreams) == 0:
		return nil, errors.New("the shadow has no upstream to pass requests on to")
	case c.Tokens == nil:
		return nil, errors.New("the shadow has nothing to verify tokens with")
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Proxy{cfg: c, witness: newWitness(c.Tokens, c.Home, c.Log, c.Now), since: c.Now()}
	p.transport = &http.Transport{
		DialContext:     (&net.Dialer{Timeout: dialWithin}).DialContext,
		TLSClientConfig: c.TLS, TLSHandshakeTimeout: dialWithin, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: idleEach, IdleConnTimeout: keepIdle,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // nothing is asked for that the caller did not ask for
	}
	p.through = &httputil.ReverseProxy{
		Rewrite: p.rewrite, Transport: p.transport, FlushInterval: -1, BufferPool: buffers{},
		ModifyResponse: p.answered, ErrorHandler: p.failed,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // it would tell of every caller that hangs up
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.done.Go(func() { p.witness.run(ctx) })
	return p, nil
}

// Close judges what still waits and ends. No request may be under way.
func (p *Proxy) Close() {
	p.stop()
	p.done.Wait()
	p.transport.CloseIdleConnections()
}

// Report says what was seen until now.
func (p *Proxy) Report() Report {
	r := p.witness.report()
	r.Since = p.since.UTC()
	t := &r.Traffic
	t.Requests, t.Unreachable, t.HungUp, t.Statuses = p.requests.Load(), p.unreachable.Load(), p.hungUp.Load(), map[string]int64{}
	for class := range p.classes {
		if n := p.classes[class].Load(); n > 0 {
			t.Statuses[fmt.Sprintf("%dxx", class)] = n
		}
	}
	return r
}

// passage is one request on its way.
type passage struct {
	upstream Upstream
	w        http.ResponseWriter
	began    time.Time
	header   http.Header // nil: it is not judged
	tap      *tap        // nil: it has no body
}

type passageKey struct{}

func passageOf(ctx context.Context) *passage { return ctx.Value(passageKey{}).(*passage) }

// ServeHTTP passes one request on.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.requests.Add(1)
	if r.Method == http.MethodConnect {
		http.Error(w, "tandem shadow stands in front of a server and opens no tunnels", http.StatusMethodNotAllowed)
		return
	}
	at := &passage{w: w, began: p.cfg.Now(), upstream: p.cfg.Upstreams[0]}
	if n := uint32(len(p.cfg.Upstreams)); n > 1 {
		at.upstream = p.cfg.Upstreams[(p.turn.Add(1)-1)%n]
	}
	r = r.WithContext(context.WithValue(r.Context(), passageKey{}, at))
	p.watch(at, r)
	p.through.ServeHTTP(w, r)
}

// judged are the headers that the witness needs.
var judged = []string{
	"Authorization", "Authentication", graph.HeaderMessage, graph.HeaderRequest, "Scenario-Id", "X-Microsoft-Skype-Chain-Id", "X-Microsoft-Skype-Caller-Region",
}

// watch begins to copy a request that may carry notifications.
func (p *Proxy) watch(at *passage, r *http.Request) {
	defer p.witness.recover("looking at a request")
	if r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, p.cfg.Path) {
		return
	}
	at.header = http.Header{}
	for _, name := range judged {
		if v, ok := r.Header[name]; ok {
			at.header[name] = v
		}
	}
	if r.Body != nil && r.Body != http.NoBody {
		at.tap = &tap{ReadCloser: r.Body, held: &p.witness.held, size: r.ContentLength}
		r.Body = at.tap
	}
}

// rewrite undoes what ReverseProxy changes: the request goes on as it came, but for the
// hop-by-hop headers, which every proxy ends (RFC 9110 7.6.1).
func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	to := passageOf(r.In.Context()).upstream.URL
	r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.RawQuery = to.Scheme, to.Host, r.In.URL.RawQuery
	if path, _, _ := strings.Cut(r.In.RequestURI, "?"); strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		r.Out.URL.Opaque = path // as it was spelled; net/url spells what begins with // by its own rules
	}
	if p.cfg.Host != "" {
		r.Out.Host = p.cfg.Host
	}
	r.Out.Trailer = r.In.Trailer // the same map: the values come with the end of the body
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := r.In.Header[name]; ok && !httpguts.HeaderValuesContainsToken(r.In.Header["Connection"], name) {
			r.Out.Header[name] = v
		}
	}
	if p.cfg.Forwarded {
		r.SetXForwarded()
	}
}

// answered is told of the header of a response, before it is passed on.
func (p *Proxy) answered(resp *http.Response) error {
	at := passageOf(resp.Request.Context())
	for _, name := range []string{"Content-Type", "Date"} { // which net/http would add
		if _, ok := resp.Header[name]; !ok {
			at.w.Header()[name] = nil
		}
	}
	if class := resp.StatusCode / 100; class < len(p.classes) {
		p.classes[class].Add(1)
	}
	p.tell(at, resp)
	return nil
}

// tell gives the witness what it needs; it never waits, and never fails the request.
func (p *Proxy) tell(at *passage, resp *http.Response) {
	defer p.witness.recover("looking at a response")
	if at.header == nil {
		return
	}
	c := copied{began: at.began, over: p.cfg.Now(), header: at.header, whole: true}
	over := fits
	if at.tap != nil {
		c.body, c.whole, over = at.tap.take()
	}
	if resp != nil {
		c.status, c.instance = resp.StatusCode, p.cfg.Instance.of(at.upstream.Name, resp)
	}
	if c.tooLong = over == tooLong; over == noRoom {
		p.witness.drop(c)
		return
	}
	p.witness.tell(c)
}

// failed answers for an upstream that gave no response.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	at := passageOf(r.Context())
	at.readUnread()
	p.tell(at, nil)
	if r.Context().Err() != nil {
		p.hungUp.Add(1)
		panic(http.ErrAbortHandler) // nobody is there to answer
	}
	p.unreachable.Add(1)
	if now, before := p.cfg.Now().Unix(), p.told.Load(); now > before && p.told.CompareAndSwap(before, now) {
		p.cfg.Log.Error("an upstream gave no response; said once a second at most", "upstream", at.upstream.URL.Host, "err", err)
	}
	http.Error(w, "tandem shadow: the upstream "+at.upstream.URL.Host+" gave no response", http.StatusBadGateway)
}

// unreadWithin bounds the wait for a body that nobody wants but the witness.
const unreadWithin = time.Second

// readUnread reads the body for an upstream that could not be reached: else nothing would be
// known of the calls that an instance leaves behind when it dies.
func (at *passage) readUnread() {
	if at.tap == nil || at.tap.begun.Load() {
		return
	}
	control := http.NewResponseController(at.w)
	if control.SetReadDeadline(time.Now().Add(unreadWithin)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, at.tap, mostBody+1) // what is there is judged
	_ = control.SetReadDeadline(time.Time{})        // the connection may serve another request
}

// buffers are those that bodies are copied through.
type buffers struct{}

var pool = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func (buffers) Get() []byte  { return *pool.Get().(*[]byte) }
func (buffers) Put(b []byte) { pool.Put(&b) }
