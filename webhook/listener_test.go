package webhook

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

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

// TestD5_B72_OneAddressCannotHoldTheDoor: one address opens more connections than
// there are places in all, and keeps them; another one, and the same one, get their
// answers at once. What has shown a good token stays.
func TestD5_B72_OneAddressCannotHoldTheDoor(t *testing.T) {
	// Nobody goes because of the time: it is for the crowd to push out.
	nd := oneNode(t, setup{limits: Limits{Connections: 16, Each: 8, ReadHeader: time.Minute, Read: time.Minute}})
	known := nd.dialFrom(t, "127.0.0.1")
	ask := func() {
		t.Helper()
		_, _ = fmt.Fprintf(known, "POST %s HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			hookPath, mint(t, ourApp, ourTenant), len(legacyBody), legacyBody)
		line := make([]byte, 512)
		if n, err := known.Read(line); err != nil || !strings.HasPrefix(string(line[:n]), "HTTP/1.1 204") {
			t.Fatalf("the known connection gets %q, %v", line[:n], err)
		}
	}
	ask()
	var held []net.Conn
	for range 40 {
		held = append(held, nd.dialFrom(t, "127.0.0.1"))
	}
	for i, c := range held[:30] {
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
			t.Errorf("connection %d, which has been idle for long: %d bytes, %v", i, n, err)
		}
	}
	for _, from := range []string{"127.0.0.3", "127.0.0.4"} { // together they can hold every place
		for range 8 {
			nd.dialFrom(t, from)
		}
	}
	for _, from := range []string{"127.0.0.2", "127.0.0.1"} {
		if status := nd.postFrom(t, from); status != 204 {
			t.Errorf("a newcomer from %s: %d", from, status)
		}
	}
	ask()
	if n := nd.counter(t, "tandem_webhook_crowded_connections_total", ""); n < 30 {
		t.Errorf("%v connections were counted, want 30 and more", n)
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// Behind a load balancer every connection has the same address.
func TestNoCapOfAnAddressBehindALoadBalancer(t *testing.T) {
	nd := oneNode(t, setup{limits: Limits{Connections: 8, Each: 1}, config: func(c *Config) { c.Hidden = true }})
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
