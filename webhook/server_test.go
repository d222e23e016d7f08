package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"tandem/doorway"
	"testing"
	"time"

	"tandem/ownership"
)

// TestSlowClients is B65 and B72 with short times; TestServerDefaults has the
// shipped ones.
func TestSlowClients(t *testing.T) {
	gone := make(chan string, 64) // clients whose connection the server has closed
	nd := oneNode(t, setup{
		limits: Limits{ReadHeader: 150 * time.Millisecond, Read: 300 * time.Millisecond, Write: 600 * time.Millisecond, Connections: 8, Each: 8},
		server: func(s *http.Server) {
			s.ConnState = func(c net.Conn, to http.ConnState) {
				if to == http.StateClosed {
					select {
					case gone <- c.RemoteAddr().String():
					default:
					}
				}
			}
		},
	})
	addr := strings.TrimPrefix(nd.url, "http://")
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	t.Run("B65 slow headers", func(t *testing.T) {
		c := dial()
		_, _ = io.WriteString(c, "POST "+hookPath+" HTTP/1.1\r\nHost: b")
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 && !strings.Contains(string(b), "408") {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("B65 slow body", func(t *testing.T) {
		c := dial()
		_, _ = io.WriteString(c, "POST "+hookPath+" HTTP/1.1\r\n"+good+"Authorization: Bearer "+mint(t, ourApp, ourTenant)+"\r\nContent-Length: 100\r\n\r\n{")
		b, err := io.ReadAll(c)
		if got := statuses(t, string(b)); err != nil || len(got) != 1 || got[0] != 400 {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("B65 slow reading", func(t *testing.T) {
		nd.reply = func(ownership.HandOver) (ownership.Reply, error) {
			return ownership.Reply{Status: 200, Body: make([]byte, 64<<20)}, nil // more than all buffers
		}
		body := update("c1")
		c := dial()
		me := c.LocalAddr().String()
		_, _ = io.WriteString(c, rawRequest(t, "", good+fmt.Sprintf("Content-Length: %d\r\n", len(body)), body))
		start := time.Now()
		for addr := range gone {
			if addr == me {
				break
			}
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("the server hung up after %s", took)
		}
	})
	t.Run("B72 many slow clients", func(t *testing.T) {
		for range 40 {
			c := dial()
			_, _ = io.WriteString(c, "POST ")
		}
		// They hold at most 8 connections, and those end: a real one gets through.
		if a := post(t, nd.url+hookPath, legacyBody); a.status != 204 {
			t.Errorf("%+v", a)
		}
	})
}

// TestPipelining is B73: requests of one connection are answered in order.
func TestPipelining(t *testing.T) {
	nd := oneNode(t, setup{})
	const n = 10000
	one := "GET " + hookPath + " HTTP/1.1\r\nHost: b\r\n\r\n"
	out := nd.raw(t, strings.Repeat(one, n)+rawRequest(t, "", good+fmt.Sprintf("Content-Length: %d\r\n", len(legacyBody)), legacyBody))
	got := statuses(t, out)
	if len(got) != n+1 || got[n] != 204 {
		t.Errorf("B73: %d answers, the last %v", len(got), got[max(0, len(got)-1):])
	}
}

// TestServerDefaults reads the shipped limits off the server.
func TestServerDefaults(t *testing.T) {
	s := NewServer(http.NotFoundHandler(), roomy)
	if s.ReadHeaderTimeout != 5*time.Second || s.ReadTimeout != 10*time.Second || s.WriteTimeout != 20*time.Second || s.MaxHeaderBytes != 32<<10 || s.IdleTimeout != roomy.Idle {
		t.Errorf("%+v", s)
	}
	if !s.Protocols.HTTP1() || !s.Protocols.HTTP2() || s.Protocols.UnencryptedHTTP2() {
		t.Errorf("protocols %v", s.Protocols)
	}
	if s.HTTP2.MaxConcurrentStreams != 100 {
		t.Errorf("%+v", s.HTTP2)
	}
}

// overTLS serves a node's door over TLS, as the node does, and gives the address.
func overTLS(t *testing.T, nd *node) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bot.example"}, DNSNames: []string{"bot.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(nd.door, roomy)
	s.TLSConfig.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	s.ErrorLog = nd.server.ErrorLog
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		// A small buffer in the kernel: who does not read is noticed soon.
		_ = c.(*tls.Conn).NetConn().(*doorway.Place).Conn.(*net.TCPConn).SetWriteBuffer(4096)
		return ctx
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	way := nd.door.Listener(l, roomy)
	way.Watch(s)
	go func() {
		defer close(done)
		_ = s.ServeTLS(way, "", "")
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return l.Addr().String()
}

// TestTLS is B74.
func TestTLS(t *testing.T) {
	addr := overTLS(t, oneNode(t, setup{}))
	for name, version := range map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run("B74 TLS "+name, func(t *testing.T) {
			c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "bot.example", InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
			if err == nil {
				_ = c.Close()
			}
			if ok := version >= tls.VersionTLS12; ok != (err == nil) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestTooBusy: past the number of requests in progress, the next get 503 at once.
func TestTooBusy(t *testing.T) {
	nd := oneNode(t, setup{config: func(c *Config) { c.InFlight = 1; c.ClaimTimeout = 10 * time.Second }})
	nd.in.stall, nd.in.free = make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first := make(chan struct{})
	go func() {
		defer close(first)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, nd.url+hookPath, strings.NewReader(incoming("c1")))
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+mint(t, ourApp, ourTenant))
		transport := &http.Transport{DisableKeepAlives: true}
		if resp, err := transport.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		} else if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	<-nd.in.stall
	a := post(t, nd.url+hookPath, legacyBody)
	if a.status != 503 || a.code(t) != "busy" || a.header.Get("Retry-After") == "" {
		t.Errorf("%+v", a)
	}
	close(nd.in.free)
	<-first
	cancel()
}
