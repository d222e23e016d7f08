package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"tandem/ownership"
	"tandem/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ourApp    = "0efc74f7-41c3-47a4-8775-7259bfef4241"
	mediaApp  = "1efc74f7-41c3-47a4-8775-7259bfef4242" // app-hosted: its calls are pinned
	ourTenant = "6e1fc0e1-a55f-4277-89f4-aae9486d40a8"
	badTenant = "7e1fc0e1-a55f-4277-89f4-aae9486d40a9"
	hookPath  = "/api/calls"
)

var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// keyServer plays the cloud's key endpoint without a network.
type keyServer struct{}

func (keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	doc := any(map[string]any{"issuer": "https://api.botframework.com", "jwks_uri": "https://keys.example/keys"})
	if r.URL.Path == "/keys" {
		k := signingKey()
		b64 := base64.RawURLEncoding.EncodeToString
		doc = map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "kid": "k1", "use": "sig", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes()),
		}}}
	}
	if err := json.NewEncoder(w).Encode(doc); err != nil {
		return nil, err
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// newVerifier gives the real verifier, with its keys loaded.
func newVerifier(t testing.TB) *token.Verifier {
	t.Helper()
	v, err := token.New(context.Background(), token.Config{
		Profiles: []token.Profile{{
			Name: "public", OpenIDURL: []string{"https://keys.example/meta"}, Issuers: []string{"https://api.botframework.com"},
		}},
		HTTPClient: &http.Client{Transport: keyServer{}},
	}, []token.App{{ID: ourApp, Tenants: []string{ourTenant}}, {ID: mediaApp}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := v.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return v
}

// mint makes a token as the calling service does: 300 s, no iat.
func mint(t testing.TB, app, tenant string) string {
	t.Helper()
	now := time.Now()
	tok := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": "https://api.botframework.com", "aud": app, "tid": tenant,
		"nbf": now.Unix(), "exp": now.Add(300 * time.Second).Unix(),
	})
	tok.Header["kid"] = "k1"
	s, err := tok.SignedString(signingKey())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// region is one region's table, shared by its nodes, and what they see of it.
type region struct {
	mu     sync.Mutex
	name   ownership.Region
	calls  map[ownership.CallID]ownership.Known
	owners map[ownership.PartitionID]ownership.Owner // of Owner: Node, Partition, Epoch, PublicURL
	nodes  map[ownership.NodeID]*node
	claims []ownership.Claim
	refuse error                                         // of claims
	place  func(ownership.Claim) ownership.PartitionID   // partition of a new call; nil: 1
	stall  chan struct{}                                 // not nil: claims close it and wait for the end of their context
	free   chan struct{}                                 // ends a stall; nil: only the context does
	answer func(ownership.Placement) ownership.Placement // changes a placement
}

// node is one node: its door behind a real server, its desk, its view.
type node struct {
	id       ownership.NodeID
	in       *region
	door     *Handler
	server   *http.Server
	url      string
	metrics  *prometheus.Registry
	log      *lockedBuffer
	tokens   *countingTokens
	leaseOff bool
	view     map[ownership.PartitionID]ownership.Owner // overrides the region's
	relays   []ownership.HandOver
	relayErr error

	deskMu sync.Mutex
	got    []ownership.HandOver
	reply  func(ownership.HandOver) (ownership.Reply, error)
}

// world is what the regions of a test see of each other.
type world struct {
	mu   sync.Mutex
	urls map[ownership.Region]string
	down map[ownership.Region]bool
}

func (w *world) Healthy(r ownership.Region) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.down[r]
}

func (w *world) URL(r ownership.Region) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u, ok := w.urls[r]
	return u, ok
}

// countingTokens shows whether the token was verified before anything else.
type countingTokens struct {
	Tokens
	mu    sync.Mutex
	asked int
}

func (c *countingTokens) Verify(ctx context.Context, h http.Header) (token.Claims, error) {
	c.mu.Lock()
	c.asked++
	c.mu.Unlock()
	return c.Tokens.Verify(ctx, h)
}

