package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
)

var (
	emeaOne = Identity{testDeployment, "emea", "emea-1"}
	amerOne = Identity{testDeployment, "amer", "amer-1"}
)

// regionNode is a node's cluster port with the regions' link served on it.
type regionNode struct {
	addr    string
	port    *Port
	peers   chan net.Conn // of raft and the peer link
	refused chan string
	server  *http.Server
}

// serveRegion serves the regions' link of a node; nil credentials: plain.
func serveRegion(t *testing.T, who Identity, creds *Credentials, door http.HandlerFunc) *regionNode {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &regionNode{addr: ln.Addr().String(), peers: make(chan net.Conn, 8), refused: make(chan string, 64)}
	refuse := func(why string) {
		select {
		case n.refused <- why:
		default:
		}
	}
	n.port = NewPort(ln, creds, PortConfig{
		Handshake: patience, MaxConnsPerIP: 50, Logger: quiet(), Refused: refuse,
		Raft: func(c net.Conn, _ ownership.NodeID) { n.peers <- c },
	})
	born := time.Now()
	s := NewRegionServer(creds, RegionConfig{
		Self: who, Handshake: patience, Process: "p1", Letter: door, Refused: refuse, Logger: quiet(),
		Clock: func() int64 { return int64(time.Since(born)) + 1 },
		Known: func(_ context.Context, calls []ownership.CallID) ([]ownership.CallID, error) {
			if slices.Contains(calls, "nobody-can-tell") {
				return nil, ownership.ErrBehind
			}
			return slices.DeleteFunc(calls, func(c ownership.CallID) bool { return c != "c1" }), nil
		},
	})
	n.server = s
	n.port.Serve()
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(n.port.RegionLink()) }()
	peers := make(chan struct{})
	go func() {
		defer close(peers)
		for {
			c, err := n.port.PeerLink().Accept()
			if err != nil {
				return
			}
			n.peers <- c
		}
	}()
	t.Cleanup(func() {
		_ = s.Close()
		n.port.CloseAll()
		n.port.Wait()
		<-done
		<-peers
	})
	return n
}

// linksOf are the links that a node opens.
func linksOf(t *testing.T, who Identity, creds *Credentials) *RegionLinks {
	t.Helper()
	d := NewDialer(creds, patience)
	l := NewRegionLinks(d, who)
	t.Cleanup(func() { l.Close(); d.CloseAll() })
	return l
}

func letterOf(body string) ownership.Letter {
	return ownership.Letter{
		Target: "/api/calls/amer/2/1/c1?s=k1.x&h=r.y", Body: []byte(body),
		Header: map[string][]string{"Authorization": {"Bearer secret"}, "Content-Type": {"application/json"}, "Tandem-Calls": {"c1"}},
	}
}

// within bounds a test's letter.
func withinTest(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// TestALetterCrossesRegions: as it was sent, and the answer as it was given; under
// mutual TLS and, on loopback, without.
func TestALetterCrossesRegions(t *testing.T) {
	r := newAuthority(t)
	for name, secure := range map[string]bool{"mutual TLS": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			var here, there *Credentials
			if secure {
				here, there = r.creds(emeaOne, time.Minute), r.creds(amerOne, time.Minute)
			}
			var got *http.Request
			var body []byte
			n := serveRegion(t, amerOne, there, func(w http.ResponseWriter, req *http.Request) {
				got = req
				body, _ = io.ReadAll(req.Body)
				w.Header().Set("X-Bot", "yes")
				w.WriteHeader(http.StatusTeapot)
				_, _ = io.WriteString(w, "answer")
			})
			links := linksOf(t, emeaOne, here)
			text := strings.Repeat("x", 300<<10)
			reply, err := links.To("amer", "amer-1", n.addr).Send(withinTest(t), letterOf(text))
			if err != nil {
				t.Fatal(err)
			}
			if reply.Status != http.StatusTeapot || string(reply.Body) != "answer" || http.Header(reply.Header).Get("X-Bot") != "yes" {
				t.Errorf("%+v", reply)
			}
			if got.URL.RequestURI() != "/api/calls/amer/2/1/c1?s=k1.x&h=r.y" || got.URL.RawPath != "" || string(body) != text {
				t.Errorf("it came at %s with %d bytes", got.URL, len(body))
			}
			if _, bounded := got.Context().Deadline(); !bounded {
				t.Error("nobody said when its sender gives it up")
			}
			for h := range reply.Header {
				if strings.HasPrefix(h, "Tandem-") {
					t.Errorf("the answer keeps %s", h)
				}
			}
			for h := range got.Header {
				if strings.HasPrefix(h, "Tandem-") && h != "Tandem-Calls" {
					t.Errorf("the letter keeps %s", h)
				}
			}
			if got.Header.Get("Authorization") != "Bearer secret" || got.Header.Get("Tandem-Calls") != "c1" {
				t.Errorf("its headers are %v", got.Header)
			}
			known, err := links.To("amer", "amer-1", n.addr).Known(withinTest(t), []ownership.CallID{"c0", "c1"})
			if err != nil || !slices.Equal(known, []ownership.CallID{"c1"}) {
				t.Errorf("known are %v, %v", known, err)
			}
			if _, err := links.To("amer", "amer-1", n.addr).Known(withinTest(t), []ownership.CallID{"nobody-can-tell"}); !errors.Is(err, ownership.ErrUnreachable) {
				t.Errorf("a question that nobody can answer: %v", err)
			}
			if open := links.dialer.Open(); open != 1 {
				t.Errorf("%d connections are open", open)
			}
		})
	}
}

