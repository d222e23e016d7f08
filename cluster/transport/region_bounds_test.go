package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
)

// TestALetterThatComesTooLateIsNotTaken: its sender has told the cloud so, which comes
// again. The clock is the taker's own.
func TestALetterThatComesTooLateIsNotTaken(t *testing.T) {
	taken := 0
	n := serveRegion(t, amerOne, nil, func(http.ResponseWriter, *http.Request) { taken++ })
	f := linksOf(t, emeaOne, nil).To("amer", "amer-1", n.addr)
	if _, err := f.alive(withinTest(t)); err != nil {
		t.Fatal(err)
	}
	for name, until := range map[string]string{"over": "p1.1", "of another process": "p0.99999999999999999", "no time": "p1", "no number": "p1.x"} {
		h := http.Header{headerUntil: {until}}
		if _, ok, err := f.post(withinTest(t), pathLetter+"/api/calls", h, nil); err != nil || ok || taken != 0 {
			t.Errorf("a letter whose time is %s: taken %v, %v", name, ok, err)
		}
	}
	// A sign of the process before is found out, and the letter sent once more.
	f.sign.Store(&Sign{At: time.Now(), Process: "p0", Clock: 1})
	if _, err := f.Send(withinTest(t), letterOf("x")); err != nil || taken != 1 {
		t.Errorf("after a restart: %d taken, %v", taken, err)
	}
}

// TestAFrozenNodeTakesNoLetter: it is found out by the question before, and another one
// may get the letter.
func TestAFrozenNodeTakesNoLetter(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes connections, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	start := time.Now()
	_, err = linksOf(t, emeaOne, nil).To("amer", "amer-1", ln.Addr().String()).Send(withinTest(t), letterOf("x"))
	if took := time.Since(start); !errors.Is(err, ownership.ErrNotTaken) || took > farSignLimit+5*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
}

// TestNoSignatureOfALetterIsTold: its target is signed, its headers hold the token.
func TestNoSignatureOfALetterIsTold(t *testing.T) {
	n := serveRegion(t, amerOne, nil, func(w http.ResponseWriter, _ *http.Request) {
		panic(http.ErrAbortHandler)
	})
	_, err := linksOf(t, emeaOne, nil).To("amer", "amer-1", n.addr).Send(withinTest(t), letterOf("x"))
	if !errors.Is(err, ownership.ErrUnreachable) || errors.Is(err, ownership.ErrNotTaken) || strings.Contains(err.Error(), "k1.x") || strings.Contains(err.Error(), "secret") {
		t.Errorf("sending ended with %v", err)
	}
}

// TestALetterIsBounded in its body, its headers and its answer.
func TestALetterIsBounded(t *testing.T) {
	n := serveRegion(t, amerOne, nil, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
		_, _ = w.Write(append(b, b...))
	})
	f := linksOf(t, emeaOne, nil).To("amer", "amer-1", n.addr)
	if reply, err := f.Send(withinTest(t), letterOf(strings.Repeat("x", maxLetter+1))); err == nil && reply.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("a body beyond the bound is answered with %d", reply.Status)
	}
	if _, err := f.Send(withinTest(t), letterOf(strings.Repeat("x", maxLetter))); !errors.Is(err, ownership.ErrUnreachable) {
		t.Errorf("an answer beyond the bound: %v", err)
	}
	large := letterOf("x")
	large.Header["X-Large"] = []string{strings.Repeat("x", maxLetterHead+8<<10)}
	if reply, err := f.Send(withinTest(t), large); err == nil && reply.Status < 400 {
		t.Errorf("headers beyond the bound are answered with %d", reply.Status)
	}
}

// TestF47_AnAuthorityThatChangedEndsTheRegionsLink at both ends.
func TestF47_AnAuthorityThatChangedEndsTheRegionsLink(t *testing.T) {
	r := newAuthority(t)
	newCA := filepath.Join(r.make("new-ca"), CACertFile)
	for _, end := range []string{"the port", "the dialler"} {
		here, there := r.creds(emeaOne, time.Minute), r.creds(amerOne, time.Minute)
		n := serveRegion(t, amerOne, there, func(http.ResponseWriter, *http.Request) {})
		links := linksOf(t, emeaOne, here)
		f := links.To("amer", "amer-1", n.addr)
		if _, err := f.Send(withinTest(t), letterOf("x")); err != nil {
			t.Fatal(err)
		}
		changed, vet := there, n.port.Vet
		if end == "the dialler" {
			changed, vet = here, links.dialer.Vet
		}
		changed.files.CAFile = newCA
		if err := changed.Reload(); err != nil {
			t.Fatal(err)
		}
		if cut := vet(); len(cut) != 1 {
			t.Errorf("%s cut %d connections", end, len(cut))
		}
		if _, err := f.Send(withinTest(t), letterOf("x")); err == nil {
			t.Errorf("%s let another authority's node in", end)
		}
	}
}

// TestALinkFollowsItsNode: a node that moved is found at its new address.
func TestALinkFollowsItsNode(t *testing.T) {
	l := linksOf(t, emeaOne, nil)
	one := l.To("amer", "amer-1", "127.0.0.1:1")
	if l.To("amer", "amer-1", "127.0.0.1:1") != one || l.To("amer", "amer-1", "127.0.0.1:2") == one || l.To("apac", "amer-1", "127.0.0.1:1") == one {
		t.Error("a link is that of another node or address")
	}
	for i := range 2 * maxFar {
		l.To("amer", ownership.NodeID(strings.Repeat("n", i+1)), "127.0.0.1:1")
	}
	if len(l.all) > maxFar {
		t.Errorf("%d links are kept", len(l.all))
	}
}

func FuzzReadCalls(f *testing.F) {
	f.Add([]byte("c1\nc2\n"))
	f.Add([]byte("c1"))
	f.Add([]byte("\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		calls, err := readCalls(text)
		if err == nil && !bytes.Equal(writeCalls(calls), text) {
			t.Errorf("%q was read as %q", text, calls)
		}
		if len(calls) > maxAsked {
			t.Errorf("%d calls were taken", len(calls))
		}
	})
}

func FuzzReadClock(f *testing.F) {
	f.Add("p.1")
	f.Add(".1")
	f.Add("p.-1")
	f.Fuzz(func(t *testing.T, s string) {
		if process, clock, ok := readClock(s); ok && (process == "" || clock <= 0 || !strings.HasPrefix(s, process+".")) {
			t.Errorf("%q was read as %q, %d", s, process, clock)
		}
	})
}

// TestTheRegionsLinkStopsAtOnce where nothing is under way, also while the other end is
// silent: a node has little time to stop.
func TestTheRegionsLinkStopsAtOnce(t *testing.T) {
	r := newAuthority(t)
	for name, secure := range map[string]bool{"mutual TLS": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			var here, there *Credentials
			if secure {
				here, there = r.creds(emeaOne, time.Minute), r.creds(amerOne, time.Minute)
			}
			n := serveRegion(t, amerOne, there, func(http.ResponseWriter, *http.Request) {})
			f := linksOf(t, emeaOne, here).To("amer", "amer-1", n.addr)
			if _, err := f.Send(withinTest(t), letterOf("x")); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := n.server.Shutdown(withinTest(t)); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}
