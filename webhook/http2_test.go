package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tandem/token"
)

// frame writes one HTTP/2 frame (RFC 9113, section 4.1).
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	b := []byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream)}
	return append(b, payload...)
}

// field writes a header as a literal that is not indexed (RFC 7541, 6.2.2), with
// its value cut at what one length byte can say.
func field(name, value string) []byte {
	value = value[:min(len(value), 126)]
	b := append([]byte{0, byte(len(name))}, name...)
	return append(append(b, byte(len(value))), value...)
}

// The HTTP/2 frames that the floods use.
const (
	h2Headers, h2Reset, h2Settings, h2Ping, h2Continuation = 1, 3, 4, 6, 9
	h2EndHeaders                                           = 4
)

// slowTokens keeps requests without a token waiting, as a busy machine would.
type slowTokens struct {
	Tokens
	free chan struct{}
}

func (s slowTokens) Verify(ctx context.Context, h http.Header) (token.Claims, error) {
	if len(h["Authorization"]) == 0 {
		<-s.free
	}
	return s.Tokens.Verify(ctx, h)
}

// flood is what one HTTP/2 client does without end.
type flood struct {
	name   string
	deaf   bool // it reads nothing of what it causes
	most   int  // rounds
	frames func(round int) []byte
	ends   bool // the server hangs up on it
}

// floods are those of B70. What net/http (Go 1.26) does about each:
//   - Streams that are opened and reset pile up while their handlers run: past a
//     hundred handlers and four hundred that wait it hangs up.
//   - Headers without end: past twice their limit it hangs up.
//   - SETTINGS without end cost one pending acknowledgement, however many they
//     are, so the connection may stay.
//   - PINGs of a client that does not read the answers: past ten thousand of
//     them that wait it hangs up.
func floods() []flood {
	block := bytes.Join([][]byte{
		field(":method", "POST"), field(":scheme", "https"), field(":authority", "bot.example"), field(":path", hookPath),
		field("content-type", "application/json"),
	}, nil)
	junk := bytes.Repeat(field("x-junk", strings.Repeat("j", 120)), 100)
	pings := bytes.Repeat(frame(h2Ping, 0, 0, make([]byte, 8)), 1000)
	return []flood{
		{"B70 rapid reset", false, 5000, func(i int) []byte {
			id := uint32(2*i + 1)
			return append(frame(h2Headers, h2EndHeaders, id, block), frame(h2Reset, 0, id, []byte{0, 0, 0, 8})...)
		}, true},
		{"B70 CONTINUATION flood", false, 100000, func(i int) []byte {
			if i == 0 {
				return frame(h2Headers, 0, 1, block)
			}
			return frame(h2Continuation, 0, 1, junk)
		}, true},
		{"B70 settings flood", false, 20000, func(int) []byte { return frame(h2Settings, 0, 0, []byte{0, 4, 0, 1, 0, 0}) }, false},
		{"B70 ping flood", true, 10000, func(int) []byte { return pings }, true},
	}
}

// heard reads a connection to its end, and tells when an answer to alive came.
type heard struct {
	alive chan struct{} // closed when the server has answered the last PING
	ended chan struct{} // closed when the connection has
}

var lastPing = []byte("alive-70")

func listenTo(conn net.Conn) heard {
	h := heard{make(chan struct{}), make(chan struct{})}
	go func() {
		defer close(h.ended)
		in, answered, tail := make([]byte, 4096), false, []byte(nil)
		for {
			n, err := conn.Read(in)
			tail = append(tail, in[:n]...)
			if !answered && bytes.Contains(tail, lastPing) {
				answered = true
				close(h.alive)
			}
			tail = tail[max(0, len(tail)-len(lastPing)):]
			if err != nil {
				return
			}
		}
	}()
	return h
}

// TestHTTP2Floods is B70: a client that floods the server loses its connection
// wherever it could cost more than its own, and meanwhile another client of the
// same server gets its answer.
func TestHTTP2Floods(t *testing.T) {
	free := make(chan struct{})
	nd := oneNode(t, setup{deps: func(d *Deps) { d.Tokens = slowTokens{d.Tokens, free} }})
	addr := overTLS(t, nd)
	defer close(free)
	for _, f := range floods() {
		t.Run(f.name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "bot.example", InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute)) // a busy machine takes its time over a hundred thousand frames
			_, err = conn.Write(append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(h2Settings, 0, 0, nil)...))
			var ears heard
			if !f.deaf {
				ears = listenTo(conn)
			}
			for i := 0; i < f.most && err == nil; i++ {
				_, err = conn.Write(f.frames(i))
			}
			if err == nil {
				_, err = conn.Write(frame(h2Ping, 0, 0, lastPing))
			}
			if status := postOverTLS(t, addr); status != 204 {
				t.Errorf("another client of the same server: %d", status)
			}
			switch {
			case f.deaf:
				if err == nil || isTimeout(err) {
					t.Errorf("the server took it all: %v", err)
				}
			case f.ends:
				select {
				case <-ears.ended:
				case <-time.After(10 * time.Second):
					t.Error("the server does not hang up")
				}
			default:
				select {
				case <-ears.alive:
				case <-ears.ended:
					t.Errorf("the connection is gone: %v", err)
				}
			}
			_ = conn.Close()
			if !f.deaf {
				<-ears.ended
			}
		})
	}
}

// postOverTLS posts a legacy body over HTTP/2 on a connection of its own.
func postOverTLS(t *testing.T, addr string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "https://"+addr+hookPath, strings.NewReader(legacyBody))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+mint(t, ourApp, ourTenant))
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{ServerName: "bot.example", InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(r)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Errorf("it speaks %s", resp.Proto)
	}
	return resp.StatusCode
}
