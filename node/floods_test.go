package node

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/graphsim"
)

// floodTime is how long each flood lasts: scripts/floods sets more.
func floodTime(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(cmp.Or(os.Getenv("TANDEM_FLOOD"), "3s"))
	must(t, err)
	return d
}

// TestFloods: beside each flood, ninety-nine of a hundred good notifications with
// fresh tokens are answered, each from a connection of its own, and the node's memory
// stays bounded. scripts/floods runs them for as long as you like.
func TestFloods(t *testing.T) {
	long(t, "D3 to D9: each flood takes seconds")
	const most = 400 << 10 // KB of the node's memory at any time
	for _, f := range []struct {
		name  string
		plan  plan
		flood func(*flooding)
	}{
		{"D3 bad signatures behind a balancer", plan{shape: behindABalancer}, func(f *flooding) { f.requests(12000, true, f.badSignature()) }},
		{"D3 bad signatures", plan{}, func(f *flooding) { f.requests(12000, false, f.badSignature()) }},
		{"D9 unknown keys", plan{}, func(f *flooding) { f.requests(10000, false, f.unknownKey()) }},
		{"D4 bodies of a thousand new calls of another app", plan{shape: withAnotherApp, sim: knowsAnotherApp}, (*flooding).crowds},
		{"D5 idle connections from nine addresses", plan{shape: fewPlaces}, (*flooding).idle},
		{"D6 HTTP/2 with windows of 0", plan{https: true}, (*flooding).windows},
	} {
		t.Run(f.name, func(t *testing.T) {
			f.plan.nodes, f.plan.children = 1, true
			s := deploy(t, f.plan)
			x := s.seats[0]
			good := s.mintMany(256)
			run := &flooding{s: s, x: x, over: make(chan struct{})}
			begun := time.Now()
			run.all.Go(func() { f.flood(run) })
			answered, asked, worst := run.good(good, floodTime(t))
			close(run.over)
			run.all.Wait()
			share, peak := 100*float64(answered)/float64(asked), peakMemory(t, x)
			t.Logf("%.2f %% of %d good notifications answered (slowest %v), %.0f bad ones a second, at most %d MB of memory",
				share, asked, worst.Round(time.Millisecond), float64(run.sent.Load())/time.Since(begun).Seconds(), peak>>10)
			if share < 99 {
				t.Errorf("%.2f %% of the good notifications were answered, want 99", share)
			}
			if peak > most {
				t.Errorf("the node took %d MB, want %d at most", peak>>10, most>>10)
			}
		})
	}
}

func behindABalancer(_ *seat, c *Config) { c.Public.TrustedProxies = []string{"127.0.0.1"} }

func fewPlaces(_ *seat, c *Config) { c.Public.Connections = 128 }

const anotherApp = "b0771e57-0000-4000-8000-00000000000b"

// withAnotherApp lets a node serve a second app, and gives it places for the good
// calls that ring at one time, a hundred a second, and not for more.
func withAnotherApp(_ *seat, c *Config) {
	other := c.Apps[0]
	other.ID, other.Graph.ClientID = anotherApp, anotherApp
	c.Apps = append(c.Apps, other)
	c.Node.Capacity = 4000
}

func knowsAnotherApp(c *graphsim.Config) {
	other := c.Apps[0]
	other.ID = anotherApp
	c.Apps = append(c.Apps, other)
	c.Capacity = 4000
}

// pastTheFlood is the life of the floods' good tokens. The cloud's own end after five
// minutes, and the skew of clocks after five more.
const pastTheFlood = 4 * time.Hour

// flooding is one flood under way.
type flooding struct {
	s    *stage
	x    *seat
	over chan struct{}
	all  sync.WaitGroup
	sent atomic.Int64
}

// good sends a hundred good notifications a second, and counts those answered.
func (f *flooding) good(tokens []string, d time.Duration) (answered, asked int64, worst time.Duration) {
	var done sync.WaitGroup
	var ok, slowest atomic.Int64
	known := sample(f.s.t, "legacy-skype-incoming.json", newCall())
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: f.s.trust()}}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		token := tokens[asked%int64(len(tokens))]
		asked++
		body := known
		if f.s.plan.sim != nil { // see knowsAnotherApp: there is room for calls of their own
			body = sample(f.s.t, "legacy-skype-incoming.json", newCall())
		}
		done.Go(func() {
			begun := time.Now()
			req, err := http.NewRequest(http.MethodPost, f.x.webhook(), strings.NewReader(body))
			if err != nil {
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-Forwarded-For", "198.51.100.1")
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := client.Do(req)
			if err != nil {
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusNoContent {
				ok.Add(1)
			}
			for took := int64(time.Since(begun)); ; {
				if was := slowest.Load(); took <= was || slowest.CompareAndSwap(was, took) {
					return
				}
			}
		})
	}
	done.Wait()
	return ok.Load(), asked, time.Duration(slowest.Load())
}

func (s *stage) mintMany(n int) []string {
	all := make([]string, n)
	for i := range all {
		token, err := s.cloud.Mint(graphsim.TokenOptions{Tenant: testTenant, Life: pastTheFlood})
		must(s.t, err)
		all[i] = token
	}
	return all
}

