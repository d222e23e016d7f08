package webhook

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestConnectionCap: connections past the cap wait without a descriptor.
func TestConnectionCap(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	capped := oneNode(t, setup{}).door.Listener(l, Limits{Connections: 2, Each: 2})
	defer capped.Close()
	var accepted atomic.Int64
	two := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := capped.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			if accepted.Add(1) == 2 {
				close(two)
			}
		}
	}()
	for range 5 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	<-two
	if n := accepted.Load(); n != 2 {
		t.Errorf("%d connections accepted", n)
	}
	_ = capped.Close()
	<-done
}

// dialFrom opens a connection from an address of this machine.
func (nd *node) dialFrom(t *testing.T, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", strings.TrimPrefix(nd.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// postFrom posts a legacy body on a connection of its own from an address.
func (nd *node) postFrom(t *testing.T, from string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, nd.url+hookPath, strings.NewReader(legacyBody))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+mint(t, ourApp, ourTenant))
	transport := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext}
	resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(r)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestB72_OneAddressCannotHoldTheDoor: one address opens more connections than
// there are places in all, and keeps them; another one gets its answer at once.
func TestB72_OneAddressCannotHoldTheDoor(t *testing.T) {
	nd := oneNode(t, setup{limits: Limits{Connections: 8, Each: 4}})
	var held, closed []net.Conn
	for range 12 {
		held = append(held, nd.dialFrom(t, "127.0.0.1"))
	}
	held, closed = held[:4], held[4:]
	for i, c := range closed {
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
			t.Errorf("connection %d past the cap: %d bytes, %v", i+4, n, err)
		}
	}
	if status := nd.postFrom(t, "127.0.0.2"); status != 204 {
		t.Errorf("another address: %d", status)
	}
	if n := nd.counter(t, "tandem_webhook_crowded_connections_total", ""); n != 8 {
		t.Errorf("%v connections were counted, want 8", n)
	}
	// Those within the cap live on, and a place that is given back can be had.
	_, _ = io.WriteString(held[0], "GET "+hookPath+" HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
	if b, err := io.ReadAll(held[0]); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 405") {
		t.Errorf("%q, %v", b, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		status := nd.postFrom(t, "127.0.0.1")
		if status == 204 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after one of its connections ended, the address gets %d", status)
		}
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// Behind a load balancer every connection has the same address.
func TestNoCapOfAnAddressBehindALoadBalancer(t *testing.T) {
	nd := oneNode(t, setup{limits: Limits{Connections: 8, Each: 1}, config: func(c *Config) { c.Attempts.Shared = true }})
	for range 4 {
		nd.dialFrom(t, "127.0.0.1")
	}
	if status := nd.postFrom(t, "127.0.0.1"); status != 204 {
		t.Errorf("the fifth connection: %d", status)
	}
}

func TestShippedCaps(t *testing.T) {
	for all, each := range map[int]int{8192: 1024, 8: 1, 3: 1} {
		if l := (Limits{Connections: all}).withDefaults(); l.Each != each {
			t.Errorf("of %d connections one address may hold %d, want %d", all, l.Each, each)
		}
	}
}
