package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// forgedStream is a raft.StreamLayer that only dials, as it is told.
type forgedStream struct {
	nobody
	open func(addr string, timeout time.Duration) (net.Conn, error)
}

func (s forgedStream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.open(string(addr), timeout)
}

// nobody is a listener that is never called.
type nobody struct {
	over chan struct{}
	once *sync.Once
}

func newNobody() nobody { return nobody{make(chan struct{}), new(sync.Once)} }

func (n nobody) Accept() (net.Conn, error) { <-n.over; return nil, net.ErrClosed }
func (n nobody) Close() error              { n.once.Do(func() { close(n.over) }); return nil }
func (n nobody) Addr() net.Addr            { return advertised("evil:1") }

// The words by which a plain port tells its protocols apart.
const (
	prefaceRaft = "TANDEM-RAFT/2\n"
	prefacePeer = "TANDEM-PEER/1\n"
)

// attacker is the published attack on a raft port that asks nobody who they are:
// a transport of the same library, and messages of a term that no election will
// ever reach.
func attacker(t *testing.T, open func(addr string, timeout time.Duration) (net.Conn, error)) *raft.NetworkTransport {
	t.Helper()
	trans := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  forgedStream{newNobody(), open},
		MaxPool: 0, Timeout: time.Second, Logger: hclog.NewNullLogger(),
	})
	t.Cleanup(func() { _ = trans.Close() })
	return trans
}

const forgedTerm = 1 << 40

var evil = raft.RPCHeader{ProtocolVersion: 3, ID: []byte("evil"), Addr: []byte("evil:1")}

// attack sends every message that can harm, the three AppendEntries first, and
// gives how many were answered.
func attack(trans raft.Transport, addr string) (answered int) {
	to := raft.ServerAddress(addr)
	count := func(err error) {
		if err == nil {
			answered++
		}
	}
	for range 3 {
		count(trans.AppendEntries("a", to, &raft.AppendEntriesRequest{RPCHeader: evil, Term: forgedTerm}, &raft.AppendEntriesResponse{}))
	}
	count(trans.RequestVote("a", to, &raft.RequestVoteRequest{RPCHeader: evil, Term: forgedTerm + 1, LastLogIndex: 1 << 50, LastLogTerm: forgedTerm}, &raft.RequestVoteResponse{}))
	count(trans.TimeoutNow("a", to, &raft.TimeoutNowRequest{RPCHeader: evil}, &raft.TimeoutNowResponse{}))
	count(trans.InstallSnapshot("a", to, &raft.InstallSnapshotRequest{
		RPCHeader: evil, SnapshotVersion: 1, Term: forgedTerm + 2, LastLogIndex: 1 << 50, LastLogTerm: forgedTerm, Size: 5,
	}, &raft.InstallSnapshotResponse{}, bytes.NewReader([]byte("empty"))))
	return answered
}

// webCert makes a certificate as a web server has it: a name, and no node.
func (r *testRegion) webCert(ofRegionsCA bool) tls.Certificate {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "emea.bot.contoso.com"}, DNSNames: []string{"emea.bot.contoso.com"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := tmpl, any(key)
	if ofRegionsCA {
		ca, err := tls.LoadX509KeyPair(filepath.Join(r.ca, transport.CACertFile), filepath.Join(r.ca, transport.CAKeyFile))
		if err != nil {
			r.t.Fatal(err)
		}
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		r.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func overTLS(cert tls.Certificate) func(string, time.Duration) (net.Conn, error) {
	return func(addr string, timeout time.Duration) (net.Conn, error) {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: timeout}, "tcp", addr,
			&tls.Config{InsecureSkipVerify: true, NextProtos: []string{transport.ALPNRaft}, GetClientCertificate: shown(cert)})
		if err != nil {
			return nil, err
		}
		sayEvil(conn, timeout)
		return conn, nil
	}
}

// sayEvil gives the attacker's first word: without it no port takes its messages,
// guarded or not. What the other side makes of it, the messages will show.
func sayEvil(conn net.Conn, timeout time.Duration) {
	_ = conn.SetReadDeadline(time.Now().Add(timeout))
	_ = sayAs(conn, &peerpb.HelloRequest{Node: "evil", Process: "evil"})
	_ = conn.SetReadDeadline(time.Time{})
}

// sayAs gives the first word on a raft connection and reads the other's.
func sayAs(conn net.Conn, hello *peerpb.HelloRequest) error {
	return errors.Join(writePreface(conn, hello), readWord(conn, &peerpb.HelloReply{}))
}

