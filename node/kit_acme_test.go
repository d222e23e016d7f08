package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"tandem/acme"
)

// acmePace is how nodes in processes of their own keep their certificates: one of a minute
// is renewed after some seconds. Pauses after failures are for the tests of the room acme.
var acmePace = acme.Pace{Check: 300 * time.Millisecond, Pause: time.Millisecond, Share: 0.9}

// acmeHost is the host whose certificate the stories order.
const acmeHost = "emea.stories.test"

// authority is Pebble, Let's Encrypt's authority for tests, with its own name server: all
// hosts are on this machine. It asks at two ports of the test, which stand for what
// distributes connections among the nodes.
type authority struct {
	*httptest.Server
	t        *testing.T
	up       chan struct{} // closed: it answers
	web, alp net.Listener  // of HTTP01 and of ALPN01
	records  string        // a directory: a file for each TXT record, its name and its value

	mu     sync.Mutex
	orders int         // that were begun
	issued []time.Time // when orders were finalized
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	for name, value := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"} {
		must(t, os.Setenv(name, value))
	}
	a := &authority{t: t, up: make(chan struct{}), records: t.TempDir()}
	for _, l := range []*net.Listener{&a.web, &a.alp} {
		var err error
		*l, err = net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		t.Cleanup(func() { _ = (*l).Close() })
	}
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	quiet, memory := log.New(io.Discard, "", 0), db.NewMemoryStore()
	maker := ca.New(quiet, memory, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "a minute", ValidityPeriod: 60}})
	front := wfe.New(quiet, memory, va.New(quiet, port(a.web), port(a.alp), false, a.nameServer(), memory), maker, []string{"pebble.test"}, false, false, 1, 1)
	handler := front.Handler()
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-a.up:
		case <-r.Context().Done():
			return
		}
		seen := &statusOf{ResponseWriter: w}
		handler.ServeHTTP(seen, r)
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case seen.status == http.StatusCreated && r.URL.Path == "/order-plz":
			a.orders++
		case seen.status == http.StatusOK && strings.HasPrefix(r.URL.Path, "/finalize-order/"):
			a.issued = append(a.issued, time.Now())
		}
	}))
	t.Cleanup(a.Close)
	return a
}

// statusOf remembers the status of a response.
type statusOf struct {
	http.ResponseWriter
	status int
}

func (s *statusOf) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusOf) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// counts says how many orders were begun, and when each certificate was issued.
func (a *authority) counts() (orders int, issued []time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.orders, a.issued
}

// shape makes a node order from the authority.
func (a *authority) shape(challenge string) func(*seat, *Config) {
	return func(x *seat, c *Config) {
		file := x.s.path("authority.pem")
		must(a.t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}), 0o600))
		c.Public.URL, c.Public.RegionURL = "", "https://"+acmeHost
		c.Public.TLS = PublicTLS{ACME: ACME{
			Hosts: []string{acmeHost}, Challenge: challenge, Directory: a.URL + "/dir", CAFile: file,
			Email: "ops@stories.test", Listen: x.web(),
		}}
	}
}

// web is where the seat's node answers HTTP01.
func (x *seat) web() string {
	file := x.s.path("web-" + x.name)
	if text, err := os.ReadFile(file); err == nil {
		return string(text)
	}
	addr := steadyAddr(x.s.t)
	must(x.s.t, os.WriteFile(file, []byte(addr), 0o600))
	return addr
}

// nameServer answers for all names: it is this machine, and has the TXT records that
// somebody wrote.
func (a *authority) nameServer() string {
	a.t.Helper()
	conn, err := net.Listen("tcp", "127.0.0.1:0")
	must(a.t, err)
	s := &dns.Server{Listener: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		head := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET}
		switch q.Question[0].Qtype {
		case dns.TypeA:
			r.Answer = []dns.RR{&dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 1)}}
		case dns.TypeTXT:
			files, _ := filepath.Glob(filepath.Join(a.records, strings.TrimSuffix(head.Name, ".")+"=*"))
			for _, f := range files {
				_, value, _ := strings.Cut(filepath.Base(f), "=")
				r.Answer = append(r.Answer, &dns.TXT{Hdr: head, Txt: []string{value}})
			}
		}
		_ = w.WriteMsg(r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ActivateAndServe()
	}()
	a.t.Cleanup(func() {
		_ = s.ShutdownContext(context.Background())
		_ = conn.Close()
		<-done
	})
	return conn.Addr().String()
}

// serveWeb stands for the balancer at port 80. It asks every node of the stage, and takes
// their answer only if it is everybody's; while broken says so it answers nothing.
func (a *authority) serveWeb(s *stage, broken func() bool) {
	type behind struct{ name, web, ready string }
	var nodes []behind // as they were at the begin: a node that starts anew has the same addresses
	for _, x := range s.seats {
		nodes = append(nodes, behind{x.name, x.web(), "http://" + x.admin + "/readyz"})
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken() {
			http.Error(w, "broken", http.StatusServiceUnavailable)
			return
		}
		var same []byte
		for _, x := range nodes {
			if !s.isReady(r.Context(), x.ready) {
				continue
			}
			req, _ := http.NewRequestWithContext(r.Context(), r.Method, "http://"+x.web+r.URL.Path, nil)
			req.Host = r.Host
			resp, err := s.outside.Do(req)
			if err != nil {
				continue // it is starting
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK || same != nil && !bytes.Equal(body, same) {
				a.t.Errorf("node %s answers a challenge with %s %q, another one with %q", x.name, resp.Status, body, same)
			}
			same = body
		}
		_, _ = w.Write(same)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(a.web)
	}()
	a.t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

// isReady reports whether a balancer would send anything to a node: it is ready once its
// table has caught up.
func (s *stage) isReady(ctx context.Context, url string) bool {
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	resp, err := s.outside.Do(req)
	if err != nil {
		return false // it is starting, or gone
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// shown is the serial number of the certificate that the seat's node shows; an error: none
// of the authority's.
func (x *seat) shown() (string, error) {
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Second}, Config: &tls.Config{ServerName: acmeHost, InsecureSkipVerify: true}}).DialContext(x.s.t.Context(), "tcp", x.public)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	if !strings.HasPrefix(leaf.Issuer.CommonName, "Pebble") || leaf.VerifyHostname(acmeHost) != nil {
		return "", fmt.Errorf("node %s shows a certificate of %v by %s", x.name, leaf.DNSNames, leaf.Issuer)
	}
	return leaf.SerialNumber.String(), nil
}

// agree waits until all nodes show one certificate that is not the one before.
func (s *stage) agree(doing, before string) (serial string) {
	s.t.Helper()
	eventually(s.t, doing, func() error {
		serial = ""
		for _, x := range s.seats {
			got, err := x.shown()
			if err != nil {
				return err
			}
			if got == before || serial != "" && got != serial {
				return fmt.Errorf("node %s shows %s, before it was %s, another one shows %s", x.name, got, before, serial)
			}
			serial = got
		}
		return nil
	})
	return serial
}

// metrics is what the seat's node tells by /metrics.
func (x *seat) metrics() string {
	x.s.t.Helper()
	resp, err := x.s.outside.Get("http://" + x.admin + "/metrics")
	must(x.s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(x.s.t, err)
	return string(text)
}
