package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tandem/cluster/clocks"
	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// credsOf makes a certificate signed by the CA in caDir and reads it as a node
// would that trusts the region's CA.
func (r *testRegion) credsOf(caDir, deployment string, region ownership.Region, node ownership.NodeID, lifetime time.Duration) *transport.Credentials {
	r.t.Helper()
	dir, err := os.MkdirTemp(r.dir, "creds")
	if err != nil {
		r.t.Fatal(err)
	}
	cert, key, err := transport.MakeCert(dir, caDir, deployment, region, node, nil, lifetime)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := transport.Load(transport.Files{CertFile: cert, KeyFile: key, CAFile: filepath.Join(r.ca, transport.CACertFile)}, transport.Identity{Deployment: deployment, Region: region, Node: node})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// shown shows a certificate whatever authorities the server names: Go's client shows
// none that they did not sign, and the server would not see what it is to refuse.
func shown(cert tls.Certificate) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
}

// closedUnanswered demands that the far side closes, and tells how many bytes it sent
// before: one that takes the peer link greets first.
func closedUnanswered(t *testing.T, conn net.Conn) (came int64) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	n, err := io.Copy(io.Discard, conn)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		t.Fatalf("the connection stayed open (%d bytes came)", n)
	}
	return n
}

func TestB103_StrangersAreRefusedOnTheClusterPort(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	n := r.form(1)[0]
	otherCA := filepath.Join(r.dir, "other-ca")
	if _, _, err := transport.MakeCA(otherCA, "other", time.Hour); err != nil {
		t.Fatal(err)
	}
	before := n.raft.CurrentTerm()
	for _, tc := range []struct {
		name  string
		creds *transport.Credentials
	}{
		{"B103 certificate of another CA", r.credsOf(otherCA, testDeployment, "emea", "b", time.Minute)},
		{"B103 another deployment", r.credsOf(r.ca, "fabrikam", "emea", "b", time.Minute)},
		{"B103 another region", r.credsOf(r.ca, testDeployment, "amer", "b", time.Minute)},
		{"B103 expired", r.credsOf(r.ca, testDeployment, "emea", "b", time.Nanosecond)},
	} {
		for _, proto := range []string{transport.ALPNRaft, transport.ALPNPeer} {
			t.Run(tc.name+" over "+proto, func(t *testing.T) {
				conf := tc.creds.Client(proto, "")
				conf.VerifyConnection = nil // the stranger is not picky
				conf.GetClientCertificate = shown(conf.Certificates[0])
				conn, err := tls.Dial("tcp", n.Addr(), conf)
				if err != nil {
					return // refused in the handshake
				}
				defer func() { _ = conn.Close() }()
				_, _ = conn.Write([]byte("\x00"))
				if n := closedUnanswered(t, conn); n > 0 {
					t.Errorf("it was taken: %d bytes came", n)
				}
			})
		}
	}
	t.Run("B103 no client certificate", func(t *testing.T) {
		conn, err := tls.Dial("tcp", n.Addr(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{transport.ALPNRaft}})
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		closedUnanswered(t, conn)
	})
	t.Run("B103 TLS 1.2", func(t *testing.T) {
		conf := r.credsOf(r.ca, testDeployment, "emea", "b", time.Minute).Client(transport.ALPNRaft, "")
		conf.MinVersion, conf.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if conn, err := tls.Dial("tcp", n.Addr(), conf); err == nil {
			_ = conn.Close()
			t.Error("TLS 1.2 was accepted")
		}
	})
	t.Run("B103 neither protocol", func(t *testing.T) {
		conf := r.credsOf(r.ca, testDeployment, "emea", "b", time.Minute).Client("http/1.1", "")
		conf.VerifyConnection = nil
		if conn, err := tls.Dial("tcp", n.Addr(), conf); err == nil {
			defer func() { _ = conn.Close() }()
			closedUnanswered(t, conn)
		}
	})
	t.Run("B103 plain raft", func(t *testing.T) {
		trans, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, 1, time.Second, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = trans.Close() }()
		var resp raft.AppendEntriesResponse
		err = trans.AppendEntries("a", raft.ServerAddress(n.Addr()), &raft.AppendEntriesRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("evil"), Addr: []byte("evil:1")}, Term: 1 << 40,
		}, &resp)
		if err == nil {
			t.Errorf("a forged message over plain TCP was answered: %+v", resp)
		}
	})
	if got := n.raft.CurrentTerm(); got != before {
		t.Errorf("a stranger raised the term from %d to %d", before, got)
	}
	if testutil.ToFloat64(n.m.refused.WithLabelValues("handshake")) == 0 {
		t.Error("no refused handshake was counted")
	}
	if n.raft.State() != raft.Leader {
		t.Error("a stranger deposed the leader")
	}
}

