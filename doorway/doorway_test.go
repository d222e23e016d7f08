package doorway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// conn is a connection of which only the address and its end matter.
type conn struct {
	net.Conn
	from   string
	closed bool
}

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

func (c *conn) RemoteAddr() net.Addr { return address(c.from) }
func (c *conn) Close() error         { c.closed = true; return nil }

// queue is a listener with connections in store.
type queue struct {
	net.Listener
	next []net.Conn
}

func (q *queue) Accept() (net.Conn, error) {
	if len(q.next) == 0 {
		return nil, net.ErrClosed
	}
	c := q.next[0]
	q.next = q.next[1:]
	return c, nil
}

// visit is one connection at a door.
type visit struct {
	raw   *conn
	place net.Conn
}

// come lets somebody come from an address; place is nil when there was none.
func come(t *testing.T, d *Door, from string) visit {
	t.Helper()
	raw := &conn{from: from + ":4711"}
	d.Listener.(*queue).next = []net.Conn{raw}
	c, err := d.Accept()
	if (err != nil) != raw.closed {
		t.Fatalf("accepting gives %v, the connection is closed: %v", err, raw.closed)
	}
	return visit{raw, c}
}

// known lets a visitor show a good token, and be at work or idle then.
func (v visit) known(d *Door, s http.ConnState) visit {
	d.follow(v.place, http.StateActive)
	Of(d.context(context.Background(), v.place)).Known()
	d.follow(v.place, s)
	return v
}

// TestD5_IdleStrangersGiveWay: addresses enough to hold all places, each within its
// cap, hold them; whoever comes gets in all the same, and pushes out nobody who has
// shown a good token, nor a newcomer who is slow to speak.
func TestD5_IdleStrangersGiveWay(t *testing.T) {
	crowded := 0
	d := New(&queue{}, Config{All: 80, Each: 10, Crowded: func() { crowded++ }})
	good := come(t, d, "203.0.113.1").known(d, http.StateIdle)
	slow := come(t, d, "203.0.113.2")
	var idle []visit
	for i := range 78 {
		idle = append(idle, come(t, d, fmt.Sprintf("192.0.2.%d", i%9)))
	}
	d.follow(idle[0].place, http.StateIdle) // it was just answered: others have been idle for longer
	for i := range 8 {
		if v := come(t, d, fmt.Sprintf("198.51.100.%d", i)); v.place == nil {
			t.Fatalf("newcomer %d is shut out", i)
		}
	}
	// The crowd comes again and again: it pushes out itself.
	for i := range 400 {
		idle = append(idle, come(t, d, fmt.Sprintf("192.0.2.%d", i%9)))
	}
	gone := 0
	for _, v := range idle {
		if v.raw.closed {
			gone++
		}
	}
	if gone != 408 || crowded != 408 {
		t.Errorf("%d of the crowd have gone, %d were counted, want 408", gone, crowded)
	}
	if good.raw.closed || slow.raw.closed {
		t.Errorf("the known one has gone: %v, the one who is slow to speak: %v", good.raw.closed, slow.raw.closed)
	}
}

// TestWhoHasBeenIdleTheLongestGoesFirst where nobody is a crowd, however many connections
// his address has beside those of strangers who have one each: so many may be the cloud's.
func TestWhoHasBeenIdleTheLongestGoesFirst(t *testing.T) {
	d := New(&queue{}, Config{All: 64, Each: 8})
	first, second := come(t, d, "203.0.113.1"), come(t, d, "203.0.113.2")
	d.follow(first.place, http.StateIdle) // it was just answered
	var cloud []visit
	for i := range 62 {
		if i%20 == 0 {
			cloud = append(cloud, come(t, d, "192.0.2.1"))
		} else {
			come(t, d, fmt.Sprintf("198.51.100.%d", i))
		}
	}
	come(t, d, "198.51.100.200")
	if !second.raw.closed || first.raw.closed {
		t.Error("another one has gone than the one idle longest")
	}
	come(t, d, "198.51.100.201")
	for i, v := range cloud {
		if v.raw.closed {
			t.Errorf("connection %d of the address with %d has gone before older ones", i, len(cloud))
		}
	}
}

