package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/graphsim"
	"tandem/token"
)

const (
	junkEachTick = 10 // a millisecond: 10,000 a second
	slice        = 500 * time.Millisecond
	pace         = 2 * time.Millisecond // between two good tokens
)

// optionsOfAnother shape a good token with other claims.
func optionsOfAnother() graphsim.TokenOptions {
	return graphsim.TokenOptions{Life: 4 * time.Minute}
}

// flood compares good traffic alone and beside tokens of unknown keys, in turns,
// so that whatever else the machine does falls on both.
func flood(ctx context.Context, cloud *graphsim.Cloud, v *token.Verifier, lasts time.Duration) error {
	if lasts <= 0 {
		return nil
	}
	junk, err := unknownKeys(cloud)
	if err != nil {
		return err
	}
	before := cloud.Requests(graphsim.EndpointKeys)
	var times [2][]time.Duration // alone, beside the flood
	sent, passed := 0, 0
	began := time.Now()
	for turn := 0; time.Since(began) < lasts; turn++ {
		// Minted before the clock runs, not beside what is measured.
		fresh := make([]http.Header, slice/pace)
		for i := range fresh {
			raw, err := cloud.Mint(graphsim.TokenOptions{})
			if err != nil {
				return err
			}
			fresh[i] = bearer(raw)
		}
		stop := func() (int, int) { return 0, 0 }
		if turn%2 == 1 {
			stop = sendJunk(ctx, v, junk)
		}
		tick := time.NewTicker(pace)
		for _, h := range fresh {
			<-tick.C
			at := time.Now()
			if status, code := judge(ctx, v, h); status != http.StatusOK {
				tick.Stop()
				stop()
				return fmt.Errorf("a good token was answered with %d %s", status, code)
			}
			times[turn%2] = append(times[turn%2], time.Since(at))
		}
		tick.Stop()
		n, through := stop()
		sent, passed = sent+n, passed+through
	}
	took := time.Since(began)
	fetches := cloud.Requests(graphsim.EndpointKeys) - before
	if len(times[1]) == 0 {
		return errors.New("the time was too short for a turn beside the flood")
	}
	for _, list := range times {
		slices.Sort(list)
	}
	p99 := func(list []time.Duration) time.Duration { return list[len(list)*99/100] }
	quiet, loud := p99(times[0]), p99(times[1])
	ratio := float64(loud) / float64(quiet)
	busy := time.Duration(len(times[1])) * pace
	fmt.Printf("unknown keys  %d tokens in %v, %.0f a second while they came\n", sent, took.Round(time.Second), float64(sent)/busy.Seconds())
	fmt.Printf("key fetches   %d in %v, allowed is one a minute\n", fetches, took.Round(time.Second))
	fmt.Printf("good tokens   p99 alone %v, beside the flood %v, ratio %.2f (allowed 1.50), %d and %d measured\n", quiet, loud, ratio, len(times[0]), len(times[1]))
	var errs []error
	if passed > 0 {
		errs = append(errs, fmt.Errorf("%d tokens of unknown keys passed", passed))
	}
	if allowed := 1 + int(took/time.Minute); fetches > allowed {
		errs = append(errs, fmt.Errorf("the keys were fetched %d times in %v", fetches, took))
	}
	if ratio > 1.5 {
		errs = append(errs, fmt.Errorf("the p99 beside the flood is %.2f times the quiet one", ratio))
	}
	return errors.Join(errs...)
}

// unknownKeys makes tokens that are good but for their key, which nobody knows.
func unknownKeys(cloud *graphsim.Cloud) ([]http.Header, error) {
	raw, err := cloud.Mint(graphsim.TokenOptions{})
	if err != nil {
		return nil, err
	}
	part := strings.Split(raw, ".")
	out := make([]http.Header, 10_000)
	for i := range out {
		head := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"RS256","typ":"JWT","kid":"junk-%d"}`, i))
		out[i] = bearer(head + "." + part[1] + "." + part[2])
	}
	return out, nil
}

// sendJunk sends until it is stopped, and then says how many it sent and how many
// of them passed.
func sendJunk(ctx context.Context, v *token.Verifier, junk []http.Header) (stop func() (sent, passed int)) {
	done := make(chan struct{})
	var running sync.WaitGroup
	sent, passed := 0, 0
	running.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for range junkEachTick {
				if status, _ := judge(ctx, v, junk[sent%len(junk)]); status == http.StatusOK {
					passed++
				}
				sent++
			}
		}
	})
	return func() (int, int) { close(done); running.Wait(); return sent, passed }
}
