package shadow

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/token"
)

// TestAFullQueueHoldsNobodyUp: judging stands still, requests go on, and what was not judged
// is counted and let go.
func TestAFullQueueHoldsNobodyUp(t *testing.T) {
	gate := make(chan struct{})
	p, s := front(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(202)
	}, func(c *ProxyConfig) { c.Tokens = verifying(func() { <-gate }) })
	opened := false
	defer func() {
		if !opened {
			close(gate)
		}
	}()
	for range mostWaiting {
		p.witness.tell(copied{})
	}
	for range 20 {
		if resp, _ := post(t, s.URL, incoming("c1")); resp.StatusCode != 202 {
			t.Fatalf("answered with %d", resp.StatusCode)
		}
	}
	if n := p.witness.dropped.Load(); n < 19 { // one place is free once the first is being judged
		t.Errorf("%d were dropped", n)
	}
	opened = true
	close(gate)
	until(t, "all that waits is judged, and nothing held", func() bool { return len(p.witness.queue) == 0 && p.witness.held.Load() == 0 })
	if r := p.Report(); r.Unjudged.Dropped < 19 || r.Traffic.Requests != 20 || r.Traffic.Statuses["2xx"] != 20 {
		t.Errorf("%+v", r.Traffic)
	}
}

// verifying does something and takes every token.
type verifying func()

func (f verifying) Verify(context.Context, http.Header) (token.Claims, error) {
	f()
	return token.Claims{}, nil
}

// TestACrashHurtsNoRequest, nor the judging of the next.
func TestACrashHurtsNoRequest(t *testing.T) {
	var well atomic.Bool
	p, s := front(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, func(c *ProxyConfig) {
		c.Tokens = verifying(func() {
			if !well.Load() {
				panic("judging")
			}
		})
	})
	if _, text := post(t, s.URL, incoming("c1")); text != incoming("c1") {
		t.Errorf("the request was hurt: %q", text)
	}
	until(t, "the crash is counted", func() bool { return p.Report().Unjudged.Crashed == 1 })
	well.Store(true)
	post(t, s.URL, incoming("c2"))
	until(t, "the next one is judged", func() bool { return p.Report().Calls == 1 })
	until(t, "nothing is held", func() bool { return p.witness.held.Load() == 0 })
}

// TestTooMuchIsHeld: where copies have taken all room, requests pass uncopied.
func TestTooMuchIsHeld(t *testing.T) {
	p, s := front(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	p.witness.held.Store(mostHeld)
	if _, text := post(t, s.URL, incoming("c1")); text != incoming("c1") {
		t.Errorf("the request was hurt: %q", text)
	}
	if r := p.Report(); r.Unjudged.Dropped != 1 || p.witness.held.Load() != mostHeld {
		t.Errorf("%+v, %d held", r.Unjudged, p.witness.held.Load())
	}
}

// TestADeadUpstreamIs502, in words that say whose word it is.
func TestADeadUpstreamIs502(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	p, s := before(t, "http://"+address)
	resp, text := post(t, s.URL, incoming("c1"))
	if resp.StatusCode != http.StatusBadGateway || text != "tandem shadow: the upstream "+address+" gave no response\n" {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
	until(t, "it is judged", func() bool { r := p.Report(); return r.Calls == 1 && r.Traffic.Unreachable == 1 })
	if resp, _ := post(t, s.URL, incoming("c2")); resp.StatusCode != http.StatusBadGateway { // on the same connection
		t.Errorf("%d", resp.StatusCode)
	}
	p.Close()
	p.witness.now = func() time.Time { return time.Now().Add(time.Hour) }
	if r := p.Report(); r.NeverTaken != 2 {
		t.Errorf("%+v", r.Counts)
	}
}

// TestWhatTheUpstreamAnswersPasses: its own errors too.
func TestWhatTheUpstreamAnswersPasses(t *testing.T) {
	_, s := front(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		http.Error(w, "no bot is up", http.StatusServiceUnavailable)
	})
	resp, text := post(t, s.URL, incoming("c1"))
	if resp.StatusCode != 503 || text != "no bot is up\n" || resp.Header.Get("Retry-After") != "7" {
		t.Errorf("%d %q %v", resp.StatusCode, text, resp.Header)
	}
}

// TestASlowUpstreamIsWaitedFor, as long as the caller does; one who leaves is counted, and
// the upstream hears of it.
func TestASlowUpstreamIsWaitedFor(t *testing.T) {
	heard, left := make(chan bool), make(chan bool)
	p, s := front(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		heard <- true
		<-r.Context().Done()
		left <- true
	})
	ctx, hangUp := context.WithCancel(t.Context())
	r := request(t, http.MethodPost, s.URL, strings.NewReader(incoming("c1")), "Authorization", "Bearer good").WithContext(ctx)
	failed := make(chan error)
	go func() {
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		failed <- err
	}()
	<-heard
	hangUp()
	<-left
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller got %v", err)
	}
	until(t, "it is counted", func() bool {
		r := p.Report()
		return r.Traffic.HungUp == 1 && r.Traffic.Unreachable == 0 && r.Calls == 1
	})
}

// TestABodyThatBreaksOffIsNotJudged: half a body is none.
func TestABodyThatBreaksOffIsNotJudged(t *testing.T) {
	p, s := front(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	half := io.MultiReader(strings.NewReader(incoming("c1")), failing{})
	resp, err := http.DefaultTransport.RoundTrip(request(t, http.MethodPost, s.URL, half, "Authorization", "Bearer good"))
	if err == nil {
		_ = resp.Body.Close()
	}
	until(t, "it is counted", func() bool { return p.Report().Unjudged.Cut == 1 })
	if r := p.Report(); r.Calls != 0 {
		t.Errorf("half a body was judged: %+v", r.Counts)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroken }

// TestNothingIsReadBeforeItsTokenIsVerified: what a stranger posts is counted, and no more.
func TestNothingIsReadBeforeItsTokenIsVerified(t *testing.T) {
	p, s := front(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(202)
	})
	do(t, request(t, http.MethodPost, s.URL, strings.NewReader(incoming("c1")), "Authorization", "Bearer bad"))
	until(t, "it is counted", func() bool { return p.Report().RefusedButHandled == 1 })
	if r := p.Report(); r.Calls != 0 || r.Tandem.Refused[string(token.CodeBadSignature)] != 1 {
		t.Errorf("%+v %+v", r.Counts, r.Tandem)
	}
}