// TestB72_AnAddressPushesOutItself.
func TestB72_AnAddressPushesOutItself(t *testing.T) {
	d := New(&queue{}, Config{All: 80, Each: 2})
	other := come(t, d, "203.0.113.1")
	first, second := come(t, d, "192.0.2.1"), come(t, d, "192.0.2.1")
	third := come(t, d, "192.0.2.1")
	if other.raw.closed || !first.raw.closed || second.raw.closed || third.place == nil {
		t.Error("another one than the address's own first connection has gone")
	}
}

// TestD13_APlaceForProbes: even when everybody else is known and at work, or known
// and holds what it has, a newcomer gets in, from any address.
func TestD13_APlaceForProbes(t *testing.T) {
	d := New(&queue{}, Config{All: 64, Each: 16})
	for i := range 200 {
		if v := come(t, d, fmt.Sprintf("192.0.2.%d", i%10)); v.place != nil {
			v.known(d, http.StateActive)
		}
	}
	for _, from := range []string{"192.0.2.1", "203.0.113.1"} {
		if v := come(t, d, from); v.place == nil {
			t.Errorf("a probe from %s is shut out", from)
		}
	}
	// Those who are known and idle go before those at work, and after all strangers.
	d = New(&queue{}, Config{All: 4, Each: 4})
	idle := come(t, d, "192.0.2.1").known(d, http.StateIdle)
	works := come(t, d, "192.0.2.2").known(d, http.StateActive)
	strangers := []visit{come(t, d, "192.0.2.3"), come(t, d, "192.0.2.4")}
	for range 5 {
		come(t, d, "192.0.2.5")
	}
	if !strangers[0].raw.closed || !strangers[1].raw.closed || idle.raw.closed || works.raw.closed {
		t.Error("somebody known has gone before the strangers")
	}
}

// TestPlacesAreGivenBack once each, and nothing is remembered of who has gone.
func TestPlacesAreGivenBack(t *testing.T) {
	d := New(&queue{}, Config{All: 8, Each: 4})
	for i := range 100 {
		v := come(t, d, fmt.Sprintf("192.0.2.%d", i))
		if i%2 == 0 {
			v.known(d, http.StateIdle)
		}
		if i%3 == 0 {
			_, _ = v.place.Close(), v.place.Close()
		}
		if i > 90 {
			_ = v.place.Close()
		}
	}
	for d.all.first() != nil {
		_ = d.all.first().Close()
	}
	if d.all.open != 0 || d.all.known != 0 || len(d.each) != 0 {
		t.Errorf("%d connections, %d known, %d addresses are still counted", d.all.open, d.all.known, len(d.each))
	}
}

// TestD6_WhoHoldsSeveralRequestsGivesWay, and nobody else; and who goes on sending
// too many is closed.
func TestD6_WhoHoldsSeveralRequestsGivesWay(t *testing.T) {
	d := New(&queue{}, Config{All: 8})
	one, several := come(t, d, "192.0.2.1"), come(t, d, "192.0.2.2")
	one.place.(*Place).Begin()
	several.place.(*Place).Begin()
	if d.GiveWay(); one.raw.closed || several.raw.closed {
		t.Error("who holds one request has gone")
	}
	several.place.(*Place).Begin()
	if d.GiveWay(); one.raw.closed || !several.raw.closed {
		t.Error("who holds two requests stays, or another one has gone")
	}
	for range maxSent {
		one.place.(*Place).SendAway()
	}
	if one.raw.closed {
		t.Error("closed too early")
	}
	if one.place.(*Place).SendAway(); !one.raw.closed {
		t.Error("it may send too many for ever")
	}
}

// TestTrustedProxiesAreNotCapped: their connections are those of many.
func TestTrustedProxiesAreNotCapped(t *testing.T) {
	d := New(&queue{}, Config{All: 80, Each: 2, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	first := come(t, d, "10.0.0.1")
	for range 20 {
		come(t, d, "10.0.0.1")
	}
	if first.raw.closed {
		t.Error("a connection of a trusted proxy fell to the cap of its address")
	}
}

// TestWithoutADoor everything is known, so that nothing is kept from whoever serves
// without one.
func TestWithoutADoor(t *testing.T) {
	p := Of(context.Background())
	p.Known()
	p.GiveWay()
	p.SendAway()
	p.End()
	if !p.IsKnown() || p.Begin() != 0 {
		t.Error("without a door there are strangers")
	}
}

// soon returns a context for what takes no time.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