// lockedBuffer collects a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// setup says how a test's nodes differ from the plain case.
type setup struct {
	config func(*Config)
	deps   func(*Deps)
	limits Limits
	server func(*http.Server)
	rules  []ownership.RuleSpec
	pins   []ownership.PinSpec
}

var testKeys = sync.OnceValue(func() *Handles {
	h, err := NewHandles([]Key{{ID: "k1", Secret: secret(1)}})
	if err != nil {
		panic(err)
	}
	return h
})

// secret gives 32 different bytes for each seed.
func secret(seed byte) []byte {
	b := make([]byte, 32)
	for i := range b {
		b[i] = seed*37 + byte(i)*7
	}
	return b
}

// newRegion starts a region of nodes with real servers. Node i owns partition i,
// counted from 1, at epoch 1.
func newRegion(t testing.TB, w *world, name ownership.Region, n int, s setup) *region {
	t.Helper()
	r := &region{
		name: name, calls: map[ownership.CallID]ownership.Known{},
		owners: map[ownership.PartitionID]ownership.Owner{}, nodes: map[ownership.NodeID]*node{},
	}
	tokens := newVerifier(t)
	var listeners []net.Listener
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		id := ownership.NodeID(fmt.Sprintf("%s-%d", name, i+1))
		url := "http://" + l.Addr().String()
		p := ownership.PartitionID(i + 1)
		r.owners[p] = ownership.Owner{Node: id, Partition: p, Epoch: 1, PublicURL: url}
		r.nodes[id] = &node{id: id, in: r, url: url, view: map[ownership.PartitionID]ownership.Owner{}}
	}
	w.mu.Lock()
	w.urls[name] = "http://" + listeners[0].Addr().String()
	base := w.urls[name]
	w.mu.Unlock()
	for i, l := range listeners {
		nd := r.nodes[ownership.NodeID(fmt.Sprintf("%s-%d", name, i+1))]
		nd.open(t, l, base, w, tokens, s)
	}
	return r
}

// open builds the node's door and serves it.
func (nd *node) open(t testing.TB, l net.Listener, base string, w *world, tokens Tokens, s setup) {
	t.Helper()
	nd.metrics, nd.log, nd.tokens = prometheus.NewRegistry(), &lockedBuffer{}, &countingTokens{Tokens: tokens}
	cfg := Config{
		Path: hookPath, Region: nd.in.name, Node: nd.id, PublicURL: nd.url, RegionURL: base,
		Apps: []App{{ID: ourApp}, {ID: mediaApp, Pinned: true}},
	}
	if s.config != nil {
		s.config(&cfg)
	}
	rules, err := ownership.CompileRules(s.rules)
	if err != nil {
		t.Fatal(err)
	}
	pins, err := ownership.CompilePins(s.pins)
	if err != nil {
		t.Fatal(err)
	}
	deps := Deps{
		Tokens: nd.tokens, Table: nd, Desk: nd, World: w, Handles: testKeys(), Rules: rules, Pins: pins,
		Logger:  slog.New(slog.NewJSONHandler(nd.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics: nd.metrics,
	}
	if s.deps != nil {
		s.deps(&deps)
	}
	if nd.door, err = New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	nd.server = NewServer(nd.door, s.limits)
	nd.server.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(nd.log, nil), slog.LevelDebug)
	if s.server != nil {
		s.server(nd.server)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = nd.server.Serve(s.limits.Listener(l))
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if nd.server.Shutdown(ctx) != nil { // slow clients are left
			_ = nd.server.Close()
		}
		<-done
	})
}

func (nd *node) Find(id ownership.CallID) (ownership.Known, bool) {
	nd.in.mu.Lock()
	defer nd.in.mu.Unlock()
	k, ok := nd.in.calls[id]
	return k, ok
}

func (nd *node) Owner(p ownership.PartitionID) (ownership.Owner, bool) {
	nd.in.mu.Lock()
	defer nd.in.mu.Unlock()
	o, ok := nd.in.owners[p]
	if v, stale := nd.view[p]; stale {
		o, ok = v, true
	}
	o.Here = o.Node == nd.id
	o.Acting = o.Here && !nd.leaseOff
	return o, ok
}

