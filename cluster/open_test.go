package cluster

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
)

// cutOff tells when the far side has closed the connection.
func cutOff(conn net.Conn) <-chan struct{} {
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
		close(end)
	}()
	return end
}

func mustBeCut(t *testing.T, what string, end <-chan struct{}) {
	t.Helper()
	select {
	case <-end:
	case <-time.After(patience):
		t.Errorf("%s was not cut", what)
	}
}

// outsider speaks to a node with a certificate of its choice.
type outsider struct {
	creds   *transport.Credentials
	dial    *transport.Dialer
	links   *transport.Links
	to      *testNode
	reached *atomic.Int32 // connections that it has opened
}

func (r *testRegion) outsider(ca string, to *testNode) outsider {
	creds, reached := r.credsOf(ca, testDeployment, "emea", "b", time.Minute), new(atomic.Int32)
	d := transport.NewDialer(creds, patience)
	d.Reach = func(ctx context.Context, addr string) (net.Conn, error) {
		reached.Add(1)
		return transport.DialTCP(ctx, addr)
	}
	r.t.Cleanup(d.CloseAll)
	return outsider{creds, d, transport.NewLinks(d, transport.Identity{Deployment: testDeployment, Region: "emea", Node: "b"}), to, reached}
}

func (o outsider) hello() error {
	p := o.links.To(o.to.id, o.to.Addr())
	_, err := p.Hello(soon(o.to.r.t), &peerpb.HelloRequest{})
	return err
}

func (o outsider) raft() <-chan struct{} {
	conn, err := o.dial.Dial(soon(o.to.r.t), o.to.Addr(), true, o.to.id)
	if err != nil {
		o.to.r.t.Fatal(err)
	}
	return cutOff(conn)
}

// calledBy has the node open a connection to a listener with the certificate.
func (r *testRegion) calledBy(n *testNode, creds *transport.Credentials) <-chan struct{} {
	t := r.t
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{creds.Client(transport.ALPNRaft, "").Certificates[0]}, NextProtos: []string{transport.ALPNRaft}, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	end := make(chan struct{})
	go func() {
		if conn, err := ln.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, conn)
			close(end)
		}
	}()
	if _, err := n.dial.Dial(soon(t), ln.Addr().String(), true, "b"); err != nil {
		t.Fatal(err)
	}
	return end
}

// Somebody with a stolen key holds connections open, and the node has opened one
// to whoever has it. A reload that trusts the new authority alone cuts them; those
// under certificates of the new one live on.
func TestF47_AChangeOfAuthorityCutsOffAStolenKey(t *testing.T) {
	long(t)
	r := newRegion(t, ownCAFile(t))
	n := r.form(2)[0] // the others are members
	newCA, both := r.newAuthority()
	trust := func(file string) {
		t.Helper()
		put(t, map[string]string{n.cfg.TLS.CAFile: file})
		if err := n.ReloadTLS(); err != nil {
			t.Fatal(err)
		}
	}
	trust(both)
	thief, good := r.outsider(r.ca, n), r.outsider(newCA, n)
	for who, o := range map[string]outsider{"the thief": thief, "the good node": good} {
		if err := o.hello(); err != nil {
			t.Fatalf("before the change %s gets: %v", who, err)
		}
	}
	in, kept := thief.raft(), good.raft()
	out := r.calledBy(n, thief.creds)
	trust(filepath.Join(newCA, transport.CACertFile))
	mustBeCut(t, "a raft connection with the stolen key", in)
	mustBeCut(t, "a connection that the node opened to the stolen key", out)
	eventually(t, "the peer link with the stolen key is cut", func() bool { return thief.dial.Open() == 0 })
	if err := thief.hello(); err == nil {
		t.Error("the stolen key opens new connections")
	}
	if err := good.hello(); err != nil || good.reached.Load() != 2 || good.dial.Open() != 2 {
		t.Errorf("the good node's 2 connections did not live on: of %d that it opened %d are open: %v", good.reached.Load(), good.dial.Open(), err)
	}
	select {
	case <-kept:
		t.Error("a good raft connection was cut")
	default:
	}
}
