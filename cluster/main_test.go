package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"tandem/cluster/clocks"
	"tandem/cluster/leader"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// besideOthers are the tests that run in parallel.
var besideOthers sync.Map

// patience is how long a test waits for what must come; a machine may be slow.
const patience = 30 * time.Second

// eventually waits until the condition holds. What took more than half of the patience is
// told: a slower machine would be too slow for it.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	begun, deadline := time.Now(), time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !cond() {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("waited %v in vain for: %s", patience, what)
		}
	}
	if took := time.Since(begun); took > patience/2 {
		t.Logf("NEARLY LATE, %s of %s: %s", took.Round(time.Millisecond), patience, what)
	}
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ownership.By(ctx, "ops") // what is asked for by hand has a name
}

// fast are the shipped timings, shortened for a busy machine under the race
// detector.
var fast = clocks.Timings{
	Heartbeat: 300 * time.Millisecond, Election: 300 * time.Millisecond, LeaderLease: 200 * time.Millisecond,
	Renew: 200 * time.Millisecond, Lease: time.Second, Drift: 100 * time.Millisecond,
	Announce: 50 * time.Millisecond, Handshake: 2 * time.Second,
	Stabilise: 300 * time.Millisecond, DeadVoter: time.Second, DiskStall: 20 * time.Second,
}

// births is the shipped cluster.partitions, and usualSilence the shipped apps[].silence.
const births = 8

func usualSilence(ownership.AppID) time.Duration { return 30 * time.Second }

// testRegion is a region of real nodes on loopback ports under real TLS.
type testRegion struct {
	t     testing.TB
	dir   string
	ca    string
	nodes map[ownership.NodeID]*testNode
	tune  func(*Config)
	letIn func(context.Context, string, ownership.NodeID, bool) (string, error) // see Deps
}

type testNode struct {
	*Cluster
	r     *testRegion
	id    ownership.NodeID
	st    *store.Store
	dir   string
	halt  sync.RWMutex
	mu    sync.Mutex
	fatal []error
	moved []Change
	relay func(context.Context, ownership.HandOver) (ownership.Reply, error)
	rest  func(ownership.PartitionID)
	sick  bool
	away  time.Duration // that is announced
	takes []ownership.VersionTally
	open  bool
}

const testDeployment = "contoso"

func newRegion(t testing.TB, tune func(*Config)) *testRegion {
	t.Helper()
	// A region mostly waits for its clocks, so two tests share a machine.
	if test, ok := t.(*testing.T); ok {
		if _, again := besideOthers.LoadOrStore(test, true); !again {
			test.Parallel()
		}
	}
	r := &testRegion{t: t, dir: t.TempDir(), nodes: make(map[ownership.NodeID]*testNode), tune: tune}
	r.ca = filepath.Join(r.dir, "ca")
	if _, _, err := transport.MakeCA(r.ca, "test", time.Hour); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, n := range r.nodes {
			n.stop()
		}
	})
	return r
}

// form starts n nodes, named a, b, c, …: the first founds the region, the others
// join it through the first. It returns when all are ready.
func (r *testRegion) form(n int) []*testNode {
	r.t.Helper()
	var out []*testNode
	for i := range n {
		out = append(out, r.start(ownership.NodeID(string(rune('a'+i)))))
	}
	for _, n := range out {
		n.ready()
	}
	eventually(r.t, "the votes are given", func() bool {
		for _, n := range out {
			if len(n.votersHere()) < min(len(out), leader.MaxVoters) {
				return false
			}
			for _, s := range n.servers() {
				if rec, ok := n.tb.Node(ownership.NodeID(s.ID)); !ok || rec.Voter != (s.Suffrage == raft.Voter) {
					return false
				}
			}
		}
		return true
	})
	return out
}

func (r *testRegion) start(id ownership.NodeID) *testNode {
	r.t.Helper()
	n := &testNode{r: r, id: id, dir: filepath.Join(r.dir, string(id))}
	r.nodes[id] = n
	n.up(func(c *Config) {
		for _, o := range r.nodes {
			if o.Cluster != nil {
				c.Join = append(c.Join, o.Addr())
			}
		}
	})
	if len(r.nodes) == 1 {
		if err := n.Found(soon(r.t)); err != nil {
			r.t.Fatal(err)
		}
	}
	return n
}

func (n *testNode) config() Config {
	cert := filepath.Join(n.r.dir, "certs", string(n.id)+".pem")
	key := filepath.Join(n.r.dir, "certs", string(n.id)+"-key.pem")
	if _, err := os.Stat(cert); err != nil {
		if _, _, err := transport.MakeCert(filepath.Join(n.r.dir, "certs"), n.r.ca, testDeployment, "emea", n.id, []string{"127.0.0.1"}, time.Minute*30); err != nil {
			n.r.t.Fatal(err)
		}
	}
	return Config{
		Deployment: testDeployment, Region: "emea",
		Node:   ownership.Node{ID: n.id, Capacity: 10000, Version: "test"},
		Listen: steadyAddr(n.r.t), TLS: &transport.Files{CertFile: cert, KeyFile: key, CAFile: filepath.Join(n.r.ca, transport.CACertFile)},
		Timings: fast, Logger: testLogger(), Partitions: births, Silence: usualSilence,
		JoinByCertificate: true, // who lets a node in is the matter of letin_test
	}
}

