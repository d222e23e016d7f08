package token

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"testing"
	"time"
)

// sumOf makes a distinct cache key.
func sumOf(n int) [sha256.Size]byte {
	return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

// liveVerdict is a verdict whose key is in a fresh set, valid for a minute.
func liveVerdict(now time.Time) *verdict {
	s := &source{}
	k := &key{id: "a", source: s}
	s.set.Store(&keySet{at: now, keys: map[string][]*key{"a": {k}}})
	return &verdict{key: k, notAfter: now.Add(time.Minute)}
}

// TestCacheIsBounded fills it many times over.
func TestCacheIsBounded(t *testing.T) {
	now := time.Now()
	c, v := newCache(), liveVerdict(now)
	for i := range 5 * cacheSize {
		c.put(sumOf(i), v)
		if n := c.size(); n > cacheSize {
			t.Fatalf("after %d verdicts the cache holds %d, more than %d", i+1, n, cacheSize)
		}
	}
	if _, ok := c.get(sumOf(5*cacheSize-1), now); !ok {
		t.Error("the latest verdict is gone")
	}
	if _, ok := c.get(sumOf(0), now); ok {
		t.Error("the oldest verdict is still there")
	}
}

// TestCacheKeepsWhatIsUsed asks for one verdict all the time.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	now := time.Now()
	c, v := newCache(), liveVerdict(now)
	c.put(sumOf(-1), v)
	for i := range 3 * cacheSize {
		c.put(sumOf(i), v)
		if i%100 == 0 {
			if _, ok := c.get(sumOf(-1), now); !ok {
				t.Fatalf("a verdict in use was forgotten after %d others", i)
			}
		}
	}
}

// TestCacheChecksAtEachHit breaks each condition of a verdict in turn.
func TestCacheChecksAtEachHit(t *testing.T) {
	now := time.Now()
	cases := []struct {
		name   string
		spoil  func(*verdict)
		at     time.Time
		wanted bool
	}{
		{"nothing spoiled", func(*verdict) {}, now, true},
		{"exp passed", func(*verdict) {}, now.Add(time.Minute), false},
		{"clock set back before nbf", func(v *verdict) { v.notBefore = now }, now.Add(-time.Second), false},
		{"key withdrawn", func(v *verdict) { v.key.source.set.Store(&keySet{at: now}) }, now, false},
		{"key set too old", func(v *verdict) { v.notAfter = now.Add(48 * time.Hour) }, now.Add(MaxKeyAge + 1), false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c, v := newCache(), liveVerdict(now)
			c.put(sumOf(1), v)
			tc.spoil(v)
			if _, ok := c.get(sumOf(1), tc.at); ok != tc.wanted {
				t.Errorf("a hit is %t, wanted %t", ok, tc.wanted)
			}
			c.purge(tc.at)
			if left := c.size() == 1; left != tc.wanted {
				t.Errorf("the verdict stays at a purge: %t, wanted %t", left, tc.wanted)
			}
		})
	}
}

// TestFailuresAreNotCached refuses many tokens and looks at the cache.
func TestFailuresAreNotCached(t *testing.T) {
	k := newClock()
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	cfg := c.config()
	cfg.Now = k.Now
	v := ready(t, start(t, cfg, App{ID: ourApp, Profile: "public", Tenants: []string{"another"}}))
	for i := range 50 {
		want(t, v, goodToken(k.Now(), "a", keyB(), i), CodeBadSignature)
		want(t, v, goodToken(k.Now(), "a", keyA(), i), CodeTenantNotAllowed)
	}
	if n := v.cache.size(); n != 0 {
		t.Errorf("the cache holds %d verdicts on refused tokens", n)
	}
}

// TestCacheConcurrently is for the race detector.
func TestCacheConcurrently(t *testing.T) {
	now := time.Now()
	c, v := newCache(), liveVerdict(now)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 2000 {
				c.put(sumOf(g*2000+i), v)
				c.get(sumOf(i), now)
				if i%500 == 0 {
					c.purge(now)
				}
			}
		})
	}
	all.Wait()
}

func (c *cache) size() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.young) + len(c.old)
}
