package transport

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/ownership"
)

// callFrom is one end of a connection that seems to come from elsewhere.
type callFrom struct {
	net.Conn
	remote string
}

func (c callFrom) RemoteAddr() net.Addr { return named(c.remote) }

// knock gives the port a connection from the address, and our end of it.
func knock(t *testing.T, p *Port, remote string) (ours net.Conn, admitted *openConn) {
	near, far := net.Pipe()
	t.Cleanup(func() { _ = near.Close() })
	return near, p.admit(callFrom{far, remote})
}

// quietPort is a plain port whose listener nobody calls.
func quietPort(t *testing.T, log *slog.Logger) (p *Port, refused func(why string) int) {
	var mu sync.Mutex
	counts := map[string]int{}
	p = NewPort(quietListener{}, nil, PortConfig{
		Handshake: patience, MaxConnsPerIP: 3, Logger: log, Raft: func(net.Conn, ownership.NodeID) {},
		Refused: func(why string) {
			mu.Lock()
			defer mu.Unlock()
			counts[why]++
		},
	})
	t.Cleanup(p.open.closeAll)
	return p, func(why string) int {
		mu.Lock()
		defer mu.Unlock()
		return counts[why]
	}
}

func TestB105_AConnectionCountsForItsNetwork(t *testing.T) {
	p, refused := quietPort(t, quiet())
	for i := range 100 {
		knock(t, p, fmt.Sprintf("[2001:db8::%x]:1", i))
	}
	if n := refused("too many connections"); n != 97 {
		t.Errorf("of 100 addresses of one /64, %d were refused, want 97", n)
	}
	for i := range 10 {
		if _, c := knock(t, p, fmt.Sprintf("192.0.2.%d:1", i)); c == nil {
			t.Error("another IPv4 address was refused")
		}
	}
}

// Callers that say nothing hold 256 places; the oldest gives way, so that a node
// gets in.
func TestB105_TheOldestHandshakeGivesWay(t *testing.T) {
	p, refused := quietPort(t, quiet())
	var greets sync.WaitGroup
	ends := make([]<-chan struct{}, 0, maxGreets+10)
	for i := range maxGreets + 10 {
		ours, c := knock(t, p, fmt.Sprintf("10.0.%d.%d:1", i/250, i%250))
		greets.Go(func() { p.greet(c) })
		ends = append(ends, cutOff(ours))
	}
	if n := refused("too many handshakes"); n != 10 {
		t.Errorf("%d gave way, want 10", n)
	}
	for i, end := range ends[:10] {
		mustBeCut(t, fmt.Sprintf("connection %d", i), end)
	}
	for i, end := range ends[10:] {
		select {
		case <-end:
			t.Errorf("connection %d was cut", i+10)
		default:
		}
	}
	in := make(chan struct{})
	p.raft = func(net.Conn, ownership.NodeID) { close(in) }
	ours, c := knock(t, p, "192.0.2.1:1")
	greets.Go(func() { p.greet(c) })
	if _, err := ours.Write([]byte(prefaceRaft)); err != nil {
		t.Fatal(err)
	}
	mustBeCut(t, "the wait of an honest node", in)
	p.open.closeAll()
	greets.Wait()
	if len(p.greets)+p.counts.Len() != 0 {
		t.Errorf("%d handshakes and %d addresses still count", len(p.greets), p.counts.Len())
	}
}

func TestB105_AFloodOfRefusalsFillsNoLog(t *testing.T) {
	var log bytes.Buffer
	p, refused := quietPort(t, slog.New(slog.NewTextHandler(&log, nil)))
	begun := time.Now()
	for range 1000 {
		ours, c := knock(t, p, "192.0.2.1:1")
		_ = ours.Close()
		p.greet(c)
	}
	most := refusedBurst + int(refusedLines*time.Since(begun).Seconds()) + 1
	if n := strings.Count(log.String(), "refusing a connection"); n < 10 || n > most {
		t.Errorf("1000 refused connections wrote %d lines, want at most %d", n, most)
	}
	if n := refused("handshake"); n != 1000 {
		t.Errorf("%d of 1000 are counted", n)
	}
}

func TestB105_ConnectionsOfOneAddressAreCapped(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int32
	p := NewPort(ln, newAuthority(t).credsOf("a", time.Minute), PortConfig{
		Handshake: 10 * time.Second, MaxConnsPerIP: 20, Logger: quiet(), Raft: func(net.Conn, ownership.NodeID) {},
		Refused: func(why string) {
			if why == "too many connections" {
				refused.Add(1)
			}
		},
	})
	p.Serve()
	defer p.Wait()
	defer p.CloseAll()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range 100 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	eventually(t, "80 of 100 idle connections are refused", func() bool { return refused.Load() >= 80 })
	if open := p.open.count(); open > 20 {
		t.Errorf("%d connections are open, 20 are allowed", open)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	eventually(t, "the closed ones no longer count", func() bool { return p.counts.Len() == 0 })
}
