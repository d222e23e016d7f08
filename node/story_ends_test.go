package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pairUntil writes a certificate for loopback that ends then.
func pairUntil(t *testing.T, dir string, end time.Time) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(end.Unix()), Subject: pkix.Name{CommonName: "bot"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-400 * 24 * time.Hour), NotAfter: end,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	must(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
}

// TestO12_CertificatesHaveAnEndThatSomebodySees: the link to a pair is moved, as
// orchestrators do, and nobody sends a signal. The new pair is served, its end is a
// metric, a warning and a line in the log; when it is over the node is not ready, says
// why, and goes on serving whoever comes.
func TestO12_CertificatesHaveAnEndThatSomebodySees(t *testing.T) {
	t.Parallel()
	var x *seat
	var link string
	move := func(to string) {
		must(t, os.Symlink(to, link+".new"))
		must(t, os.Rename(link+".new", link))
	}
	now := time.Now()
	s := deploy(t, plan{nodes: 1, secure: true, shape: func(y *seat, c *Config) {
		x, link = y, filepath.Join(y.s.dir, "data")
		for name, end := range map[string]time.Time{"far": now.Add(90 * 24 * time.Hour), "soon": now.Add(20 * 24 * time.Hour), "over": now.Add(-time.Hour)} {
			pairUntil(t, filepath.Join(y.s.dir, name), end)
		}
		move("far")
		c.Public.TLS.ServerTLS = ServerTLS{CertFile: filepath.Join(link, "tls.crt"), KeyFile: filepath.Join(link, "tls.key")}
	}})
	served := func() time.Time {
		c, err := tls.Dial("tcp", x.public, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return time.Time{}
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].NotAfter
	}
	if w := strings.Join(x.status().Warnings, "\n"); strings.Contains(w, "public.tls: its certificate end") {
		t.Errorf("warned without a reason: %s", w)
	}
	for _, key := range []string{"public.tls", "cluster.tls.cert_file", "cluster.tls.ca_file"} {
		if m := s.metrics(x); !strings.Contains(m, `tandem_certificate_not_after{key="`+key+`"}`) {
			t.Errorf("no metric says when %s ends", key)
		}
	}
	move("soon")
	eventually(t, "the new pair", func() error {
		at := served()
		return not(time.Until(at) < 21*24*time.Hour && time.Until(at) > 0, "it ends at %v", at)
	})
	const soon = "public.tls: its certificate ends at "
	eventually(t, "a line in the log", func() error { return not(strings.Contains(s.log.all(), soon), "none") })
	if w := strings.Join(x.status().Warnings, "\n"); !strings.Contains(w, soon) {
		t.Errorf("nobody is warned 20 days before: %s", w)
	}
	if all, err := x.node.cfg.CheckFiles(now); !strings.Contains(strings.Join(all, "\n"), soon) {
		t.Errorf("config validate does not say so: %s, %v", all, err)
	}
	must(t, os.WriteFile(filepath.Join(s.dir, "soon", "tls.key"), []byte("half"), 0o600)) // is written just now
	eventually(t, "that half a pair is not taken", func() error {
		return not(strings.Contains(s.log.all(), "changed certificates are not taken yet"), "nobody says so")
	})
	if at := served(); time.Until(at) < 0 {
		t.Error("half a pair was put in force")
	}
	move("over")
	eventually(t, "not ready", func() error {
		a := s.send(http.MethodGet, "http://"+x.admin+"/readyz?verbose", "", nil)
		return not(a.status == http.StatusServiceUnavailable && strings.Contains(a.body, "public.tls: its certificate ended"), "%d %s", a.status, a.body)
	})
	promises, err := x.api().Guarantees(t.Context())
	must(t, err)
	for _, p := range promises {
		if p.Name == "certificates-hold" && (p.Holds || !strings.Contains(p.Why, "public.tls")) {
			t.Errorf("the guarantee says %+v", p)
		}
	}
}

// TestO4_RefusedCredentialsAreKnownBeforeACall: the app's secret has run out before
// the node starts. No call has come, and everybody who asks is told; the node, which
// has other things to do, stays ready. With the right secret it heals by itself.
func TestO4_RefusedCredentialsAreKnownBeforeACall(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, shape: func(y *seat, c *Config) {
		c.Apps[0].Graph.ClientSecretFile = filepath.Join(y.s.dir, "old-secret")
		must(t, os.WriteFile(c.Apps[0].Graph.ClientSecretFile, []byte("it has run out"), 0o600))
	}})
	x := s.seats[0]
	eventually(t, "a check that says so", func() error {
		a := s.send(http.MethodGet, "http://"+x.admin+"/readyz?verbose", "", nil)
		return not(a.status == http.StatusOK && strings.Contains(a.body, "cannot act on its calls"), "%d %s", a.status, a.body)
	})
	if w := strings.Join(x.status().Warnings, "\n"); !strings.Contains(w, "cannot act on its calls") {
		t.Errorf("status warns of %s", w)
	}
	if m := s.metrics(x); !strings.Contains(m, `tandem_outbound_token_failing{app="`+testApp+`"} 1`) {
		t.Error("no metric says so")
	}
	if !strings.Contains(s.log.all(), "no access token for Graph") {
		t.Error("the log does not say so")
	}
	promises, err := x.api().Guarantees(t.Context())
	must(t, err)
	for _, p := range promises {
		if p.Name == "calls-answered" && p.Holds {
			t.Errorf("the guarantee says %+v", p)
		}
	}
}

// metrics reads what a node tells Prometheus.
func (s *stage) metrics(x *seat) string {
	s.t.Helper()
	return s.send(http.MethodGet, "http://"+x.admin+"/metrics", "", nil).body
}
