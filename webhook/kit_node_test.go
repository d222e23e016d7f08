package webhook

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/ownership"
	"tandem/policy"
	"tandem/token"
)

// region is one region's table, shared by its nodes, and what they see of it.
type region struct {
	mu       sync.Mutex
	name     ownership.Region
	calls    map[ownership.CallID]ownership.Known
	owners   map[ownership.PartitionID]ownership.Owner // of Owner: Node, Partition, Epoch, PublicURL
	nodes    map[ownership.NodeID]*node
	claims   []ownership.Claim
	refuse   error                                       // of claims
	room     *int                                        // what its leader says; nil: nothing
	place    func(ownership.Claim) ownership.PartitionID // partition of a new call; nil: 1
	told     []ownership.Unclaimed                       // of which ends it was told last
	ends     int                                         // how often it was told of ends that it did not know
	deaf     error                                       // it cannot be told
	overtake func()                                      // called, with the lock held, before it is told

	stall  chan struct{}                                 // not nil: claims close it and wait for the end of their context
	free   chan struct{}                                 // ends a stall; nil: only the context does
	answer func(ownership.Placement) ownership.Placement // changes a placement
}

// node is one node: its door behind a real server, its dispatcher, its view.
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
	forgot   atomic.Bool                               // its memory lags: it knows no call
	view     map[ownership.PartitionID]ownership.Owner // overrides the region's
	relays   []ownership.HandOver
	relayErr error
	cutOff   error // nobody can tell it whether its table is up to date

	dispatcherMu sync.Mutex
	asked        int // times that it made sure of that
	got          []ownership.HandOver

	remembers map[string]ownership.Reply // by message id, as handled

	reply func(ownership.HandOver) (ownership.Reply, error)
}

// roomy lets every test's connections in.
var roomy = Limits{Connections: 4096, Idle: time.Minute}

// world is what the regions of a test see of each other.
type world struct {
	mu      sync.Mutex
	urls    map[ownership.Region]string
	down    map[ownership.Region]bool
	regions map[ownership.Region]*region
	linkErr map[ownership.Region]error // letters and questions to it end with that
	letters []ownership.Letter         // sent, whether or not they arrived
	asked   int                        // questions which region knows a call
	room    map[ownership.Region]int   // for new calls; absent: it is not known
	rtt     time.Duration
}

// Look tells what the test has put in.
func (w *world) Look(r ownership.Region, _ ownership.AppID) Prospect {
	w.mu.Lock()
	defer w.mu.Unlock()
	room, known := w.room[r]
	if !known {
		room = -1
	}
	return Prospect{Up: !w.down[r], Room: room, RTT: w.rtt}
}

// holds says how many new calls a region can take.
func (w *world) holds(r ownership.Region, room int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.room[r] = room
}

// Alone reports whether there is but one region.
func (w *world) Alone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.urls) < 2
}

// Relay brings a letter to the node of a region that owns a partition, else to its first.
func (w *world) Relay(ctx context.Context, to ownership.Region, p ownership.PartitionID, l ownership.Letter) (ownership.Reply, error) {
	w.mu.Lock()
	w.letters = append(w.letters, l)
	r, err := w.regions[to], w.linkErr[to]
	w.mu.Unlock()
	if err == nil && (r == nil || ctx.Err() != nil) {
		err = ownership.ErrNotTaken
	}
	if err != nil {
		return ownership.Reply{}, err
	}
	nd := r.nodes[ownership.NodeID(string(to)+"-1")]
	r.mu.Lock()
	if o, ok := r.owners[p]; ok {
		nd = r.nodes[o.Node]
	}
	r.mu.Unlock()
	in := httptest.NewRequestWithContext(ctx, http.MethodPost, l.Target, bytes.NewReader(l.Body))
	in.Header = http.Header(l.Header).Clone()
	out := httptest.NewRecorder()
	nd.door.Letters().ServeHTTP(out, in)
	return ownership.Reply{Status: out.Code, Header: out.Header(), Body: out.Body.Bytes()}, nil
}

// Knowing asks every region; the one that asks has asked itself before.
func (w *world) Knowing(_ context.Context, calls []ownership.CallID) (map[ownership.CallID]ownership.Region, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	known := map[ownership.CallID]ownership.Region{}
	var unsure error
	for name, r := range w.regions {
		if err := w.linkErr[name]; err != nil {
			unsure = err
			continue
		}
		r.mu.Lock()
		for _, c := range calls {
			if _, ok := r.calls[c]; ok {
				known[c] = name
			}
		}
		r.mu.Unlock()
	}
	return known, unsure
}

// cut makes the links to a region fail with an error; nil mends them.
func (w *world) cut(r ownership.Region, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.linkErr[r] = err
}

// fell says whether a region is down.
func (w *world) fell(r ownership.Region, down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[r] = down
}

// sent returns the letters that were sent.
func (w *world) sent() []ownership.Letter {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]ownership.Letter(nil), w.letters...)
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
	rules  []policy.RuleSpec
	pins   []policy.PinSpec
}

var testKeys = sync.OnceValue(func() *Handles {
	h, err := NewHandles([]Key{{ID: "k1", Secret: secret(1)}})
	if err != nil {
		panic(err)
	}
	return h
})

// secret returns 32 different bytes for each seed.
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
	w.regions[name] = r
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
		Apps:           []App{{ID: ourApp}, {ID: mediaApp, Pinned: true}},
		RedirectStatus: http.StatusFound, Midcall: MidcallRelay, BodyLimit: 1 << 20, HandOver: 5 * time.Second,
	}
	if s.config != nil {
		s.config(&cfg)
	}
	rules, err := policy.CompileRules(s.rules)
	if err != nil {
		t.Fatal(err)
	}
	pins, err := policy.CompilePins(s.pins)
	if err != nil {
		t.Fatal(err)
	}
	deps := Deps{
		Tokens: nd.tokens, Table: nd, Dispatcher: nd, Regions: w, Handles: testKeys(), Rules: rules, Pins: pins,
		Logger:  slog.New(slog.NewJSONHandler(nd.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics: nd.metrics,
	}
	if s.deps != nil {
		s.deps(&deps)
	}
	if nd.door, err = New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	s.limits.Connections, s.limits.Idle = cmp.Or(s.limits.Connections, roomy.Connections), cmp.Or(s.limits.Idle, roomy.Idle)
	nd.server = NewServer(nd.door, s.limits)
	nd.server.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(nd.log, nil), slog.LevelDebug)
	if s.server != nil {
		s.server(nd.server)
	}
	done := make(chan struct{})
	way := nd.door.Listener(l, s.limits)
	way.Watch(nd.server)
	go func() {
		defer close(done)
		_ = nd.server.Serve(way)
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

func newWorld() *world {
	return &world{
		urls: map[ownership.Region]string{}, down: map[ownership.Region]bool{},
		regions: map[ownership.Region]*region{}, linkErr: map[ownership.Region]error{}, room: map[ownership.Region]int{},
	}
}

// oneNode starts a region of a single node.
func oneNode(t testing.TB, s setup) *node {
	t.Helper()
	return newRegion(t, newWorld(), "emea", 1, s).nodes["emea-1"]
}
