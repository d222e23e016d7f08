package token

import (
	"context"
	"fmt"
	"net/http"
	"testing"
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
