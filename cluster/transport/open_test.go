package transport

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

// A connection does not outlive the certificate that opened it, by more than a
// minute.
func TestF47_AnOpenConnectionEndsWithItsCertificate(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { // with its own time for the certificates
		r := &authority{t: t, dir: dir}
		r.ca = r.make("ca")
		taken := make(chan net.Conn, 2)
		p := NewPort(quietListener{}, r.credsOf("a", 30*time.Minute), PortConfig{
			Handshake: time.Second, MaxConnsPerIP: 10, Logger: quiet(), Refused: func(why string) { t.Error(why) },
			Raft: func(c net.Conn, _ ownership.NodeID) { taken <- c },
		})
		call := func(node ownership.NodeID, lifetime time.Duration) <-chan struct{} {
			near, far := net.Pipe()
			go p.greet(p.admit(far))
			conn := tls.Client(near, r.credsOf(node, lifetime).Client(ALPNRaft, "a"))
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
	r := newAuthority(t)
	newCA := r.make("new-ca")
	creds := r.credsOf("a", time.Minute)
	why := make(chan string, 1)
	p := NewPort(quietListener{}, creds, PortConfig{
		Handshake: patience, MaxConnsPerIP: 10, Logger: quiet(), Refused: func(s string) { why <- s },
		Raft: func(net.Conn, ownership.NodeID) { why <- "" },
	})
	defer p.open.closeAll()
	near, far := net.Pipe()
	defer func() { _ = near.Close() }()
	go p.greet(p.admit(far))
	conf := r.credsOf("b", time.Minute).Client(ALPNRaft, "a")
	conf.VerifyConnection = func(tls.ConnectionState) error { // the node has read its roots by now
		creds.files.CAFile = filepath.Join(newCA, CACertFile)
		return creds.Reload()
	}
	go func() { _, _ = io.Copy(io.Discard, tls.Client(near, conf)) }()
	if got := <-why; got != "handshake" {
		t.Errorf("the connection was refused with %q", got)
	}
}