func TestB103_ANodeCannotSpeakForAnother(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	victim, third := without(nodes, ldr)[0], without(nodes, ldr)[1]
	before := victim.raft.CurrentTerm()
	header := raft.RPCHeader{ProtocolVersion: 3, ID: []byte(ldr.id), Addr: []byte(ldr.Addr())}
	to := raft.ServerAddress(victim.Addr())
	forger := r.forger(third.id, third.process)
	var ae raft.AppendEntriesResponse
	if err := forger.AppendEntries("", to, &raft.AppendEntriesRequest{RPCHeader: header, Term: 1 << 40}, &ae); err == nil {
		t.Errorf("a forged AppendEntries was answered: %+v", ae)
	}
	if err := forger.AppendEntries("", to, &raft.AppendEntriesRequest{RPCHeader: header, Term: 1 << 40, PrevLogEntry: 1, PrevLogTerm: 1}, &ae); err == nil {
		t.Errorf("a forged AppendEntries with entries was answered: %+v", ae)
	}
	var rv raft.RequestVoteResponse
	if err := forger.RequestVote("", to, &raft.RequestVoteRequest{RPCHeader: header, Term: 1 << 40, LeadershipTransfer: true}, &rv); err == nil {
		t.Errorf("a forged RequestVote was answered: %+v", rv)
	}
	var tn raft.TimeoutNowResponse
	if err := forger.TimeoutNow("", to, &raft.TimeoutNowRequest{RPCHeader: header}, &tn); err == nil {
		t.Errorf("a forged TimeoutNow was answered: %+v", tn)
	}
	var is raft.InstallSnapshotResponse
	if err := forger.InstallSnapshot("", to, &raft.InstallSnapshotRequest{RPCHeader: header, Term: 1 << 40, SnapshotVersion: 1}, &is, eofReader{}); err == nil {
		t.Errorf("a forged InstallSnapshot was answered: %+v", is)
	}
	if got := victim.raft.CurrentTerm(); got != before {
		t.Errorf("forged messages raised the term from %d to %d", before, got)
	}
	if testutil.ToFloat64(victim.m.refused.WithLabelValues("speaks for another node")) < 5 {
		t.Error("the forged messages were not counted")
	}

	own := raft.RPCHeader{ProtocolVersion: 3, ID: []byte(third.id), Addr: []byte("c:1")}
	if err := forger.InstallSnapshot("", to, &raft.InstallSnapshotRequest{RPCHeader: own, SnapshotVersion: 1, Size: math.MaxInt64}, &is, eofReader{}); err == nil {
		t.Error("B104: a snapshot of 2^63 bytes was taken")
	}
	eventually(t, "the huge snapshot is refused by its announced size", func() bool {
		return testutil.ToFloat64(victim.m.refused.WithLabelValues("snapshot size")) == 1
	})

	// The same on the peer link.
	creds := r.credsOf(r.ca, testDeployment, "emea", third.id, time.Minute)
	d := transport.NewDialer(creds, time.Second)
	defer d.CloseAll()
	l := transport.NewLinks(d, transport.Identity{Deployment: testDeployment, Region: "emea", Node: ldr.id})
	defer l.Close()
	p := l.To(victim.id, victim.Addr())
	if _, err := p.Hello(soon(t), &peerpb.HelloRequest{}); err == nil {
		t.Error("a peer request that names another node than its certificate was answered")
	}
	l2 := transport.NewLinks(d, transport.Identity{Deployment: testDeployment, Region: "emea", Node: third.id})
	defer l2.Close()
	p = l2.To(victim.id, victim.Addr())
	if _, err := p.Hello(soon(t), &peerpb.HelloRequest{}); err != nil {
		t.Errorf("an honest peer request was refused: %v", err)
	}
	if _, err := p.Renew(soon(t), &peerpb.RenewRequest{Node: string(ldr.id)}); err == nil {
		t.Error("a node renewed another node's lease")
	}
	if _, err := p.Dismiss(soon(t), &peerpb.DismissRequest{Node: string(ldr.id), Left: true}); err == nil {
		t.Error("a node said for another that it has left")
	}
	p = l2.To("z", victim.Addr())
	if _, err := p.Hello(soon(t), &peerpb.HelloRequest{}); !errors.Is(err, ownership.ErrUnreachable) {
		t.Errorf("dialling z where %s answers gave %v", victim.id, err)
	}
}

type eofReader struct{}

func (eofReader) Read([]byte) (int, error) { return 0, io.EOF }

