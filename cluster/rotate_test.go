package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/ownership"
)

// put copies files over others, each at once, as a tool that renews
// certificates does.
func put(t *testing.T, files map[string]string) {
	t.Helper()
	for to, from := range files {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to+".new", b, 0o600)
		}
		if err == nil {
			err = os.Rename(to+".new", to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestF47_AuthorityAndCertificatesChangeUnderTraffic walks a region from one
// authority to another, both trusted in between, while claims go on at every node and connections are cut so that the
// new certificates are really shown. No claim fails.
func TestF47_AuthorityAndCertificatesChangeUnderTraffic(t *testing.T) {
	long(t)
	r := newRegion(t, func(c *Config) {
		files := *c.TLS
		files.CAFile = filepath.Join(filepath.Dir(files.CertFile), string(c.Node.ID)+"-ca.pem")
		if _, err := os.Stat(files.CAFile); err != nil {
			put(t, map[string]string{files.CAFile: c.TLS.CAFile})
		}
		c.TLS = &files
	})
	nodes := r.form(3)
	leaderOf(t, nodes...)

	var next, claimed atomic.Int64
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	for _, n := range nodes {
		traffic.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := int(next.Add(1))
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				_, err := n.Claim(ctx, claimOf(i))
				cancel()
				// A cut leader may be gone for an election: that is the test's doing.
				if err != nil && !errors.Is(err, ownership.ErrNoLeader) {
					t.Errorf("claim %d on %s: %v", i, n.id, err)
				} else if err == nil {
					claimed.Add(1)
				}
			}
		})
	}
	reload := func(step string) {
		t.Helper()
		for _, n := range nodes {
			if err := n.ReloadTLS(); err != nil {
				t.Fatalf("%s: %v", step, err)
			}
		}
		// Open connections go on with what they showed; cut them.
		for _, n := range nodes {
			n.dial.cutOpen()
		}
		before := claimed.Load()
		eventually(t, "claims after: "+step, func() bool { return claimed.Load() > before+30 })
		for _, n := range nodes {
			n.ready()
		}
	}

	newCA := filepath.Join(r.dir, "new-ca")
	if _, _, err := MakeCA(newCA, "new", time.Hour); err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(r.dir, "both.pem")
	var text []byte
	for _, dir := range []string{r.ca, newCA} {
		b, err := os.ReadFile(filepath.Join(dir, CACertFile))
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	if err := os.WriteFile(both, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		put(t, map[string]string{n.cfg.TLS.CAFile: both})
	}
	reload("both authorities are trusted")
	for _, n := range nodes {
		cert, key, err := MakeCert(filepath.Join(r.dir, "renewed"), newCA, testDeployment, "emea", n.id, nil, time.Minute*30)
		if err != nil {
			t.Fatal(err)
		}
		put(t, map[string]string{n.cfg.TLS.CertFile: cert, n.cfg.TLS.KeyFile: key})
	}
	reload("certificates of the new one")
	for _, n := range nodes {
		put(t, map[string]string{n.cfg.TLS.CAFile: filepath.Join(newCA, CACertFile)})
	}
	reload("the old one is trusted no more")
	close(stop)
	traffic.Wait()

	old := r.credsOf(r.ca, testDeployment, "emea", "b", time.Minute)
	conf := old.client(alpnRaft, "")
	conf.VerifyConnection = nil
	if conn, err := tls.Dial("tcp", nodes[0].Addr(), conf); err == nil {
		defer func() { _ = conn.Close() }()
		closedUnanswered(t, conn)
	}
	t.Logf("%d claims under way of the change", claimed.Load())
}

// cutOpen closes the connections that are open now; new ones may be opened.
func (d *dialer) cutOpen() {
	d.mu.Lock()
	open := make([]net.Conn, 0, len(d.open))
	for c := range d.open {
		open = append(open, c)
	}
	d.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// lines collects a log.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *lines) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), s)
}

// An expired certificate is refused, and the side that refuses says why in words
// that an operator understands.
func TestF47_B103_AnExpiredPeerIsRefusedInClearWords(t *testing.T) {
	long(t)
	log := &lines{}
	r := newRegion(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	n := r.form(1)[0]
	expired := r.credsOf(r.ca, testDeployment, "emea", "b", time.Nanosecond)

	// It knocks.
	d := newDialer(expired, time.Second)
	defer d.closeAll()
	if conn, err := d.dial(soon(t), n.Addr(), true, "a"); err == nil {
		closedUnanswered(t, conn)
	}
	eventually(t, "the refusal in the log", func() bool {
		return log.has("refusing a connection on the cluster port") && log.has("certificate has expired or is not yet valid")
	})

	// It is called.
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{expired.now.Load().cert}, NextProtos: []string{alpnRaft}, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).HandshakeContext(context.Background())
			_ = conn.Close()
		}
	}()
	_, err = n.dial.dial(soon(t), ln.Addr().String(), true, "b")
	if err == nil || !strings.Contains(err.Error(), "checking a peer's certificate") || !strings.Contains(err.Error(), "expired") {
		t.Errorf("calling a node with an expired certificate gives: %v", err)
	}
	_ = ln.Close()
	<-done
}