func testLogger() *slog.Logger {
	if os.Getenv("TANDEM_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// up opens the node's store and starts it.
func (n *testNode) up(tune ...func(*Config)) {
	n.r.t.Helper()
	if err := n.tryUp(tune...); err != nil {
		n.r.t.Fatal(err)
	}
}

func (n *testNode) tryUp(tune ...func(*Config)) error {
	cfg := n.config()
	if n.r.tune != nil {
		n.r.tune(&cfg)
	}
	for _, f := range tune {
		f(&cfg)
	}
	st, err := store.Open(n.dir, store.Stamp{Deployment: cfg.Deployment, Region: cfg.Region, Node: cfg.Node.ID},
		store.Options{Logger: cfg.Logger, SegmentBytes: 1 << 20, OnFatal: func(err error) { panic(err) }})
	if err != nil {
		return err
	}
	c, err := Start(context.Background(), cfg, st, n.doors())
	if err != nil {
		return fmt.Errorf("%w (store: %v)", err, st.Close())
	}
	n.st, n.Cluster, n.open = st, c, true
	return nil
}

func (n *testNode) doors() Deps {
	return Deps{
		LetIn: n.r.letIn,
		Health: func() Health {
			n.halt.RLock() // a test may hold up the renewals here
			defer n.halt.RUnlock()
			n.mu.Lock()
			defer n.mu.Unlock()
			return Health{Bot: !n.sick, Away: n.away, Versions: n.takes}
		},
		Fatal: func(err error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.fatal = append(n.fatal, err)
		},
		OnReassigned: func(ch Change) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.moved = append(n.moved, ch)
		},
		Quiesce: func(_ context.Context, p ownership.PartitionID) error {
			n.mu.Lock()
			rest := n.rest
			n.mu.Unlock()
			if rest != nil {
				rest(p)
			}
			return nil
		},
		HandOver: func(ctx context.Context, h ownership.HandOver) (ownership.Reply, error) {
			n.mu.Lock()
			relay := n.relay
			n.mu.Unlock()
			return relay(ctx, h)
		},
	}
}

func (n *testNode) stop() {
	if !n.open {
		return
	}
	n.open = false
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		n.r.t.Errorf("stopping %s: %v", n.id, err)
	}
	if err := n.st.Close(); err != nil {
		n.r.t.Errorf("closing the store of %s: %v", n.id, err)
	}
}

// cut takes the node off the network at once, as a kill or a pulled cable does.
// The node itself goes on and does not know.
func (n *testNode) cut() {
	_ = n.trans.Close()
	n.dial.CloseAll()
	n.port.CloseAll()
}

// restart stops the node and starts it again, at the same address unless tuned.
func (n *testNode) restart(tune ...func(*Config)) {
	n.r.t.Helper()
	addr := n.Addr()
	n.stop()
	n.up(append([]func(*Config){func(c *Config) {
		c.Listen = addr
		for _, o := range n.r.nodes {
			if o != n && o.Cluster != nil {
				c.Join = append(c.Join, o.Addr())
			}
		}
	}}, tune...)...)
}

func (n *testNode) ready() {
	n.r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Ready(ctx); err != nil {
		n.r.t.Fatalf("%v; status %+v", err, n.Status())
	}
}

// leader waits until the given nodes agree on a leader among them.
// calm makes raft wait longer, for tests that hold on to one leader: a busy machine is
// not to change it.
func calm(c *Config) {
	c.Timings.Heartbeat, c.Timings.Election, c.Timings.LeaderLease = 1500*time.Millisecond, 1500*time.Millisecond, time.Second
}

func leaderOf(t testing.TB, nodes ...*testNode) *testNode {
	t.Helper()
	var found *testNode
	eventually(t, "a leader that all know", func() bool {
		found = nil
		for _, n := range nodes {
			if l := n.leading.Load(); l != nil {
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				if l.Ready(ctx) == nil {
					found = n
				}
				cancel()
			}
		}
		for _, n := range nodes {
			if id, _, _ := n.Leader(); found == nil || id != found.id {
				return false
			}
		}
		return true
	})
	return found
}

func without(nodes []*testNode, n *testNode) []*testNode {
	var out []*testNode
	for _, o := range nodes {
		if o != n {
			out = append(out, o)
		}
	}
	return out
}

func claimOf(i int) ownership.Claim {
	return ownership.Claim{Call: ownership.CallID(fmt.Sprintf("%032x", i)), App: "app", Tenant: "tenant", Received: time.Unix(1, 0)}
}

// claim claims until it succeeds.
func claim(t testing.TB, n *testNode, i int) ownership.Placement {
	t.Helper()
	var p ownership.Placement
	eventually(t, fmt.Sprintf("a claim of call %d on %s", i, n.id), func() (ok bool) {
		var err error
		p, err = n.Claim(soon(t), claimOf(i))
		return err == nil
	})
	return p
}

// pause holds up the node's renewals until resume is called.
func (n *testNode) pause() (resume func()) {
	n.halt.Lock()
	return sync.OnceFunc(n.halt.Unlock)
}

// long marks a test that is not for daily work: regions with real clocks.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED with -short: a region with real clocks")
	}
}

// steadyAddr returns a loopback address that nobody listens on, below the ports
// that the kernel hands out to outgoing connections (32768 and up): a node that
// restarts finds it free.
func steadyAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.N(12000))
		if ln, err := net.Listen("tcp", addr); err == nil {
			_ = ln.Close()
			return addr
		}
	}
	t.Fatal("no port between 20000 and 32000 is free")
	return ""
}
