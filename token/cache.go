package token

import (
	"crypto/sha256"
	"sync"
	"time"
)

// cacheSize is the number of verdicts kept. Every call event brings its own
// token that lives for minutes, so reuse comes from repeats and bursts.
const cacheSize = 8192

// verdict is a token that passed all checks.
type verdict struct {
	claims    Claims
	app       *app
	key       *key
	notBefore time.Time // nbf less the skew; zero when there is no nbf
	notAfter  time.Time // exp plus the skew
}

// good tells whether the verdict still holds at now: within its time, its key
// still offered, and the key set not too old.
func (v *verdict) good(now time.Time) bool {
	if now.Before(v.notBefore) || !now.Before(v.notAfter) {
		return false
	}
	set := v.key.source.set.Load()
	return set != nil && set.fresh(now) && set.has(v.key)
}

// cache remembers tokens that passed, by the SHA-256 of the whole token, so
// that it holds no token. It keeps two generations and forgets the older one
// when the younger is full: bounded, without a list to keep in order.
type cache struct {
	mu    sync.RWMutex
	young map[[sha256.Size]byte]*verdict
	old   map[[sha256.Size]byte]*verdict
}

func newCache() *cache {
	return &cache{young: make(map[[sha256.Size]byte]*verdict)}
}

func (c *cache) get(sum [sha256.Size]byte, now time.Time) (*verdict, bool) {
	c.mu.RLock()
	v, isYoung := c.young[sum]
	if !isYoung {
		v = c.old[sum]
	}
	c.mu.RUnlock()
	if v == nil || !v.good(now) {
		return nil, false
	}
	if !isYoung {
		c.put(sum, v)
	}
	return v, true
}

func (c *cache) put(sum [sha256.Size]byte, v *verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= cacheSize/2 {
		c.old, c.young = c.young, make(map[[sha256.Size]byte]*verdict, cacheSize/2)
	}
	c.young[sum] = v
}

// purge drops the verdicts that no longer hold. They would be refused at their
// next hit anyway; this frees their memory when keys are withdrawn.
func (c *cache) purge(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, gen := range []map[[sha256.Size]byte]*verdict{c.young, c.old} {
		for sum, v := range gen {
			if !v.good(now) {
				delete(gen, sum)
			}
		}
	}
}
