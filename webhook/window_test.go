package webhook

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// window0 is a client that asks much and takes nothing: each stream has 30 KB of
// headers, and no byte of a body may be sent to it.
type window0 struct {
	conn   *tls.Conn
	frames *http2.Framer
	dec    *hpack.Decoder
	heard  map[uint32]string // status by stream
	bodies int
}

func dialWindow0(t *testing.T, addr string) *window0 {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "bot.example", InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * time.Minute)) // a busy machine takes its time
	c := &window0{conn: conn, frames: http2.NewFramer(conn, conn), dec: hpack.NewDecoder(4096, nil), heard: map[uint32]string{}}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	if err := c.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask opens streams; all are ended, as far as the client goes. Without a bearer they
// have no Authorization header.
func (c *window0) ask(streams int, bearer string) error {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	fields := [][2]string{
		{":method", "POST"}, {":scheme", "https"}, {":authority", "bot.example"}, {":path", hookPath}, {"content-type", "application/json"},
	}
	if bearer != "" {
		fields = append(fields, [2]string{"authorization", "Bearer " + bearer})
	}
	for i := range streams {
		block.Reset()
		for _, f := range fields {
			_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		for n := range 10 { // never indexed: nothing is shared between the streams
			_ = enc.WriteField(hpack.HeaderField{Name: fmt.Sprint("x-junk-", n), Value: strings.Repeat("j", 3000), Sensitive: true})
		}
		first, rest := block.Bytes()[:min(16000, block.Len())], block.Bytes()[min(16000, block.Len()):]
		id := uint32(2*i + 1)
		if err := c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: true, EndHeaders: len(rest) == 0}); err != nil {
			return err
		}
		if len(rest) > 0 {
			if err := c.frames.WriteContinuation(id, true, rest); err != nil {
				return err
			}
		}
	}
	return nil
}

// listen reads until so many more streams are answered to their end, or given up.
func (c *window0) listen(streams int) error {
	ended := 0
	for ended < streams {
		f, err := c.frames.ReadFrame()
		if err != nil {
			return fmt.Errorf("after %d streams: %w", ended, err)
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, err := c.dec.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				return err
			}
			c.heard[f.StreamID] = fields[0].Value
			if f.StreamEnded() {
				ended++
			} else {
				c.bodies++
			}
		case *http2.RSTStreamFrame:
			ended++
		}
	}
	return nil
}

// TestD6_WindowOfNothingHoldsNoMemory: twenty such clients with a hundred streams
// each, 60 MB of headers, are answered to the end, and hold nothing of it. Another
// client gets its answer meanwhile.
func TestD6_WindowOfNothingHoldsNoMemory(t *testing.T) {
	const clients, streams, most = 20, 100, 16 << 20
	nd := oneNode(t, setup{})
	addr := overTLS(t, nd)
	before := heap()
	var all sync.WaitGroup
	open := make([]*window0, clients)
	for i := range open {
		open[i] = dialWindow0(t, addr)
		all.Go(func() {
			sent := make(chan error, 1)
			go func() { sent <- open[i].ask(streams, junk(t, i)) }()
			if err := open[i].listen(streams); err != nil {
				t.Error(err)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if status := postOverTLS(t, addr); status != 204 {
		t.Errorf("another client: %d", status)
	}
	grown := heap() - before
	t.Logf("%d KB are held beside those %d clients", grown>>10, clients)
	if grown > most {
		t.Errorf("%d MB are held, want %d at most", grown>>20, most>>20)
	}
	for _, c := range open {
		for id, status := range c.heard {
			if status != "401" && status != "503" {
				t.Fatalf("stream %d was answered %s", id, status)
			}
		}
		if c.bodies > 0 {
			t.Fatalf("%d answers wait to send a body", c.bodies)
		}
		runtime.KeepAlive(c.conn)
	}
}

// TestD6_FewStreamsOfAStranger: while sixteen requests of a stranger's connection are
// under way, the others are sent away at once.
func TestD6_FewStreamsOfAStranger(t *testing.T) {
	const streams = 100
	free := make(chan struct{})
	defer close(free)
	nd := oneNode(t, setup{deps: func(d *Deps) { d.Tokens = slowTokens{d.Tokens, free} }})
	c := dialWindow0(t, overTLS(t, nd))
	if err := c.ask(streams, ""); err != nil {
		t.Fatal(err)
	}
	for ended := 0; ended < streams && len(c.heard) < streams-fewStreams; ended++ {
		if err := c.listen(1); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.heard); n < streams-fewStreams { // the others waited until the server gave them up
		t.Errorf("%d were sent away, want %d", n, streams-fewStreams)
	}
	for id, status := range c.heard {
		if status != "503" {
			t.Errorf("stream %d was answered %s", id, status)
		}
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