// TestB103_TheRegionsLinkIsForOtherRegionsOnly: and they have no other.
func TestB103_TheRegionsLinkIsForOtherRegionsOnly(t *testing.T) {
	r := newAuthority(t)
	n := serveRegion(t, emeaOne, r.creds(emeaOne, time.Minute), func(http.ResponseWriter, *http.Request) { t.Error("a letter was taken") })
	other := *r
	other.ca = r.make("other-ca")
	for _, c := range []struct {
		name  string
		creds *Credentials
		proto string
	}{
		{"a node of another region asks for raft", r.creds(amerOne, time.Minute), ALPNRaft},
		{"a node of another region asks for raft's first version", r.creds(amerOne, time.Minute), ALPNRaft1},
		{"a node of another region asks for the peer link", r.creds(amerOne, time.Minute), ALPNPeer},
		{"a node of this region asks for the regions' link", r.credsOf("emea-2", time.Minute), ALPNRegion},
		{"a node of another deployment", r.creds(Identity{"fabrikam", "amer", "amer-1"}, time.Minute), ALPNRegion},
		{"a node of another authority", other.creds(amerOne, time.Minute), ALPNRegion},
		{"a certificate that has ended", r.creds(amerOne, time.Nanosecond), ALPNRegion},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := c.creds.client([]string{c.proto}, func(tls.ConnectionState) error { return nil })
			conf.VerifyConnection = nil
			conn, err := tls.Dial("tcp", n.addr, conf)
			if err == nil { // TLS 1.3: the refusal comes after the client's handshake
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, err = conn.Read(make([]byte, 1))
				_ = conn.Close()
			}
			if err == nil {
				t.Error("it was let in")
			}
			if why := <-n.refused; why != "handshake" {
				t.Errorf("it was refused with %q", why)
			}
			select {
			case <-n.peers:
				t.Error("it came to raft or the peer link")
			default:
			}
		})
	}
}

// TestB103_ARegionSpeaksForItself: what a letter says of its sender is what the
// certificate says; without TLS, another region of this deployment.
func TestB103_ARegionSpeaksForItself(t *testing.T) {
	r := newAuthority(t)
	n := serveRegion(t, emeaOne, r.creds(emeaOne, time.Minute), func(http.ResponseWriter, *http.Request) { t.Error("a letter was taken") })
	for _, self := range []Identity{{testDeployment, "apac", "amer-1"}, {testDeployment, "amer", "amer-2"}, {"fabrikam", "amer", "amer-1"}, emeaOne} {
		links := linksOf(t, self, r.creds(amerOne, time.Minute))
		links.self.Deployment = testDeployment
		f := links.To("emea", "emea-1", n.addr)
		f.via.Transport.(*speaking).self = self
		if _, err := f.Send(withinTest(t), letterOf("x")); !errors.Is(err, ownership.ErrNotTaken) {
			t.Errorf("%s was heard: %v", self.URI(), err)
		}
	}
	plain := serveRegion(t, emeaOne, nil, func(http.ResponseWriter, *http.Request) { t.Error("a letter was taken") })
	for _, self := range []Identity{{testDeployment, "emea", "emea-2"}, {"fabrikam", "amer", "amer-1"}, {testDeployment, "", "amer-1"}} {
		if _, err := linksOf(t, self, nil).To("emea", "emea-1", plain.addr).Send(withinTest(t), letterOf("x")); !errors.Is(err, ownership.ErrNotTaken) {
			t.Errorf("%s was heard without TLS: %v", self.URI(), err)
		}
	}
}

// TestAnotherNodeAnswers: a letter goes to the node that it is for, or to nobody.
func TestAnotherNodeAnswers(t *testing.T) {
	r := newAuthority(t)
	links := linksOf(t, emeaOne, r.creds(emeaOne, time.Minute))
	for _, there := range []Identity{{testDeployment, "amer", "amer-2"}, {testDeployment, "apac", "amer-1"}, {testDeployment, "emea", "emea-2"}} {
		n := serveRegion(t, there, r.creds(there, time.Minute), func(http.ResponseWriter, *http.Request) { t.Error("a letter was taken") })
		_, err := links.To("amer", "amer-1", n.addr).Send(withinTest(t), letterOf("x"))
		if !errors.Is(err, ownership.ErrNotTaken) {
			t.Errorf("at the place of amer-1 is %s: %v", there.URI(), err)
		}
	}
}

// TestANodeOfOlderSoftwareTakesNoLetter: it does not know the link's name.
func TestANodeOfOlderSoftwareTakesNoLetter(t *testing.T) {
	r := newAuthority(t)
	creds := r.creds(amerOne, time.Minute)
	for name, serve := range map[string]func(net.Conn) error{
		"mutual TLS": func(c net.Conn) error {
			conf, err := creds.server().GetConfigForClient(nil)
			if err != nil {
				return err
			}
			conf.NextProtos = []string{ALPNPeer, ALPNRaft, ALPNRaft1}
			return tls.Server(c, conf).Handshake()
		},
		"plain": func(c net.Conn) error {
			_, err := io.ReadFull(c, make([]byte, len(prefaceRaft)))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					_ = serve(c)
					_ = c.Close()
				}
			}()
			defer func() { _ = ln.Close(); <-done }()
			var mine *Credentials
			if name != "plain" {
				mine = r.creds(emeaOne, time.Minute)
			}
			_, err = linksOf(t, emeaOne, mine).To("amer", "amer-1", ln.Addr().String()).Send(withinTest(t), letterOf("x"))
			if !errors.Is(err, ownership.ErrNotTaken) {
				t.Errorf("sending ended with %v", err)
			}
		})
	}
}
