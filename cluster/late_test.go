package cluster

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/cluster/transport"
	"tandem/ownership"
)

// slowWay is the way of one node's outgoing connections. While it is cut, what is
// written waits, as in TCP behind a cut. When it heals, what was written before a given
// time arrives, and nothing more on the connections of before.
type slowWay struct {
	mu    sync.Mutex
	cut   bool
	conns []*slowConn
	held  []held
}

type held struct {
	at time.Time
	do func()
}

func (w *slowWay) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := transport.DialTCP(ctx, addr)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &slowConn{Conn: conn, way: w}
	w.conns = append(w.conns, c)
	return c, nil
}

func (w *slowWay) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
}

func (w *slowWay) heal(until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.held {
		if h.at.Before(until) {
			h.do()
		}
	}
	for _, c := range w.conns {
		c.over = true
		_ = c.SetReadDeadline(time.Now())
	}
	w.cut, w.held, w.conns = false, nil, nil
}

type slowConn struct {
	net.Conn
	way  *slowWay
	over bool
}

func (c *slowConn) Write(b []byte) (n int, err error) {
	c.way.mu.Lock()
	defer c.way.mu.Unlock()
	switch {
	case c.over:
		return len(b), nil
	case c.way.cut:
		own := slices.Clone(b)
		c.way.held = append(c.way.held, held{time.Now(), func() { _, _ = c.Conn.Write(own) }})
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Close leaves the other end open when it comes after the cut.
func (c *slowConn) Close() error {
	c.way.mu.Lock()
	defer c.way.mu.Unlock()
	if c.over || c.way.cut {
		return c.SetReadDeadline(time.Now())
	}
	return c.Conn.Close()
}

// TestARelayThatComesTooLateIsNotHandedOver: the relaying node gave up, and the cloud
// was told so, while its request waited behind a cut. The notification has gone
// another way since.
func TestARelayThatComesTooLateIsNotHandedOver(t *testing.T) {
	long(t)
	ways := make(map[ownership.NodeID]*slowWay)
	r := newRegion(t, func(c *Config) {
		way := &slowWay{}
		ways[c.Node.ID] = way
		c.Ground.Dial = way.dial
	})
	nodes := r.form(3)
	owner := leaderOf(t, nodes...)
	via := without(nodes, owner)[0]
	var mu sync.Mutex
	got := make(map[string]bool)
	var limit time.Duration
	owner.mu.Lock()
	owner.relay = func(ctx context.Context, h ownership.HandOver) (ownership.Reply, error) {
		mu.Lock()
		defer mu.Unlock()
		got[h.MessageID] = true
		at, _ := ctx.Deadline()
		limit = time.Until(at)
		return ownership.Reply{Status: 202}, nil
	}
	owner.mu.Unlock()
	var until time.Time // of the last relay
	relay := func(id string, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		until, _ = ctx.Deadline()
		_, err := via.Relay(ctx, owner.id, ownership.HandOver{Event: ownership.EventUpdate, Call: "c1", MessageID: id})
		return err
	}
	if err := relay("in time", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if limit <= 0 || limit > 20*time.Second {
		t.Errorf("the owner has %v for what the relaying node waits 20 s for", limit)
	}
	way := ways[via.id]
	way.close()
	if err := relay("too late", 700*time.Millisecond); !errors.Is(err, ownership.ErrUnreachable) {
		t.Fatalf("a relay behind a cut gave %v", err)
	}
	way.heal(until) // that the node gave up has got lost
	eventually(t, "a relay goes through again", func() bool { return relay("after it", time.Second) == nil })
	mu.Lock()
	defer mu.Unlock()
	if got["too late"] {
		t.Error("the bot got a notification whose sender had given up")
	}
	if !got["in time"] || !got["after it"] {
		t.Errorf("the bot got %v", got)
	}
}

// TestARelayReachesTheProcessThatIsThere: a node that was restarted has another
// process, and another clock. What was known of the former one refuses nothing.
func TestARelayReachesTheProcessThatIsThere(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	to := without(nodes, leaderOf(t, nodes...))[0]
	from := without(nodes, to)[0]
	take := func(context.Context, ownership.HandOver) (ownership.Reply, error) {
		return ownership.Reply{Status: 202}, nil
	}
	relay := func() error {
		to.mu.Lock()
		to.relay = take
		to.mu.Unlock()
		_, err := from.Relay(soon(t), to.id, ownership.HandOver{Event: ownership.EventUpdate, Call: "c1", Partition: 1, Epoch: 1})
		return err
	}
	if err := relay(); err != nil {
		t.Fatal(err)
	}
	to.restart()
	to.ready()
	eventually(t, "the other knows the new process", func() bool {
		n, ok := from.tb.Node(to.id)
		return ok && n.Process == to.process
	})
	if err := relay(); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}