func (nd *node) Holds(p ownership.PartitionID, e ownership.Epoch) bool {
	o, ok := nd.Owner(p)
	return ok && o.Acting && o.Epoch == e
}

func (nd *node) Claim(ctx context.Context, c ownership.Claim) (ownership.Placement, error) {
	nd.in.mu.Lock()
	stall := nd.in.stall
	nd.in.mu.Unlock()
	if stall != nil {
		close(stall)
		select {
		case <-ctx.Done():
			return ownership.Placement{}, ctx.Err()
		case <-nd.in.free:
		}
	}
	return nd.in.claim(c, true)
}

func (nd *node) WhatIf(_ context.Context, c ownership.Claim) (ownership.Placement, error) {
	return nd.in.claim(c, false)
}

func (r *region) claim(c ownership.Claim, keep bool) (ownership.Placement, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return ownership.Placement{}, r.refuse
	}
	p := ownership.PartitionID(1)
	if r.place != nil {
		p = r.place(c)
	}
	o := r.owners[p]
	place := ownership.Placement{Partition: p, Epoch: o.Epoch, Owner: o.Node, Reason: ownership.ReasonLeastLoaded}
	if known, ok := r.calls[c.Call]; ok {
		place.Reason = ownership.ReasonKnown
		if known.State == ownership.CallEnded {
			place.Reason = ownership.ReasonEnded
		}
	}
	if r.answer != nil {
		place = r.answer(place)
	}
	if keep {
		r.claims = append(r.claims, c)
		state := ownership.CallClaimed
		if c.Answered {
			state = ownership.CallAnswered
		}
		if place.Reason == ownership.ReasonLeastLoaded {
			r.calls[c.Call] = ownership.Known{Partition: p, Epoch: o.Epoch, State: state}
		}
	}
	return place, nil
}

func (nd *node) Relay(ctx context.Context, to ownership.NodeID, ho ownership.HandOver) (ownership.Reply, error) {
	nd.deskMu.Lock()
	nd.relays = append(nd.relays, ho)
	err := nd.relayErr
	nd.deskMu.Unlock()
	if err != nil {
		return ownership.Reply{}, err
	}
	other, ok := nd.in.nodes[to]
	if !ok {
		return ownership.Reply{}, fmt.Errorf("dialling %s: no such node", to)
	}
	return other.door.HandOver(ctx, ho)
}

func (nd *node) Incoming(_ context.Context, ho ownership.HandOver) (ownership.Reply, error) {
	return nd.take(ho)
}

func (nd *node) Update(_ context.Context, ho ownership.HandOver) (ownership.Reply, error) {
	return nd.take(ho)
}

func (nd *node) take(ho ownership.HandOver) (ownership.Reply, error) {
	nd.deskMu.Lock()
	defer nd.deskMu.Unlock()
	nd.got = append(nd.got, ho)
	if nd.reply != nil {
		return nd.reply(ho)
	}
	return ownership.Reply{Status: http.StatusAccepted}, nil
}

// handed gives what the node's desk got.
func (nd *node) handed() []ownership.HandOver {
	nd.deskMu.Lock()
	defer nd.deskMu.Unlock()
	return append([]ownership.HandOver(nil), nd.got...)
}

// relayed gives what the node sent to others.
func (nd *node) relayed() []ownership.HandOver {
	nd.deskMu.Lock()
	defer nd.deskMu.Unlock()
	return append([]ownership.HandOver(nil), nd.relays...)
}

// knows puts a call into the table.
func (r *region) knows(id ownership.CallID, p ownership.PartitionID, state ownership.CallState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[id] = ownership.Known{Partition: p, Epoch: r.owners[p].Epoch, State: state}
}

// moves gives a partition to another node at the next epoch.
func (r *region) moves(p ownership.PartitionID, to ownership.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owners[p] = ownership.Owner{Node: to, Partition: p, Epoch: r.owners[p].Epoch + 1, PublicURL: r.nodes[to].url}
}

func (r *region) claimed() []ownership.Claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]ownership.Claim(nil), r.claims...)
}

