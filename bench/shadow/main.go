// Command shadow measures what a shadow run costs a request: notifications with good tokens
// go to one upstream on this machine in turns straight and through a shadow, which judges
// them all, and the two are compared.
//
//	go run ./bench/shadow                 10,000 pairs, one at a time
//	go run ./bench/shadow -workers 16     what the machine can do: then both wait in its queues
//
// The pairs are interleaved, so whatever else the machine does hits both alike. It prints
// p50 and p99 of both, and exits with 1 when the shadow adds more than 1 ms to the p99. On a
// machine that is busy with other things, the p99 is theirs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/graphsim"
	"tandem/shadow"
	"tandem/token"
)

const (
	app   = "0efc74f7-41c3-47a4-8775-7259bfef4241"
	bound = time.Millisecond
)

func main() {
	pairs := flag.Int("pairs", 10_000, "how many requests go each way")
	workers := flag.Int("workers", 1, "how many at a time")
	flag.Parse()
	if err := run(context.Background(), *pairs, *workers); err != nil {
		fmt.Fprintln(os.Stderr, "bench/shadow:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, pairs, workers int) error {
	cloud, err := graphsim.Start(ctx, graphsim.Config{Apps: []graphsim.App{{ID: app}}})
	if err != nil {
		return fmt.Errorf("starting the issuer: %w", err)
	}
	defer cloud.Close()
	v, err := token.New(ctx, token.Config{Profiles: []token.Profile{{
		Name: "simulated", OpenIDURL: []string{cloud.OpenIDURL()}, Issuers: []string{graphsim.IssuerBotFramework, graphsim.IssuerGraph},
	}}}, []token.App{{ID: app, Profile: "simulated"}})
	if err != nil {
		return fmt.Errorf("making the verifier: %w", err)
	}
	defer func() { _ = v.Close() }() // nothing of it is kept
	patience, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := v.WaitReady(patience); err != nil {
		return fmt.Errorf("waiting for the issuer's keys: %w", err)
	}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Served-By", "bot-1")
		w.WriteHeader(http.StatusAccepted)
	}))
	defer upstream.Close()
	to, err := url.Parse(upstream.URL)
	if err != nil {
		return fmt.Errorf("reading the upstream's address: %w", err)
	}
	by, err := shadow.ReadSource("header:X-Served-By")
	if err != nil {
		return err
	}
	p, err := shadow.NewProxy(shadow.ProxyConfig{Upstreams: []shadow.Upstream{{URL: to}}, Tokens: v, Instance: by})
	if err != nil {
		return err
	}
	defer p.Close()
	front := httptest.NewServer(p)
	defer front.Close()
	bearer, err := cloud.Mint(graphsim.TokenOptions{})
	if err != nil {
		return fmt.Errorf("minting a token: %w", err)
	}
	b := bench{bearer: bearer, client: &http.Transport{MaxIdleConnsPerHost: 2 * workers}}
	defer b.client.CloseIdleConnections()
	if _, _, err := b.measure(ctx, upstream.URL, front.URL, 500, workers); err != nil { // connections, caches
		return err
	}
	straight, through, err := b.measure(ctx, upstream.URL, front.URL, pairs, workers)
	if err != nil {
		return err
	}
	r := p.Report()
	fmt.Printf("straight  p50 %v  p99 %v\nshadowed  p50 %v  p99 %v\n", at(straight, 50), at(straight, 99), at(through, 50), at(through, 99))
	added := at(through, 99) - at(straight, 99)
	fmt.Printf("added     p50 %v  p99 %v\njudged    %d, dropped %d, crashed %d\n", at(through, 50)-at(straight, 50), added, r.Exchanges, r.Unjudged.Dropped, r.Unjudged.Crashed)
	if added > bound {
		return fmt.Errorf("the shadow adds %v to the p99, more than %v", added, bound)
	}
	return nil
}

func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[len(sorted)*percent/100].Round(time.Microsecond)
}

// bench posts notifications.
type bench struct {
	bearer string
	client *http.Transport
	next   atomic.Int64
}

// measure sends pairs, each one way and then the other, the first way in turns.
func (b *bench) measure(ctx context.Context, straight, through string, pairs, workers int) (one, two []time.Duration, err error) {
	var (
		mu   sync.Mutex
		wait sync.WaitGroup
		left atomic.Int64
	)
	left.Store(int64(pairs))
	for range workers {
		wait.Go(func() {
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				var took [2]time.Duration
				var failed [2]error
				for i := range 2 {
					way := int(n+int64(i)) % 2
					took[way], failed[way] = b.post(ctx, []string{straight, through}[way])
				}
				mu.Lock()
				one, two = append(one, took[0]), append(two, took[1])
				err = errors.Join(err, failed[0], failed[1])
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	slices.Sort(one)
	slices.Sort(two)
	return one, two, err
}

// post sends one update of one of a thousand calls.
func (b *bench) post(ctx context.Context, to string) (time.Duration, error) {
	n := b.next.Add(1)
	body := fmt.Sprintf(`{"value":[{"changeType":"updated","resource":"/app/calls/%032x/participants","resourceData":[%s]}]}`, n%1000, strings.Repeat(`{"id":"a","isMuted":false},`, 70)+"{}")
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to+"/api/calls", strings.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("making a request: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+b.bearer)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Microsoft-Skype-Message-Id", fmt.Sprint(n))
	begun := time.Now()
	resp, err := b.client.RoundTrip(r)
	if err != nil {
		return 0, fmt.Errorf("posting: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusAccepted {
		return 0, fmt.Errorf("posting: status %d, %w", resp.StatusCode, err)
	}
	return time.Since(begun), nil
}
