package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"tandem/cluster/peerpb"
)

// TestARequestOfAConnectionThatGoesAwayIsSentOnce: a peer that stops tells its callers
// so in the middle of a request. Whether to ask again is for the caller to say.
func TestARequestOfAConnectionThatGoesAwayIsSentOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() { served <- goAway(l) }()

	var dials atomic.Int32
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String(), bytes.NewReader([]byte("act")))
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&speaking{next: tr}).RoundTrip(req)
	if err == nil {
		_ = res.Body.Close()
		t.Error("it was answered")
	}
	if err := <-served; err != nil {
		t.Fatalf("the peer that goes away: %v", err)
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("it was sent over %d connections", n)
	}
}

// TestAConnectionThatDiedUnusedCostsNoRequest: whoever asked for it has left, and it ended
// before it was used. The next request is sent over another one.
func TestAConnectionThatDiedUnusedCostsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door := pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		_, handler := peerpb.NewPeerHandler(terms{})
		server := &http.Server{Handler: handler, Protocols: new(http.Protocols)}
		server.Protocols.SetUnencryptedHTTP2(true)
		go func() { _ = server.Serve(door) }()
		defer server.Close()

		dials, left := 0, make(chan struct{})
		p := NewLinks(NewDialer(nil, time.Second), Identity{}).To("b", "10.0.0.2:8471")
		defer p.http.CloseIdleConnections()
		p.http.DialContext = func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			if dials++; dials > 1 {
				door.conns <- there
				return here, nil
			}
			<-left
			go func() {
				_, _ = there.Read(make([]byte, 4096))
				_ = there.Close()
			}()
			return here, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			synctest.Wait() // it waits for its connection
			cancel()
		}()
		if _, err := p.Term(ctx, &peerpb.TermRequest{}); err == nil {
			t.Fatal("who left was answered")
		}
		close(left)
		synctest.Wait()
		res, err := p.Term(t.Context(), &peerpb.TermRequest{})
		if err != nil || res.GetTerm() != 7 || dials != 2 {
			t.Errorf("over %d connections the next one got %v, %v", dials, res, err)
		}
	})
}

// terms is a peer that tells its term.
type terms struct{ peerpb.PeerHandler }

func (terms) Term(context.Context, *peerpb.TermRequest) (*peerpb.TermReply, error) {
	return &peerpb.TermReply{Term: 7}, nil
}

// pipes is a listener of connections in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.closed); return nil }
func (p pipes) Addr() net.Addr { return named("pipes:1") }

// goAway takes one connection, says at its first request that it handles none, and
// reads on to the end.
func goAway(l net.Listener) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = l.Close() // or a second try would wait for an answer
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return err
	}
	f := http2.NewFramer(conn, conn)
	if err := f.WriteSettings(); err != nil {
		return err
	}
	for {
		frame, err := f.ReadFrame()
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case frame.Header().Type == http2.FrameHeaders:
			err = f.WriteGoAway(0, http2.ErrCodeNo, nil)
		case frame.Header().Type == http2.FrameData && frame.Header().Flags.Has(http2.FlagDataEndStream):
			return nil
		}
		if err != nil {
			return err
		}
	}
}
