package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tandem/ownership"
)

// patient has raft on the nodes wait for a silent leader for longer than a test lasts.
func patient(t *testing.T, nodes ...*testNode) {
	t.Helper()
	for _, n := range nodes {
		rc := n.raft.ReloadableConfig()
		rc.HeartbeatTimeout, rc.ElectionTimeout = never, never
		if err := n.raft.ReloadConfig(rc); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheDeathOfTheLeadersProcessIsSeenAtOnce: raft would wait for weeks. The table still
// gives nothing of the dead one's away before its lease is over.
func TestTheDeathOfTheLeadersProcessIsSeenAtOnce(t *testing.T) {
	r := newRegion(t, func(c *Config) {
		c.Timings.Lease = 8 * time.Second
		c.Timings.Handshake = time.Minute
		c.Node.PublicURL = "https://" + string(c.Node.ID) + ".example"
		c.Timings.Settle = never // nobody waits for the dead one to renew
	})
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	rest := without(nodes, ldr)
	patient(t, rest...)
	theirs := ldr.tb.PartitionsOf(ldr.id)
	died := time.Now()
	ldr.cut()
	next := leaderOf(t, rest...)
	for i, n := range rest {
		claim(t, n, i)
	}
	for _, n := range rest {
		eventually(t, "nobody is sent to the dead node", func() bool {
			o, ok := n.Owner(theirs[0].ID)
			return ok && o.Node == ldr.id && o.PublicURL == ""
		})
	}
	if took := time.Since(died); took < ldr.cfg.Timings.Lease {
		for _, p := range theirs {
			if now, ok := next.tb.Partition(p.ID); !ok || now.Owner != ldr.id {
				t.Errorf("I5: partition %s is %s's %v after the death, while the dead one's lease may run", p.ID, now.Owner, took)
			}
		}
	}
	// What is relayed there does not wait for a process that takes connections and says nothing.
	ln, err := net.Listen("tcp", ldr.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	began := time.Now()
	_, err = rest[0].Relay(soon(t), ldr.id, ownership.HandOver{Event: ownership.EventUpdate, App: "app", Call: "c", Partition: theirs[0].ID, Epoch: theirs[0].Epoch})
	if took := time.Since(began); !errors.Is(err, ownership.ErrUnreachable) || took > 10*time.Second {
		t.Errorf("a relay to a silent node gave %v after %v", err, took)
	}
	if fit := next.leading.Load().Leases.Fitness(time.Now())[ldr.id]; fit.Leased {
		t.Error("new calls may go to the dead node")
	}
}

// between is what stands between one node and the leader: while it is bad, it ends the
// leader's connections to the node, and refuses the node's to the leader.
type between struct {
	bad atomic.Bool
	far atomic.Pointer[string] // the leader's address

	mu    sync.Mutex
	came  []net.Conn
	cuts  int
	noted int // refusals
}

type throughBetween struct {
	net.Listener
	b *between
}

func (l throughBetween) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.b.mu.Lock()
		l.b.came = append(l.b.came, c)
		l.b.mu.Unlock()
	}
	return c, err
}

func (b *between) ground(c *Config) {
	c.Ground.fill()
	listen, dial := c.Ground.Listen, c.Ground.Dial
	c.Ground.Listen = func(ctx context.Context, addr string) (net.Listener, error) {
		ln, err := listen(ctx, addr)
		return throughBetween{ln, b}, err
	}
	c.Ground.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		if far := b.far.Load(); b.bad.Load() && far != nil && *far == addr {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.noted++
			return nil, syscall.ECONNREFUSED
		}
		return dial(ctx, addr)
	}
}

// so is what became of it so far.
func (b *between) so() (noted, cuts int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.noted, b.cuts
}

func (b *between) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.came {
		_ = c.Close()
	}
	b.cuts += len(b.came)
	b.came = nil
}

// TestAWrongHintCostsNoLead: to one follower the leader looks dead again and again, while
// it is well and the third node hears it.
func TestAWrongHintCostsNoLead(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	proxies := map[ownership.NodeID]*between{}
	for _, id := range []ownership.NodeID{"a", "b", "c"} {
		proxies[id] = &between{}
	}
	r.tune = func(c *Config) {
		calm(c)
		proxies[c.Node.ID].ground(c)
	}
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	term := ldr.raft.CurrentTerm()
	misled := without(nodes, ldr)[0] // a or b: the one that goes first
	b, addr := proxies[misled.id], ldr.Addr()
	b.far.Store(&addr)
	b.bad.Store(true)
	for i := 0; ; i++ {
		b.cut()
		claim(t, ldr, i)
		noted, cuts := b.so()
		if noted >= 10 && cuts >= 10 {
			break
		}
		if i == 5000 {
			t.Fatalf("the follower took the leader for dead %d times, of %d connections that ended", noted, cuts)
		}
	}
	if now := ldr.raft.CurrentTerm(); now != term || ldr.leading.Load() == nil {
		t.Errorf("the lead changed by one node's wrong hint: the term was %d and is %d", term, now)
	}
	b.bad.Store(false)
	for i, n := range nodes {
		claim(t, n, 100+i)
	}
}
