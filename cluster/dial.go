package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"tandem/ownership"
	"tandem/spelling"
)

// dialer opens connections to the cluster ports of other nodes and can close
// all it opened: a node whose disk stalls must fall silent at once.
type dialer struct {
	creds     *credentials // nil: plain, loopback only
	handshake time.Duration
	reach     func(ctx context.Context, addr string) (net.Conn, error)
	lookup    func(ctx context.Context, host string) ([]string, error)
	open      openConns
	// refused is told which node's port refused a connection at which address.
	refused func(node ownership.NodeID, addr string)
}

func newDialer(creds *credentials, handshake time.Duration) *dialer {
	return &dialer{creds: creds, handshake: handshake, reach: dialTCP, lookup: net.DefaultResolver.LookupHost,
		open: openConns{creds: creds, use: x509.ExtKeyUsageServerAuth}}
}

// dial connects to addr, where the node want is expected; an empty want takes
// any node of the region.
func (d *dialer) dial(ctx context.Context, addr string, raft bool, want ownership.NodeID) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.handshake)
	defer cancel()
	if d.creds == nil && !spelling.Loopback(addr) {
		return nil, fmt.Errorf("connecting to %s: plain connections are for loopback addresses only", addr)
	}
	raw, err := d.reach(ctx, addr)
	if err != nil {
		if d.refused != nil && errors.Is(err, syscall.ECONNREFUSED) {
			d.refused(want, addr)
		}
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
	if tc.ConnectionState().NegotiatedProtocol == alpnRaft1 {
		return firstRaft{tc}, nil
	}
	return tc, nil
}

// firstRaft is a connection of raft's first version: nobody names a process on it.
type firstRaft struct{ net.Conn }

// openRaftTo opens a raft connection to a node, wherever it is.
func (c *entry) openRaftTo(ctx context.Context, id ownership.NodeID) (net.Conn, error) {
	err := fmt.Errorf("connecting to node %s: nobody knows where it is", id)
	for _, addr := range c.dial.resolved(ctx, c.where(id)) {
		var conn net.Conn
		if conn, err = c.dial.dial(ctx, addr, true, id); err != nil {
			continue
		}
		if conn, err = c.introduce(conn, id); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// resolved replaces names by all the addresses that they resolve to: behind one
// name may be any number of nodes, and each is asked who it is.
func (d *dialer) resolved(ctx context.Context, addrs []string) []string {
	var out []string
	for _, addr := range addrs {
		all := []string{addr}
		if host, port, err := net.SplitHostPort(addr); err == nil && net.ParseIP(host) == nil {
			ctx, cancel := context.WithTimeout(ctx, helloLimit)
			if ips, err := d.lookup(ctx, host); err == nil && len(ips) > 0 {
				all = all[:0]
				for _, ip := range ips {
					all = append(all, net.JoinHostPort(ip, port))
				}
			}
			cancel()
		}
		for _, a := range all {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// closeAll closes every connection and lets none be opened any more.
func (d *dialer) closeAll() { d.open.closeAll() }
