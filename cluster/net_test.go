package cluster

import (
	"net"
	"testing"
)

// freeAddrs returns loopback addresses that were free a moment ago.
func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	var open []net.Listener
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, ln)
		out = append(out, ln.Addr().String())
	}
	for _, ln := range open {
		_ = ln.Close()
	}
	return out
}
