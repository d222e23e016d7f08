package node

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/acme"
	"tandem/ownership/history"
)

// TestARegionOrdersItsCertificateOnce: three nodes want one certificate of a real
// authority. One of them orders it, all of them can answer the challenge, and all show it.
// A renewal that fails leaves the old one in force, and everybody is told; then a node
// that starts anew renews it for all. Nothing of it is readable on a disk or in a log.
func TestARegionOrdersItsCertificateOnce(t *testing.T) {
	long(t, "it takes 12 s")
	t.Parallel()
	a := newAuthority(t)
	var broken atomic.Bool
	s := deploy(t, plan{children: true, shape: a.shape(acme.HTTP01)})
	a.serveWeb(s, broken.Load)
	close(a.up) // now that all three want it
	first := s.agree("the first certificate", "")
	broken.Store(true)
	if orders, issued := a.counts(); orders != 1 || len(issued) != 1 {
		t.Errorf("three nodes made %d orders, and have %d certificates", orders, len(issued))
	}
	events := func(text string) error {
		told := false
		must(t, s.seats[1].api().Events(t.Context(), 0, false, func(e history.Event) error {
			told = told || e.Kind == history.Certificate && strings.Contains(e.Text, text)
			return nil
		}))
		return not(told, "no event tells %q", text)
	}
	eventually(t, "the event of the certificate", func() error { return events("a certificate of " + acmeHost + " came; node emea-") })
	for _, x := range s.seats {
		eventually(t, "the failure at "+x.name, func() error {
			text := x.metrics()
			if !strings.Contains(text, `tandem_acme_orders_total{outcome="failed"} `) {
				t.Errorf("node %s does not count its orders", x.name)
			}
			return not(strings.Contains(text, `tandem_acme_failing{host="`+acmeHost+`"} 1`), "no metric tells it")
		})
	}
	must(t, events("ordering a certificate of "+acmeHost+" failed at node emea-"))
	if got := s.agree("the old certificate", ""); got != first {
		t.Errorf("after a failed renewal the nodes show %s, it was %s", got, first)
	}
	broken.Store(false)
	s.seats[2].kill()
	s.seats[2].start()
	s.ready(s.seats[2])
	s.agree("the renewed certificate", first)
	_, issued := a.counts()
	for i := 1; i < len(issued); i++ {
		if gap := issued[i].Sub(issued[i-1]); gap < 3*time.Second {
			t.Errorf("two certificates were issued within %s: two nodes ordered one", gap)
		}
	}
	if strings.Contains(s.log.all(), "PRIVATE KEY") {
		t.Error("a private key is in a log")
	}
	must(t, filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, "/emea-") {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte("PRIVATE KEY")) || bytes.Contains(text, []byte("BEGIN CERT")) {
			t.Errorf("%s holds a certificate or its key for everybody who reads it", path)
		}
		return err
	}))
}

// TestAnyNodeAnswersAtTheDoor: the authority's handshake for tls-alpn-01 comes to a node
// that did not order, and calls are answered at the same port.
func TestAnyNodeAnswersAtTheDoor(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	s := deploy(t, plan{nodes: 2, children: true, shape: a.shape(acme.ALPN01)})
	go func() {
		for {
			conn, err := a.alp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for _, x := range s.seats {
					c, err := tls.Dial("tcp", x.public, &tls.Config{ServerName: acmeHost, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
					if err != nil {
						t.Errorf("node %s does not answer the challenge: %v", x.name, err)
						continue
					}
					if got := c.ConnectionState().NegotiatedProtocol; got != "acme-tls/1" {
						t.Errorf("node %s answers the challenge by %q", x.name, got)
					}
					_ = c.Close()
				}
				to, err := net.Dial("tcp", s.seats[1].public)
				if err != nil {
					t.Error(err)
					return
				}
				defer to.Close()
				go func() { _, _ = io.Copy(to, conn) }()
				_, _ = io.Copy(conn, to)
			}()
		}
	}()
	close(a.up)
	s.agree("the certificate", "")
	if conn, err := tls.Dial("tcp", s.seats[0].public, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}); err != nil {
		t.Errorf("who names no host: %v", err)
	} else {
		_ = conn.Close()
	}
}

// TestACommandSetsTheRecord: for dns-01 the operator's own command sets the TXT record and
// takes it away; one that fails is told in its own words.
func TestACommandSetsTheRecord(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	allowed := filepath.Join(a.records, "allowed")
	hook := filepath.Join(a.records, "hook")
	must(t, os.WriteFile(hook, []byte(`#!/bin/sh
[ -e "$1/allowed" ] || { echo "the zone is locked" >&2; exit 1; }
case $2 in
present) : > "$1/$3=$4" ;;
cleanup) rm "$1/$3=$4" ;;
esac
`), 0o700))
	shape := a.shape(acme.DNS01)
	s := deploy(t, plan{nodes: 1, children: true, shape: func(x *seat, c *Config) {
		shape(x, c)
		c.Public.TLS.ACME.DNSCommand = []string{hook, a.records}
	}})
	close(a.up)
	eventually(t, "the failure", func() error {
		st, err := s.seats[0].api().Status(t.Context())
		must(t, err)
		return not(strings.Contains(strings.Join(st.Warnings, "\n"), "the zone is locked"), "the warnings are %q", st.Warnings)
	})
	must(t, os.WriteFile(allowed, nil, 0o600))
	s.seats[0].kill() // the pauses of one that runs are long
	s.seats[0].start()
	s.ready(s.seats[0])
	s.agree("the certificate", "")
	eventually(t, "the end of the record", func() error {
		left, _ := filepath.Glob(filepath.Join(a.records, "_acme-challenge.*"))
		return not(len(left) == 0, "left behind: %v", left)
	})
}
