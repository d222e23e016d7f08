package cluster

import (
	"context"
	"crypto/tls"
	"io"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tandem/cluster/peerpb"
	"tandem/ownership"
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
	*dialer
	*links
	to *testNode
}

func (r *testRegion) outsider(ca string, to *testNode) outsider {
	d := newDialer(r.credsOf(ca, testDeployment, "emea", "b", time.Minute), patience)
	r.t.Cleanup(d.closeAll)
	return outsider{d, newLinks(d, identity{testDeployment, "emea", "b"}), to}
}

func (o outsider) hello() error {
	p := o.links.to(o.to.id, o.to.Addr())
	_, err := p.Hello(soon(o.to.r.t), &peerpb.HelloRequest{})
	return err
}

func (o outsider) raft() <-chan struct{} {
	conn, err := o.dial(soon(o.to.r.t), o.to.Addr(), true, o.to.id)
	if err != nil {
		o.to.r.t.Fatal(err)
	}
	return cutOff(conn)
}

// calledBy has the node open a connection to a listener with the certificate.
func (r *testRegion) calledBy(n *testNode, creds *credentials) <-chan struct{} {
	t := r.t
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{creds.now.Load().cert}, NextProtos: []string{alpnRaft}, MinVersion: tls.VersionTLS13,
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
	if _, err := n.dial.dial(soon(t), ln.Addr().String(), true, creds.self.node); err != nil {
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
	before := good.open.settled()

	trust(filepath.Join(newCA, CACertFile))
	mustBeCut(t, "a raft connection with the stolen key", in)
	mustBeCut(t, "a connection that the node opened to the stolen key", out)
	eventually(t, "the peer link with the stolen key is cut", func() bool { return len(thief.open.settled()) == 0 })
	if err := thief.hello(); err == nil {
		t.Error("the stolen key opens new connections")
	}
	if err := good.hello(); err != nil || len(before) != 2 || !maps.EqualFunc(before, good.open.settled(), slices.Equal) {
		t.Errorf("the good node's %d connections did not live on: %v", len(before), err)
	}
	select {
	case <-kept:
		t.Error("a good raft connection was cut")
	default:
	}
}

// A connection does not outlive the certificate that opened it, by more than a
// minute.
func TestF47_AnOpenConnectionEndsWithItsCertificate(t *testing.T) {
	r := &testRegion{t: t, dir: t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		r.ca = filepath.Join(r.dir, "ca")
		if _, _, err := MakeCA(r.ca, "test", time.Hour); err != nil {
			t.Fatal(err)
		}
		cfg := &Config{MaxConnsPerIP: 10, Logger: testLogger(), Timings: Timings{Handshake: time.Second}}
		taken := make(chan net.Conn, 2)
		p := newPort(quietListener{}, r.credsOf(r.ca, testDeployment, "emea", "a", 30*time.Minute), cfg, func(why string) { t.Error(why) })
		p.raft = func(c net.Conn, _ ownership.NodeID) { taken <- c }
		call := func(node ownership.NodeID, lifetime time.Duration) <-chan struct{} {
			near, far := net.Pipe()
			go p.greet(p.admit(far))
			conn := tls.Client(near, r.credsOf(r.ca, testDeployment, "emea", node, lifetime).client(alpnRaft, "a"))
			if err := conn.HandshakeContext(context.Background()); err != nil {
				t.Fatal(err)
			}
			end := cutOff(conn)
			<-taken
			return end
		}
		start := time.Now()
		short, steady := call("b", 5*time.Minute), call("c", 30*time.Minute)
		<-short
		if lived := time.Since(start); lived < 5*time.Minute || lived > 5*time.Minute+vetEvery+time.Second {
			t.Errorf("a connection under a certificate of 5 minutes lived for %v", lived)
		}
		select {
		case <-steady:
			t.Error("a connection was cut whose certificate holds")
		default:
		}
		p.open.closeAll()
		<-steady
		time.Sleep(2 * vetEvery) // nothing is watched any more: the bubble could not end
	})
}

// A handshake that began under the old authority and ends under the new one is
// refused: the reload has looked at the open connections already.
func TestF47_AnAuthorityThatChangesDuringAHandshake(t *testing.T) {
	r := &testRegion{t: t, dir: t.TempDir()}
	r.ca = filepath.Join(r.dir, "ca")
	newCA := filepath.Join(r.dir, "new-ca")
	for _, dir := range []string{r.ca, newCA} {
		if _, _, err := MakeCA(dir, "test", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	creds := r.credsOf(r.ca, testDeployment, "emea", "a", time.Minute)
	why := make(chan string, 1)
	p := newPort(quietListener{}, creds, &Config{MaxConnsPerIP: 10, Logger: testLogger(), Timings: Timings{Handshake: patience}}, func(s string) { why <- s })
	p.raft = func(net.Conn, ownership.NodeID) { why <- "" }
	defer p.open.closeAll()
	near, far := net.Pipe()
	defer func() { _ = near.Close() }()
	go p.greet(p.admit(far))
	conf := r.credsOf(r.ca, testDeployment, "emea", "b", time.Minute).client(alpnRaft, "a")
	conf.VerifyConnection = func(tls.ConnectionState) error { // the node has read its roots by now
		put(t, map[string]string{creds.files.CAFile + ".other": filepath.Join(newCA, CACertFile)})
		creds.files.CAFile += ".other"
		return creds.reload()
	}
	go func() { _, _ = io.Copy(io.Discard, tls.Client(near, conf)) }()
	if got := <-why; got != "handshake" {
		t.Errorf("the connection was refused with %q", got)
	}
}

// quietListener is a listener that nobody calls.
type quietListener struct{ net.Listener }

func (quietListener) Addr() net.Addr { return advertised("quiet:1") }