func overTCP(preface string) func(string, time.Duration) (net.Conn, error) {
	return func(addr string, timeout time.Duration) (net.Conn, error) {
		conn, err := net.DialTimeout("tcp", addr, timeout)
		if err == nil && preface != "" {
			_, err = io.WriteString(conn, preface)
			sayEvil(conn, timeout)
		}
		return conn, err
	}
}

func TestB103_ForgedRaftMessages(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	n := r.form(1)[0]
	before := n.raft.CurrentTerm()
	for name, open := range map[string]func(string, time.Duration) (net.Conn, error){
		"B103 forged over plain TCP":                             overTCP(""),
		"B103 forged over plain TCP, with the plain port's word": overTCP(prefaceRaft),
		"B103 forged with a webhook certificate":                 overTLS(r.webCert(false)),
		"B103 forged with a webhook certificate of the same CA":  overTLS(r.webCert(true)),
		"B103 forged without a certificate":                      overTLS(tls.Certificate{}),
	} {
		t.Run(name, func(t *testing.T) {
			if answered := attack(attacker(t, open), n.Addr()); answered != 0 {
				t.Errorf("%d forged messages were answered", answered)
			}
		})
	}
	if term, state := n.raft.CurrentTerm(), n.raft.State(); term != before || state != raft.Leader {
		t.Errorf("the term went from %d to %d, the leader is a %s", before, term, state)
	}
	claim(t, n, 1)
}

// The control: the same program against the same node with TLS off. It shows
// that the test above can fail, and why a plain port is for loopback only.
func TestB103_ForgedRaftMessagesDeposeAPlainLeader(t *testing.T) {
	long(t)
	r := newRegion(t, func(c *Config) { c.TLS = nil })
	n := r.form(1)[0]
	trans := attacker(t, overTCP(prefaceRaft))
	answered := 0
	for range 3 {
		if trans.AppendEntries("a", raft.ServerAddress(n.Addr()), &raft.AppendEntriesRequest{RPCHeader: evil, Term: forgedTerm}, &raft.AppendEntriesResponse{}) == nil {
			answered++
		}
	}
	if term := n.raft.CurrentTerm(); answered != 3 || term < forgedTerm {
		t.Errorf("%d of 3 forged messages were answered, the term is %d: the attack is none, so the test of the TLS port proves nothing", answered, term)
	}
}

// A certificate outlives the removal of its node, and may have been made for one
// that never came: it is not enough to speak raft with the region.
func TestB103_ANodeThatIsNotOfTheRegionSpeaksInVain(t *testing.T) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	n := leaderOf(t, nodes...)
	n.ready() // one without a lease has lost touch, and takes nobody for a stranger
	gone := without(nodes, n)[0]
	try := func(what string, id ownership.NodeID) {
		t.Helper()
		before := n.raft.CurrentTerm()
		header := raft.RPCHeader{ProtocolVersion: 3, ID: []byte(id), Addr: []byte("forger:1")}
		var resp raft.AppendEntriesResponse
		err := r.forger(id, "forged").AppendEntries("", raft.ServerAddress(n.Addr()), &raft.AppendEntriesRequest{RPCHeader: header, Term: forgedTerm}, &resp)
		if err == nil {
			t.Errorf("%s was answered: %+v", what, resp)
		}
		if term := n.raft.CurrentTerm(); term != before || n.raft.State() != raft.Leader {
			t.Fatalf("%s deposed the leader: the term went from %d to %d", what, before, term)
		}
	}
	try("a node that never joined", "z")
	gone.stop()
	if err := n.Remove(soon(t), gone.id); err != nil {
		t.Fatal(err)
	}
	n.ready()
	try("a removed node", gone.id)
	claim(t, n, 1)
}

// forger speaks raft with a node's own certificate.
func (r *testRegion) forger(node ownership.NodeID, process string) *raft.NetworkTransport {
	d := transport.NewDialer(r.credsOf(r.ca, testDeployment, "emea", node, time.Minute), time.Second)
	trans := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: forgedStream{newNobody(), func(addr string, timeout time.Duration) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			conn, err := d.Dial(ctx, addr, true, "")
			if err != nil {
				return nil, err
			}
			return conn, sayAs(conn, &peerpb.HelloRequest{Node: string(node), Process: process})
		}},
		MaxPool: 1, Timeout: 2 * time.Second, Logger: hclog.NewNullLogger(),
	})
	r.t.Cleanup(func() {
		_ = trans.Close()
		trans.CloseStreams()
		d.CloseAll()
	})
	return trans
}
