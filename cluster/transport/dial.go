package transport

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

// Dialer opens connections to the cluster ports of other nodes and can close
// all it opened: a node whose disk stalls must fall silent at once.
type Dialer struct {
	creds     *Credentials // nil: plain, loopback only
	handshake time.Duration
	open      openConns
	// Reach opens a connection, Lookup gives all addresses of a name: the machine's own
	// when NewDialer has made the dialer.
	Reach  func(ctx context.Context, addr string) (net.Conn, error)
	Lookup func(ctx context.Context, host string) ([]string, error)
	// Refused is told which node's port refused a connection at which address. May be nil.
	Refused func(node ownership.NodeID, addr string)
}

// lookupLimit bounds the looking up of one name.
const lookupLimit = 2 * time.Second

// DialTCP connects over the machine's own network.
func DialTCP(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// NewDialer returns a dialer that shows these credentials, nil for plain connections.
// handshake bounds the opening of one connection.
func NewDialer(creds *Credentials, handshake time.Duration) *Dialer {
	return &Dialer{creds: creds, handshake: handshake, Reach: DialTCP, Lookup: net.DefaultResolver.LookupHost,
		open: openConns{creds: creds, use: x509.ExtKeyUsageServerAuth}}
}

// Dial connects to addr, where the node want is expected; an empty want takes
// any node of the region.
func (d *Dialer) Dial(ctx context.Context, addr string, raft bool, want ownership.NodeID) (net.Conn, error) {
	preface, proto := prefacePeer, ALPNPeer
	if raft {
		preface, proto = prefaceRaft, ALPNRaft
	}
	return d.connect(ctx, addr, preface, want, func() *tls.Config { return d.creds.Client(proto, want) })
}

// connect opens a connection: with a preface where there is no TLS, else by secured's
// configuration.
func (d *Dialer) connect(ctx context.Context, addr, preface string, want ownership.NodeID, secured func() *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.handshake)
	defer cancel()
	if d.creds == nil && !spelling.Loopback(addr) {
		return nil, fmt.Errorf("connecting to %s: plain connections are for loopback addresses only", addr)
	}
	raw, err := d.Reach(ctx, addr)
	if err != nil {
		if d.Refused != nil && want != "" && errors.Is(err, syscall.ECONNREFUSED) {
			d.Refused(want, addr)
		}
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	conn := d.open.add(raw, nil)
	if conn == nil {
		return nil, net.ErrClosed
	}
	if d.creds == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(d.handshake))
		if _, err := conn.Write([]byte(preface)); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("connecting to %s: %w", addr, err)
		}
		_ = conn.SetWriteDeadline(time.Time{})
		return conn, nil
	}
	tc := tls.Client(conn, secured())
	err = tc.HandshakeContext(ctx)
	if err == nil {
		err = conn.settle(tc.ConnectionState().PeerCertificates)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	if tc.ConnectionState().NegotiatedProtocol == ALPNRaft1 {
		return firstRaft{tc}, nil
	}
	return tc, nil
}

// firstRaft is a connection of raft's first version: nobody names a process on it.
type firstRaft struct{ net.Conn }

// NamesNoProcess reports whether a raft connection is of the first version, on which
// nobody names a process.
func NamesNoProcess(conn net.Conn) bool {
	_, first := conn.(firstRaft)
	return first
}

// Resolved replaces names by all the addresses that they resolve to: behind one
// name may be any number of nodes, and each is asked who it is.
func (d *Dialer) Resolved(ctx context.Context, addrs []string) []string {
	var out []string
	for _, addr := range addrs {
		all := []string{addr}
		if host, port, err := net.SplitHostPort(addr); err == nil && net.ParseIP(host) == nil {
			ctx, cancel := context.WithTimeout(ctx, lookupLimit)
			if ips, err := d.Lookup(ctx, host); err == nil && len(ips) > 0 {
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

// CloseAll closes every connection and lets none be opened any more.
func (d *Dialer) CloseAll() { d.open.closeAll() }

// Vet closes the connections whose peers the authority in force does not vouch for, and
// returns why, one error for each.
func (d *Dialer) Vet() []error { return d.open.vet() }

// Open counts the connections that are open.
func (d *Dialer) Open() int { return d.open.count() }
