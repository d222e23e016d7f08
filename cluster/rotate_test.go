package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/cluster/transport"
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

// ownCAFile gives each node a file of authorities of its own.
func ownCAFile(t *testing.T) func(*Config) {
	return func(c *Config) {
		files := *c.TLS
		files.CAFile = filepath.Join(filepath.Dir(files.CertFile), string(c.Node.ID)+"-ca.pem")
		if _, err := os.Stat(files.CAFile); err != nil {
			put(t, map[string]string{files.CAFile: c.TLS.CAFile})
		}
		c.TLS = &files
	}
}

// newAuthority makes a second authority: its directory, and a file that trusts
// it beside the region's own.
func (r *testRegion) newAuthority() (dir, both string) {
	r.t.Helper()
	dir, both = filepath.Join(r.dir, "new-ca"), filepath.Join(r.dir, "both.pem")
	if _, _, err := transport.MakeCA(dir, "new", time.Hour); err != nil {
		r.t.Fatal(err)
	}
	var text []byte
	for _, d := range []string{r.ca, dir} {
		b, err := os.ReadFile(filepath.Join(d, transport.CACertFile))
		if err != nil {
			r.t.Fatal(err)
		}
		text = append(text, b...)
	}
	if err := os.WriteFile(both, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return dir, both
}

// TestF47_AuthorityAndCertificatesChangeUnderTraffic walks a region from one
// authority to another, both trusted in between, while claims go on at every
// node. The last step cuts what was opened under the old authority, so that the
// new certificates are really shown. No claim fails.
func TestF47_AuthorityAndCertificatesChangeUnderTraffic(t *testing.T) {
	long(t)
	r := newRegion(t, ownCAFile(t))
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
				pl, err := n.Claim(ctx, claimOf(i))
				cancel()
				// A leader that was cut off may be gone for an election.
				if err != nil && !errors.Is(err, ownership.ErrNoLeader) {
					t.Errorf("claim %d on %s: %v (%+v)", i, n.id, err, pl)
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
		before := claimed.Load()
		eventually(t, "claims after: "+step, func() bool { return claimed.Load() > before+30 })
		for _, n := range nodes {
			n.ready()
		}
	}

	newCA, both := r.newAuthority()
	for _, n := range nodes {
		put(t, map[string]string{n.cfg.TLS.CAFile: both})
	}
	reload("both authorities are trusted")
	for _, n := range nodes {
		cert, key, err := transport.MakeCert(filepath.Join(r.dir, "renewed"), newCA, testDeployment, "emea", n.id, nil, time.Minute*30)
		if err != nil {
			t.Fatal(err)
		}
		put(t, map[string]string{n.cfg.TLS.CertFile: cert, n.cfg.TLS.KeyFile: key})
	}
	reload("certificates of the new one")
	for _, n := range nodes {
		put(t, map[string]string{n.cfg.TLS.CAFile: filepath.Join(newCA, transport.CACertFile)})
	}
	reload("the old one is trusted no more")
	close(stop)
	traffic.Wait()

	old := r.credsOf(r.ca, testDeployment, "emea", "b", time.Minute)
	conf := old.Client(transport.ALPNRaft, "")
	conf.VerifyConnection = nil
	if conn, err := tls.Dial("tcp", nodes[0].Addr(), conf); err == nil {
		defer func() { _ = conn.Close() }()
		closedUnanswered(t, conn)
	}
	t.Logf("%d claims under way of the change", claimed.Load())
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
	d := transport.NewDialer(expired, time.Second)
	defer d.CloseAll()
	if conn, err := d.Dial(soon(t), n.Addr(), true, "a"); err == nil {
		closedUnanswered(t, conn)
	}
	eventually(t, "the refusal in the log", func() bool {
		return log.has("refusing a connection on the cluster port") && log.has("certificate has expired or is not yet valid")
	})

	// It is called.
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{expired.Client(transport.ALPNRaft, "").Certificates[0]}, NextProtos: []string{transport.ALPNRaft}, MinVersion: tls.VersionTLS13,
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
	_, err = n.dial.Dial(soon(t), ln.Addr().String(), true, "b")
	if err == nil || !strings.Contains(err.Error(), "checking a peer's certificate") || !strings.Contains(err.Error(), "expired") {
		t.Errorf("calling a node with an expired certificate gives: %v", err)
	}
	_ = ln.Close()
	<-done
}
