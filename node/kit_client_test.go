package node

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/cluster/transport"
	"tandem/graphsim"
	"tandem/ownership"
)

// client is an HTTP client that knows only what interfaces of the public door
// say. It follows no redirect.
func (s *stage) client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: s.trust()},
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// trust returns the TLS settings of whoever connects to the public doors; nil
// where they are plain.
func (s *stage) trust() *tls.Config {
	s.t.Helper()
	if !s.plan.https {
		return nil
	}
	if s.roots != nil {
		return &tls.Config{RootCAs: s.roots}
	}
	text, err := os.ReadFile(filepath.Join(s.path("ca"), transport.CACertFile))
	must(s.t, err)
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(text)
	return &tls.Config{RootCAs: s.roots}
}

// trusts adds a certificate to those that whoever connects to the public doors trusts.
func (s *stage) trusts(file string) {
	s.t.Helper()
	text, err := os.ReadFile(file)
	must(s.t, err)
	s.roots.AppendCertsFromPEM(text)
}

// answer is a response, read.
type answer struct {
	status int
	header http.Header
	body   string
}

// location is where a redirect leads.
func (a answer) location() string { return a.header.Get("Location") }

// token mints a good token of a tenant.
func (s *stage) token(tenant string) string {
	s.t.Helper()
	raw, err := s.cloud.Mint(graphsim.TokenOptions{Tenant: tenant})
	must(s.t, err)
	return raw
}

// post sends a notification as the calling cloud would: again while the region
// is between two leaders or a node between two leases, which on a busy machine
// needs no fault.
func (s *stage) post(url, token, body string) (a answer) {
	s.t.Helper()
	eventually(s.t, "an answer by a region with a leader", func() error {
		a = s.postOnce(url, token, body)
		passing := strings.Contains(a.body, `"no_leader"`) || strings.Contains(a.body, `"no_lease"`) || strings.Contains(a.body, `"not_caught_up"`)
		return not(!passing, "%s", a.body)
	})
	return a
}

// postOnce sends a notification and takes whatever comes back.
func (s *stage) postOnce(url, token, body string) answer {
	s.t.Helper()
	return s.send(http.MethodPost, url, body, map[string]string{"Authorization": "Bearer " + token})
}

func (s *stage) send(method, url, body string, header map[string]string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	must(s.t, err)
	req.Header.Set("Content-Type", "application/json")
	for name, v := range header {
		req.Header.Set(name, v)
	}
	resp, err := s.outside.Do(req)
	must(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(s.t, err)
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// webhook is the address that a node's public door takes notifications at.
func (x *seat) webhook() string { return x.base() + "/api/calls" }

// follow is where a callback URI or a region's address leads to at this node:
// the names below .localhost are the cloud's to resolve.
func (x *seat) follow(uri string) string {
	for _, region := range x.s.plan.regions {
		uri = strings.Replace(uri, regionURL(region), x.base(), 1)
	}
	return uri
}

// sampleCall is the call id of the published samples.
const sampleCall = "57DAB8B1894C409AB240BD8BEAE78896"

// sample is one of the published samples, told of a call of our own.
func sample(t *testing.T, name string, id ownership.CallID) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "graph", "testdata", "samples", name))
	must(t, err)
	return strings.ReplaceAll(string(text), sampleCall, string(id))
}

var calls atomic.Uint64

// newCall returns the id of a call that nobody knows yet.
func newCall() ownership.CallID {
	return ownership.CallID(fmt.Sprintf("%032x", 0xca11<<48|calls.Add(1)))
}

const (
	incoming    = "graph-incoming-p2p.json"
	established = "graph-established.json"
)

// dial opens a connection to a door, to speak to it in bytes.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}
