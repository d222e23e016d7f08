package doorway

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"tandem/addrlimit"
)

// TestD3_WhoseAddressItIs: only trusted proxies are believed, and of what they
// wrote only what they saw themselves.
func TestD3_WhoseAddressItIs(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name, from string
		forwarded  []string
		want       string // empty: nobody tells
	}{
		{"no proxy", "192.0.2.1:80", nil, "192.0.2.1"},
		{"a caller's own word", "192.0.2.1:80", []string{"203.0.113.9"}, "192.0.2.1"},
		{"a proxy", "10.0.0.1:80", []string{"203.0.113.9"}, "203.0.113.9"},
		{"a proxy over IPv6", "[fd00::1]:80", []string{"2001:db8:1:2:3::4"}, "2001:db8:1:2::"},
		{"a mapped proxy", "[::ffff:10.0.0.1]:80", []string{"203.0.113.9"}, "203.0.113.9"},
		{"what the caller wrote before", "10.0.0.1:80", []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		{"in a line of its own", "10.0.0.1:80", []string{"198.51.100.1", "203.0.113.9"}, "203.0.113.9"},
		{"two proxies", "10.0.0.1:80", []string{"198.51.100.1, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"with a port", "10.0.0.1:80", []string{"203.0.113.9:4711"}, "203.0.113.9"},
		{"in brackets", "10.0.0.1:80", []string{"[2001:db8::1]:4711"}, "2001:db8::"},
		{"a silent proxy", "10.0.0.1:80", nil, ""},
		{"nothing but proxies", "10.0.0.1:80", []string{"10.0.0.3, 10.0.0.2"}, ""},
		{"nonsense", "10.0.0.1:80", []string{"203.0.113.9, unknown"}, ""},
		{"no address at all", "pipe", []string{"203.0.113.9"}, ""},
	} {
		r := &http.Request{RemoteAddr: c.from, Header: http.Header{"X-Forwarded-For": c.forwarded}}
		if got := Caller(r, trusted); got.IsValid() != (c.want != "") || got.IsValid() && got.String() != c.want {
			t.Errorf("%s: %s, want %q", c.name, got, c.want)
		}
	}
}

// TestD3_ProxyProtocol: connections of a trusted proxy are their callers', and one
// that does not say whose it is holds nobody up and does not get in.
func TestD3_ProxyProtocol(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := New(inner, Config{All: 8, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, ProxyProtocol: true})
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x0a\x00\x00\x01\x10\x00\x01\xbb" // 203.0.113.9:4096
	local := "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"                                              // a proxy's own probe
	dial := func(from, text string) net.Conn {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(soon(t), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		return c
	}
	dial("127.0.0.1", "") // says nothing at all
	for _, c := range []struct{ name, from, text, want string }{
		{"version 1", "127.0.0.1", "PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n", "203.0.113.7"},
		{"version 2", "127.0.0.1", v2, "203.0.113.9"},
		{"a probe of the proxy", "127.0.0.1", local, "127.0.0.1"},
		{"somebody else", "127.0.0.2", "PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n", "127.0.0.2"},
	} {
		sent := dial(c.from, c.text+"x")
		got, err := d.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if from := addrlimit.Key(got.RemoteAddr().String()).String(); from != c.want {
			t.Errorf("%s: it comes from %s, want %s", c.name, from, c.want)
		}
		first := make([]byte, 1)
		if _, err := io.ReadFull(got, first); err != nil || c.from == "127.0.0.1" && first[0] != 'x' {
			t.Errorf("%s: the first byte behind is %q, %v", c.name, first, err)
		}
		_, _ = sent.Close(), got.Close()
	}
	plain := dial("127.0.0.1", "GET / HTTP/1.1\r\n\r\n")
	if _, err := plain.Read(make([]byte, 1)); err == nil {
		t.Error("a connection of the proxy without a word whose it is gets an answer")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Accept(); err == nil {
		t.Error("a closed door lets somebody in")
	}
}