// badSignature returns tokens that are right but for their signatures, which differ.
func (f *flooding) badSignature() func(int64) string {
	good := f.s.token(testTenant)
	head := good[:strings.LastIndexByte(good, '.')+1]
	return func(n int64) string { return head + fmt.Sprintf("%0342d", n*4) }
}

// unknownKey returns tokens of keys that nobody knows, each of another.
func (f *flooding) unknownKey() func(int64) string {
	raw, err := f.s.cloud.Mint(graphsim.TokenOptions{Tenant: testTenant, Key: graphsim.KeyUnknown})
	must(f.s.t, err)
	_, rest, _ := strings.Cut(raw, ".")
	return func(n int64) string {
		return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"RS256","typ":"JWT","kid":"junk-%d"}`, n)) + "." + rest
	}
}

// requests posts at a rate, pipelined over a few connections, as one caller.
func (f *flooding) requests(rate int, forwarded bool, token func(int64) string) {
	const clients, batch = 8, 20
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			pace := time.NewTicker(time.Second * clients * batch / time.Duration(rate))
			defer pace.Stop()
			var conn net.Conn
			var in *bufio.Reader
			for {
				select {
				case <-f.over:
					if conn != nil {
						_ = conn.Close()
					}
					return
				case <-pace.C:
				}
				if conn == nil {
					c, err := net.Dial("tcp", f.x.public)
					if err != nil {
						continue
					}
					_ = c.SetDeadline(time.Now().Add(time.Hour))
					conn, in = c, bufio.NewReader(c)
				}
				var out strings.Builder
				for range batch {
					fmt.Fprintf(&out, "POST /api/calls HTTP/1.1\r\nHost: bot\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\n", token(f.sent.Add(1)))
					if forwarded {
						out.WriteString("X-Forwarded-For: 203.0.113.9\r\n")
					}
					out.WriteString("\r\n{}")
				}
				if _, err := io.WriteString(conn, out.String()); err != nil {
					_, conn = conn.Close(), nil
					continue
				}
				for range batch {
					resp, err := http.ReadResponse(in, nil)
					if err != nil {
						_, conn = conn.Close(), nil
						break
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
			}
		})
	}
	all.Wait()
}

// crowds posts bodies that name a thousand new calls each, with a good token of
// another app, as fast as they are answered.
func (f *flooding) crowds() {
	token, err := f.s.cloud.Mint(graphsim.TokenOptions{Tenant: testTenant, Audience: anotherApp, Life: pastTheFlood})
	must(f.s.t, err)
	var all []string
	for i := range 1000 {
		id := fmt.Sprintf("b0d7????????%020x", i)
		all = append(all, fmt.Sprintf(`{"changeType":"created","resource":"/app/calls/%s","resourceData":{"@odata.type":"#microsoft.graph.call","state":"incoming","id":"%s"}}`, id, id))
	}
	body := `{"@odata.type":"#microsoft.graph.commsNotifications","value":[` + strings.Join(all, ",") + `]}`
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	for range 4 {
		f.all.Go(func() {
			for {
				select {
				case <-f.over:
					return
				default:
				}
				names := strings.ReplaceAll(body, "????????", fmt.Sprintf("%08x", f.sent.Add(1)))
				req, err := http.NewRequest(http.MethodPost, f.x.webhook(), strings.NewReader(names))
				if err != nil {
					return
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Authorization", "Bearer "+token)
				resp, err := client.Do(req)
				if err != nil {
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusRequestEntityTooLarge {
					f.s.t.Errorf("a body of a thousand new calls got %d, want 413", resp.StatusCode)
					return
				}
			}
		})
	}
}

// idle holds connections from nine addresses, and opens those anew that are closed.
func (f *flooding) idle() {
	for i := range 9 {
		from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}}
		for range 30 {
			f.all.Go(func() {
				for {
					c, err := from.Dial("tcp", f.x.public)
					if err == nil {
						f.sent.Add(1)
						closed := make(chan struct{})
						go func() { defer close(closed); _, _ = c.Read(make([]byte, 1)) }()
						select {
						case <-closed:
							_ = c.Close()
						case <-f.over:
							_ = c.Close()
							<-closed
							return
						}
					}
					select {
					case <-time.After(50 * time.Millisecond): // else this machine would do nothing else
					case <-f.over:
						return
					}
				}
			})
		}
	}
}

// windows asks over HTTP/2 without taking a byte of a body, with 30 KB of headers a
// stream: on a hundred connections a hundred streams each, which it keeps for a while.
func (f *flooding) windows() {
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	for i := range 100 {
		f.all.Go(func() {
			for start := time.Duration(i) * 100 * time.Millisecond; ; start = 0 {
				select {
				case <-f.over:
					return
				case <-time.After(start): // not all at one moment: the flood is of streams, not of handshakes
				}
				c, err := tls.Dial("tcp", f.x.public, conf)
				if err != nil {
					continue
				}
				f.hold(c)
			}
		})
	}
}

// peakMemory returns the most KB of memory that a node's process ever had.
func peakMemory(t *testing.T, x *seat) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", x.child.cmd.Process.Pid))
	if err != nil {
		t.Skip("no /proc on this machine")
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			must(t, err)
			return kb
		}
	}
	t.Fatal("the process has no peak")
	return 0
}
