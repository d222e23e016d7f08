package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"

	"tandem/ownership"
)

// dialer opens connections to the cluster ports of other nodes and can close
// all it opened: a node whose disk stalls must fall silent at once.
type dialer struct {
	creds     *credentials // nil: plain, loopback only
	handshake time.Duration
	reach     func(ctx context.Context, addr string) (net.Conn, error)
	open      openConns
}

func newDialer(creds *credentials, handshake time.Duration) *dialer {
	return &dialer{creds: creds, handshake: handshake, reach: dialTCP, open: openConns{creds: creds, use: x509.ExtKeyUsageServerAuth}}
}

// dial connects to addr, where the node want is expected; an empty want takes
// any node of the region.
func (d *dialer) dial(ctx context.Context, addr string, raft bool, want ownership.NodeID) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.handshake)
	defer cancel()
	if d.creds == nil && !loopback(addr) {
		return nil, fmt.Errorf("connecting to %s: plain connections are for loopback addresses only", addr)
	}
	raw, err := d.reach(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	conn := d.open.add(raw, nil)
	if conn == nil {
		return nil, net.ErrClosed
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
	err = tc.HandshakeContext(ctx)
	if err == nil {
		err = conn.settle(tc.ConnectionState().PeerCertificates)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	return tc, nil
}

// closeAll closes every connection and lets none be opened any more.
func (d *dialer) closeAll() { d.open.closeAll() }
