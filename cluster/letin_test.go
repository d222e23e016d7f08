package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/cluster/transport"
	"tandem/ownership"
)

// letters are a region's door for join tokens: "good" is alice's, and works for one node.
type letters struct {
	mu   sync.Mutex
	node ownership.NodeID
	done bool
}

func (l *letters) letIn(_ context.Context, token string, node ownership.NodeID, done bool) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if token != "good" || l.node != "" && l.node != node {
		return "", fmt.Errorf("its join token is not one of this region: %w", ownership.ErrUninvited)
	}
	l.node, l.done = node, l.done || done
	return "alice", nil
}

// strict is a region in which a certificate alone lets nobody in.
func strict(t *testing.T) (*testRegion, *lines, *letters) {
	log, door := &lines{}, &letters{}
	r := newRegion(t, func(c *Config) {
		c.Logger, c.JoinByCertificate = slog.New(slog.NewTextHandler(log, nil)), false
	})
	r.letIn = door.letIn
	return r, log, door
}

// knocking starts a node that asks its way in by its join list.
func (r *testRegion) knocking(id ownership.NodeID, at []string, tune ...func(*Config)) *testNode {
	n := &testNode{r: r, id: id, dir: r.dir + "/" + string(id)}
	r.nodes[id] = n
	n.up(append([]func(*Config){func(c *Config) { c.Join = at }}, tune...)...)
	return n
}

func waitsOutside(t *testing.T, n *testNode, in *testNode) {
	t.Helper()
	eventually(t, "the newcomer hears why it is not let in", func() bool { return strings.Contains(n.whyNot(), ownership.ErrUninvited.Error()) })
	if rec, ok := in.tb.Node(n.id); ok && rec.State != ownership.NodeGone || in.inRaft(n.id) {
		t.Errorf("node %s is in all the same", n.id)
	}
}

// TestWhoIsLetInActsAtOnce: a node that an operator brought in acts when the operator hears that
// it is in. It does not wait for its next announcement, whichever comes first, the leader's
// answer or raft's entry.
func TestWhoIsLetInActsAtOnce(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	a := r.start("a")
	a.ready()
	for i := range 4 {
		n := r.knocking(ownership.NodeID(fmt.Sprintf("n%d", i)), nil, func(c *Config) { c.Timings.Announce = time.Minute })
		if _, err := a.Meet(soon(t), n.Addr(), n.id, ""); err != nil {
			t.Fatal(err)
		}
		if !n.acts() {
			t.Errorf("node %s is said to be in, and may not act: %+v", n.id, n.Status())
		}
	}
}

// TestD2_ACertificateAloneLetsNobodyIn: a certificate and a join list are not enough, not
// even with a name for an operator; an operator's word at any node of the region is, and
// the audit log tells both.
func TestD2_ACertificateAloneLetsNobodyIn(t *testing.T) {
	long(t)
	r, log, _ := strict(t)
	a := r.start("a")
	a.ready()
	b := r.knocking("b", []string{a.Addr()})
	waitsOutside(t, b, a)
	if !log.has(`action="join refused" subject="node b at `) {
		t.Error("the audit log does not tell of the refusal")
	}
	forged := ownership.By(soon(t), "mallory")
	req, err := b.joining()
	if err != nil {
		t.Fatal(err)
	}
	if err := askToJoin(forged, b.links.To("a", a.Addr()), req); !errors.Is(err, ownership.ErrUninvited) {
		t.Errorf("a newcomer that names an operator itself gets %v", err)
	}
	if _, err := a.Meet(soon(t), b.Addr(), "", ""); err != nil {
		t.Fatalf("an operator asks for it: %v", err)
	}
	b.ready()
	if !log.has(`by=ops action=join subject="node b at `) {
		t.Error("the audit log does not say who let it in")
	}
	// By a node that does not lead, too.
	ldr := leaderOf(t, a, b)
	c := r.knocking("c", []string{ldr.Addr()})
	waitsOutside(t, c, ldr)
	if _, err := without([]*testNode{a, b}, ldr)[0].Meet(soon(t), c.Addr(), "", ""); err != nil {
		t.Fatalf("an operator asks for it at a follower: %v", err)
	}
	c.ready()
	// Whom the region knows it lets in again.
	b.stop()
	b.up(func(cfg *Config) { cfg.Join = []string{a.Addr()} })
	b.ready()
	// Whom it has removed is new.
	b.stop()
	if err := leaderOf(t, a, c).Remove(soon(t), "b"); err != nil {
		t.Fatal(err)
	}
	again := &testNode{r: r, id: "b", dir: r.dir + "/b-anew"}
	r.nodes["b"] = again
	again.up(func(cfg *Config) { cfg.Join = []string{a.Addr(), c.Addr()} })
	waitsOutside(t, again, leaderOf(t, a, c))
}

// TestD2_ATokenLetsANodeIn: one of the configuration, or of the operator who asks the new
// node itself; used up once the node is in.
func TestD2_ATokenLetsANodeIn(t *testing.T) {
	long(t)
	for name, asks := range map[string]func(b *testNode, at string) error{
		"of the configuration": nil,
		"of an operator": func(b *testNode, at string) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := b.Meet(ctx, at, "", "bad"); err == nil || !strings.Contains(err.Error(), "not one of this region") {
				t.Errorf("with a bad token: %v", err)
			}
			_, err := b.Meet(soon(t), at, "", "good")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, log, door := strict(t)
			a := r.start("a")
			a.ready()
			var b *testNode
			if asks == nil {
				b = r.knocking("b", []string{a.Addr()}, func(c *Config) { c.JoinToken = func() (string, error) { return "good", nil } })
			} else {
				b = r.knocking("b", nil)
				if err := asks(b, a.Addr()); err != nil {
					t.Fatal(err)
				}
			}
			b.ready()
			eventually(t, "the token is used up", func() bool {
				door.mu.Lock()
				defer door.mu.Unlock()
				return door.done && door.node == "b"
			})
			if !log.has(`by=alice action=join subject="node b at `) {
				t.Error("the audit log does not say whose token it was")
			}
			if log.has("good") {
				t.Error("the log tells the token")
			}
			if b.invites.shown() != "" {
				t.Error("the node keeps the operator's token")
			}
		})
	}
}

// TestD2_WhoFoundedTogetherIsIn: the nodes of bootstrap_expect that agreed need nobody's
// word, and another one does.
func TestD2_WhoFoundedTogetherIsIn(t *testing.T) {
	long(t)
	r, log, _ := strict(t)
	addrs := freeAddrs(t, 3)
	var nodes []*testNode
	for i, id := range []ownership.NodeID{"a", "b", "c"} {
		nodes = append(nodes, r.knocking(id, addrs, func(c *Config) { c.Listen, c.BootstrapExpect = addrs[i], 3 }))
	}
	for _, n := range nodes {
		n.ready()
	}
	if !log.has("cluster.bootstrap_expect") {
		t.Error("the audit log does not say what let them in")
	}
	waitsOutside(t, r.knocking("d", addrs), leaderOf(t, nodes...))
}

// A refusal keeps its kind between nodes, so a newcomer goes on waiting.
func TestD2_ARefusalIsNotForGood(t *testing.T) {
	err := transport.FromFault(transport.ToFault(fmt.Errorf("joining node b: %w", ownership.ErrUninvited)))
	if !errors.Is(err, ownership.ErrUninvited) || forGood(err) {
		t.Errorf("%v is for good, or has no kind", err)
	}
}
