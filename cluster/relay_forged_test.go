package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// wire forwards connections to an address and keeps what the dialling side sent.
type wire struct {
	ln   net.Listener
	to   string
	mu   sync.Mutex
	sent bytes.Buffer
	wg   sync.WaitGroup
}

func tap(t *testing.T, to string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{ln: ln, to: to}
	w.wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { w.carry(in) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); w.wg.Wait() })
	return w
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent.Write(p)
}

func (w *wire) carry(in net.Conn) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
	_, _ = io.Copy(out, io.TeeReader(in, w))
	_ = out.Close()
	back.Wait()
}

// TestB106_RelayIsForNodesOnly: the way in which nodes hand each other
// notifications is the cluster port's mutual TLS. It signs every byte of the
// request, body included, and lives as long as its connection: what was recorded
// opens nothing afterwards.
func TestB106_RelayIsForNodesOnly(t *testing.T) {
	r := newRegion(t, nil)
	n := r.form(2)[0]
	var taken atomic.Int64
	n.mu.Lock()
	n.relay = func(context.Context, ownership.HandOver) (ownership.Reply, error) {
		taken.Add(1)
		return ownership.Reply{Status: http.StatusAccepted}, nil
	}
	n.mu.Unlock()
	ho := handOverToWire(ownership.HandOver{Event: ownership.EventUpdate, Call: "c1", Partition: 1, Epoch: 1, Body: []byte("{}")})
	relay := func(creds *transport.Credentials, addr string) error {
		d := transport.NewDialer(creds, time.Second)
		defer d.CloseAll()
		l := transport.NewLinks(d, transport.Identity{Deployment: testDeployment, Region: "emea", Node: "b"})
		defer l.Close()
		_, err := l.To(n.id, addr).Relay(soon(t), ho)
		return err
	}
	web := func(ofRegionsCA bool) error {
		protocols := new(http.Protocols)
		protocols.SetHTTP2(true)
		tr := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, GetClientCertificate: shown(r.webCert(ofRegionsCA)),
		}}
		defer tr.CloseIdleConnections()
		ctx, call := connect.NewClientContext(soon(t))
		for header, is := range map[string]string{"Tandem-Deployment": testDeployment, "Tandem-Region": "emea", "Tandem-Node": "b"} {
			call.RequestHeader().Set(header, is)
		}
		_, err := peerpb.NewPeerClient(&http.Client{Transport: tr}, "https://"+n.Addr()).Relay(ctx, ho)
		return err
	}
	for name, forged := range map[string]func() error{
		"B106 with a webhook certificate":                func() error { return web(false) },
		"B106 with a webhook certificate of the same CA": func() error { return web(true) },
		"B106 from another region": func() error {
			return relay(r.credsOf(r.ca, testDeployment, "amer", "b", time.Minute), n.Addr())
		},
		"B106 from another deployment": func() error {
			return relay(r.credsOf(r.ca, "fabrikam", "emea", "b", time.Minute), n.Addr())
		},
		"B106 with another node's certificate": func() error {
			return relay(r.credsOf(r.ca, testDeployment, "emea", "c", time.Minute), n.Addr())
		},
		"B106 expired": func() error {
			return relay(r.credsOf(r.ca, testDeployment, "emea", "b", time.Nanosecond), n.Addr())
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := forged(); err == nil {
				t.Error("it was taken")
			}
		})
	}
	for name, open := range map[string]func(string, time.Duration) (net.Conn, error){
		"B106 without TLS": overTCP(""),
		"B106 without TLS, with the plain port's word": overTCP(prefacePeer),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := open(n.Addr(), time.Second)
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "POST "+peerpb.PeerRelayProcedure+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/proto\r\nContent-Length: 0\r\n\r\n")
			closedUnanswered(t, conn)
		})
	}
	if got := taken.Load(); got != 0 {
		t.Fatalf("%d forged notifications reached the bot", got)
	}

	t.Run("B106 replayed", func(t *testing.T) {
		w := tap(t, n.Addr())
		if err := relay(r.credsOf(r.ca, testDeployment, "emea", "b", time.Minute), w.ln.Addr().String()); err != nil {
			t.Fatalf("an honest relay was refused: %v", err)
		}
		if taken.Load() != 1 {
			t.Fatalf("an honest relay reached the bot %d times", taken.Load())
		}
		conn, err := net.Dial("tcp", n.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		w.mu.Lock()
		again := bytes.Clone(w.sent.Bytes())
		w.mu.Unlock()
		if len(again) < 500 {
			t.Fatalf("only %d bytes were recorded", len(again))
		}
		_, _ = conn.Write(again)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the replayed connection stayed open")
		}
		if taken.Load() != 1 {
			t.Error("a replayed relay reached the bot")
		}
	})
}
