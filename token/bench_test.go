package token

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// benchmarked judges the tokens in turn.
func benchmarked(b *testing.B, code Code, tokens func(*clock) []string) {
	b.Helper()
	k := newClock()
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	cfg := c.config()
	cfg.Now = k.Now
	v := ready(b, start(b, cfg))
	var headers []http.Header
	for _, raw := range tokens(k) {
		headers = append(headers, http.Header{"Authorization": {"Bearer " + raw}})
	}
	ctx := context.Background()
	if _, err := v.Verify(ctx, headers[0]); codeOf(b, err) != code {
		b.Fatalf("the verdict is %v, wanted %q", err, code)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, _ = v.Verify(ctx, headers[i%len(headers)])
	}
}

// BenchmarkRepeated judges one token again and again: the cache.
func BenchmarkRepeated(b *testing.B) {
	benchmarked(b, good, func(k *clock) []string { return []string{goodToken(k.Now(), "a", keyA(), 0)} })
}

// BenchmarkNew judges more tokens in turn than the cache holds: everything.
func BenchmarkNew(b *testing.B) {
	benchmarked(b, good, func(k *clock) []string {
		var list []string
		for i := range cacheSize + cacheSize/2 {
			list = append(list, goodToken(k.Now(), "a", keyA(), i))
		}
		return list
	})
}

// BenchmarkJunk judges bytes that are no token.
func BenchmarkJunk(b *testing.B) {
	benchmarked(b, CodeNotThreeParts, func(*clock) []string { return []string{fmt.Sprintf("%01100d", 0)} })
}

// BenchmarkUnknownKey judges a plausible token with a key that nobody knows.
func BenchmarkUnknownKey(b *testing.B) {
	benchmarked(b, CodeUnknownKey, func(k *clock) []string { return []string{goodToken(k.Now(), "b", keyB(), 0)} })
}

// BenchmarkBadSignature judges a plausible token that costs an RSA operation.
func BenchmarkBadSignature(b *testing.B) {
	benchmarked(b, CodeBadSignature, func(k *clock) []string { return []string{goodToken(k.Now(), "a", keyB(), 0)} })
}

// BenchmarkFloodP99 compares good traffic (every token new) in quiet with the
// same beside 10,000 unknown keys a second, in turns within one run.
func BenchmarkFloodP99(b *testing.B) {
	k := newClock()
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	cfg := c.config()
	cfg.Now = k.Now
	v := ready(b, start(b, cfg))
	const batch = 200
	var times [2][]time.Duration // quiet, flood
	n := 0
	for b.Loop() {
		for flood := range times {
			tokens := make([]string, batch)
			for i := range tokens {
				n++
				tokens[i] = goodToken(k.Now(), "a", keyA(), n)
			}
			stop := func() {}
			if flood == 1 {
				stop = floodOf(v, k)
			}
			for _, raw := range tokens {
				began := time.Now()
				if _, err := verify(v, raw); err != nil {
					b.Fatal(err)
				}
				times[flood] = append(times[flood], time.Since(began))
			}
			stop()
		}
	}
	for _, list := range times {
		slices.Sort(list)
	}
	quiet, flood := times[0][len(times[0])*99/100], times[1][len(times[1])*99/100]
	b.ReportMetric(float64(quiet.Microseconds()), "p99-quiet-µs")
	b.ReportMetric(float64(flood.Microseconds()), "p99-flood-µs")
	b.ReportMetric(float64(flood)/float64(quiet), "p99-ratio")
	b.ReportMetric(float64(c.fetched()-1), "jwks-fetches")
}

// floodOf sends ten unknown keys every millisecond until it is stopped.
func floodOf(v *Verifier, k *clock) (stop func()) {
	junk := make([]string, 1000)
	for i := range junk {
		h := b64(fmt.Appendf(nil, `{"alg":"RS256","kid":"junk-%d"}`, i))
		junk[i] = h + "." + b64([]byte(jsonText(realClaims(k.Now())))) + ".AAAA"
	}
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i += 10 {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for j := range 10 {
				_, _ = verify(v, junk[(i+j)%len(junk)])
			}
		}
	})
	return func() { close(done); running.Wait() }
}
