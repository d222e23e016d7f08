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

	"golang.org/x/net/http2"
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