// untouched fails if anything of the region's state was used.
func (r *region) untouched(t testing.TB) {
	t.Helper()
	if c := r.claimed(); len(c) > 0 {
		t.Errorf("%d claims were made", len(c))
	}
	for id, nd := range r.nodes {
		if g := nd.handed(); len(g) > 0 {
			t.Errorf("%d notifications reached the bot of %s", len(g), id)
		}
	}
}

// count reads one counter of a node; label is "" for those without.
func (nd *node) counter(t testing.TB, name, label string) float64 {
	t.Helper()
	families, err := nd.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s{%s}", name, label)
	return 0
}

func newWorld() *world {
	return &world{urls: map[ownership.Region]string{}, down: map[ownership.Region]bool{}}
}

// oneNode starts a region of a single node.
func oneNode(t testing.TB, s setup) *node {
	t.Helper()
	return newRegion(t, newWorld(), "emea", 1, s).nodes["emea-1"]
}

// answered is what a caller gets.
type answered struct {
	status int
	header http.Header
	body   string
}

func (a answered) location() string { return a.header.Get("Location") }

// code reads the error's code, and fails if the body is no error of this door.
func (a answered) code(t testing.TB) string {
	t.Helper()
	var e struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || e.Error.Code == "" || e.Error.Message == "" {
		t.Fatalf("status %d with the body %q, which is no error: %v", a.status, a.body, err)
	}
	return e.Error.Code
}

// post sends a notification as the cloud does; it follows nothing.
func post(t testing.TB, url, body string, change ...func(*http.Request)) answered {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+mint(t, ourApp, ourTenant))
	r.Header.Set("X-Microsoft-Skype-Message-ID", "m-1")
	for _, c := range change {
		c(r)
	}
	return send(t, r)
}

func send(t testing.TB, r *http.Request) answered {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport: transport, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Header, string(b)}
}

// follow posts as the calling cloud does: it repeats the POST at a Location, up
// to the given number of hops, and gives all answers.
func follow(t testing.TB, url, body string, most int) []answered {
	t.Helper()
	var all []answered
	for range most + 1 {
		a := post(t, url, body)
		all = append(all, a)
		if a.location() == "" {
			break
		}
		url = a.location()
	}
	return all
}

func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del(name)
		for _, v := range values {
			r.Header.Add(name, v)
		}
	}
}

// incoming is the first notification of a call, with more members of the call.
func incoming(call string, more ...string) string {
	return notification("created", call, append([]string{`"state":"incoming"`}, more...)...)
}

func update(call string, more ...string) string {
	return notification("updated", call, append([]string{`"state":"established"`}, more...)...)
}

func end(call string) string { return notification("deleted", call, `"state":"terminated"`) }

func notification(change, call string, members ...string) string {
	return fmt.Sprintf(`{"@odata.type":"#microsoft.graph.commsNotifications","value":[%s]}`, entry(change, call, members...))
}

func entry(change, call string, members ...string) string {
	return fmt.Sprintf(`{"@odata.type":"#microsoft.graph.commsNotification","changeType":%q,"resourceUrl":"/communications/calls/%s","resourceData":{"@odata.type":"#microsoft.graph.call",%s}}`,
		change, call, strings.Join(members, ","))
}

const legacyBody = `{"id":"x","participants":[],"isMultiparty":false,"presentedModalityTypes":["audio"],"callState":"incoming"}`

// uri gives a callback URI on this node's own address.
func (nd *node) uri(p ownership.PartitionID, e ownership.Epoch, ref string) string {
	return testKeys().CallbackURI(nd.url+hookPath, Handle{Region: nd.in.name, Partition: p, Epoch: e, Ref: ref})
}

// raw writes bytes to the node's port and gives all that comes back until the
// server closes the connection or the time is over.
func (nd *node) raw(t testing.TB, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(nd.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		_, _ = io.WriteString(conn, text)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	b, _ := io.ReadAll(conn)
	return string(b)
}

// statuses reads the status lines of all responses in raw output.
func statuses(t testing.TB, out string) []int {
	t.Helper()
	var all []int
	in := bufio.NewReader(strings.NewReader(out))
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return all
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		all = append(all, resp.StatusCode)
	}
}

// sampleBody reads a published body from graph's test data.
func sampleBody(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "graph", "testdata", "samples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
