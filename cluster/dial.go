package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"tandem/ownership"
)

// dialer opens connections to the cluster ports of other nodes and can close
// all it opened: a node whose disk stalls must fall silent at once.
type dialer struct {
	creds     *credentials // nil: plain, loopback only
	handshake time.Duration

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

func newDialer(creds *credentials, handshake time.Duration) *dialer {
	return &dialer{creds: creds, handshake: handshake, open: make(map[net.Conn]struct{})}
}

// dial connects to addr, where the node want is expected; an empty want takes
// any node of the region.
func (d *dialer) dial(ctx context.Context, addr string, raft bool, want ownership.NodeID) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.handshake)
	defer cancel()
	if d.creds == nil && !loopback(addr) {
		return nil, fmt.Errorf("connecting to %s: plain connections are for loopback addresses only", addr)
	}
	var nd net.Dialer
	raw, err := nd.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	conn, err := d.track(raw)
	if err != nil {
		return nil, err
	}
	if d.creds == nil {
		preface := prefacePeer
		if raft {
			preface = prefaceRaft
		}
		_ = conn.SetWriteDeadline(time.Now().Add(d.handshake))
		if _, err := conn.Write([]byte(preface)); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("connecting to %s: %w", addr, err)
		}
		_ = conn.SetWriteDeadline(time.Time{})
		return conn, nil
	}
	proto := alpnPeer
	if raft {
		proto = alpnRaft
	}
	tc := tls.Client(conn, d.creds.client(proto, want))
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	return tc, nil
}

func (d *dialer) track(raw net.Conn) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = raw.Close()
		return nil, net.ErrClosed
	}
	c := &countedConn{Conn: raw}
	c.gone = func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.open, c)
	}
	d.open[c] = struct{}{}
	return c, nil
}

// closeAll closes every connection and lets none be opened any more.
func (d *dialer) closeAll() {
	d.mu.Lock()
	d.closed = true
	open := make([]net.Conn, 0, len(d.open))
	for c := range d.open {
		open = append(open, c)
	}
	d.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}
