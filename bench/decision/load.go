package main

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"tandem/graphsim"
)

// incoming is an invitation by a recording policy, as Microsoft's page shows it, without
// its spaces.
//
//go:embed incoming.json
var incoming string

// mint makes requests that differ in their tokens.
func mint(cloud *graphsim.Cloud, n int) ([][]byte, error) {
	requests := make([][]byte, n)
	var g errgroup.Group
	g.SetLimit(2)
	for i := range n {
		g.Go(func() error {
			raw, err := cloud.Mint(graphsim.TokenOptions{Claims: map[string]any{"uti": fmt.Sprintf("%032d", i)}})
			requests[i] = []byte("POST " + path + " HTTP/1.1\r\nHost: emea-1.example.com\r\nUser-Agent: Microsoft-Skype/3.0\r\n" +
				"Content-Type: application/json; charset=utf-8\r\nX-Microsoft-Skype-Message-Id: " + fmt.Sprintf("%032d", i) + "\r\n" +
				"Scenario-Id: 05f2f70f-3a9c-47c1-80a9-cc79e91d8cec\r\nAuthorization: Bearer " + raw + "\r\n" +
				fmt.Sprintf("Content-Length: %d\r\n\r\n", len(incoming)) + incoming)
			return err
		})
	}
	return requests, g.Wait()
}

// load sends requests in turn, by a fixed number of connections that each wait for their
// answer, and wants a 302 to the call's node for each. It begins with the request from.
func load(ctx context.Context, addr string, requests [][]byte, from, n int) error {
	var g errgroup.Group
	var next atomic.Int64
	for range clients {
		g.Go(func() error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			defer conn.Close() //nolint:errcheck // its answers are read
			in := bufio.NewReader(conn)
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if _, err := conn.Write(requests[(from+int(i))%len(requests)]); err != nil {
					return err
				}
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					return err
				}
				_ = res.Body.Close() // a redirect here has none
				if to := res.Header.Get("Location"); res.StatusCode != http.StatusFound || !strings.HasPrefix(to, elsewhere+path) {
					return fmt.Errorf("it answered %d to %q", res.StatusCode, to)
				}
			}
			return nil
		})
	}
	return g.Wait()
}