func TestB104_GarbageIsClosed(t *testing.T) {
	long(t)
	r := newRegion(t, func(c *Config) { c.Timings.Handshake = 500 * time.Millisecond })
	n := r.form(1)[0]
	creds := r.credsOf(r.ca, testDeployment, "emea", "c", time.Minute)
	for name, garbage := range map[string][]byte{
		"B104 zeros":                     make([]byte, 4096),
		"B104 HTTP":                      []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"B104 a 4 GiB length":            {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"B104 a TLS record of 4 GiB":     {0x16, 0x03, 0x03, 0xff, 0xff, 0x01, 0xff, 0xff, 0xff},
		"B104 nothing, until the limit":  {},
		"B104 half a record, then quiet": {0x16, 0x03},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", n.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_, _ = conn.Write(garbage)
			closedUnanswered(t, conn)
		})
	}
	// Behind a good handshake: a msgpack byte string (bin32) of 4 GiB where
	// raft's message begins, and a message type that does not exist.
	for name, garbage := range map[string][]byte{
		"B104 4 GiB in raft's message": {0x00, 0xc6, 0xff, 0xff, 0xff, 0xff, 0x00},
		"B104 unknown raft message":    {0x63, 0x80},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", n.Addr(), creds.Client(transport.ALPNRaft, "a"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_, _ = conn.Write(garbage)
			_ = conn.CloseWrite()
			closedUnanswered(t, conn)
		})
	}
	if n.raft.State() != raft.Leader {
		t.Error("garbage deposed the leader")
	}
}

func TestPlainIsForLoopbackOnly(t *testing.T) {
	base := Config{Deployment: "d", Region: "r", Node: ownership.Node{ID: "n"}, Listen: "127.0.0.1:0", Partitions: births, Silence: usualSilence}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		ok     bool
	}{
		{"loopback", func(*Config) {}, true},
		{"IPv6 loopback", func(c *Config) { c.Listen = "[::1]:0" }, true},
		{"all addresses", func(c *Config) { c.Listen = "0.0.0.0:0" }, false},
		{"no address", func(c *Config) { c.Listen = ":8471" }, false},
		{"advertised elsewhere", func(c *Config) { c.Advertise = "10.0.0.1:8471" }, false},
		{"joining elsewhere", func(c *Config) { c.Join = []string{"10.0.0.1:8471"} }, false},
		{"a name that looks local", func(c *Config) { c.Listen = "localhost.example:0" }, false},
		{"all addresses with TLS", func(c *Config) { c.Listen, c.TLS = "0.0.0.0:0", &transport.Files{} }, true},
		{"a lease shorter than two renewals", func(c *Config) { c.Timings = clocks.Timings{Renew: time.Second, Lease: time.Second} }, false},
		{"a leader's lease over the heartbeat", func(c *Config) { c.Timings = clocks.Timings{LeaderLease: time.Second, Heartbeat: time.Millisecond} }, false},
		{"too many to expect", func(c *Config) { c.BootstrapExpect = 6 }, false},
		{"no partitions", func(c *Config) { c.Partitions = 0 }, false},
		{"no silence", func(c *Config) { c.Silence = nil }, false},
		{"a name below localhost", func(c *Config) { c.Listen = "x.localhost:0" }, false},
		{"no node id", func(c *Config) { c.Node.ID = "" }, false},
		{"no listener", func(c *Config) { c.Listen = "" }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := base
			tc.change(&c)
			if err := c.fill(); (err == nil) != tc.ok {
				t.Errorf("the configuration gave %v", err)
			}
		})
	}
	if _, err := transport.NewDialer(nil, time.Second).Dial(context.Background(), "10.0.0.1:1", true, ""); err == nil {
		t.Error("a plain connection was tried to another machine")
	}
}

func TestPlainRegionOnLoopback(t *testing.T) {
	long(t)
	r := newRegion(t, func(c *Config) { c.TLS = nil })
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	for i, n := range nodes {
		claim(t, n, i)
	}
	converge(t, nodes)
	// Without certificates the speaker's word still has to fit.
	d := transport.NewDialer(nil, time.Second)
	defer d.CloseAll()
	l := transport.NewLinks(d, transport.Identity{Deployment: "fabrikam", Region: "emea", Node: "b"})
	defer l.Close()
	p := l.To(ldr.id, ldr.Addr())
	if _, err := p.Hello(soon(t), &peerpb.HelloRequest{}); !errors.Is(err, ownership.ErrForeign) {
		t.Errorf("a node of another deployment was answered with %v", err)
	}
	conn, err := net.Dial("tcp", ldr.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write([]byte("TANDEM-EVIL/1\n"))
	closedUnanswered(t, conn)
}

func TestF47_CertificatesAreReloaded(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(2)
	n := nodes[1]
	inForce := func() *x509.Certificate { return n.creds.Client(transport.ALPNPeer, "").Certificates[0].Leaf }
	old := inForce()
	files := *n.cfg.TLS
	dir := filepath.Join(r.dir, "fresh")
	cert, key, err := transport.MakeCert(dir, r.ca, testDeployment, "emea", n.id, nil, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{cert: files.CertFile, key: files.KeyFile} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.ReloadTLS(); err != nil {
		t.Fatal(err)
	}
	fresh := inForce()
	if fresh == old {
		t.Error("the certificate was not read again")
	}
	if err := os.WriteFile(files.CertFile, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.ReloadTLS(); err == nil || inForce() != fresh {
		t.Errorf("F48: a broken file gave %v and replaced the certificate in force", err)
	}
	claim(t, n, 1)
}
