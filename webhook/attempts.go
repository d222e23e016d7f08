package webhook

import (
	"hash/maphash"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Attempts bounds how often one and the same bad token is judged. Zero values mean
// the defaults; a rate counts failures in a second.
//
// Nothing else of failed verification is bounded: nobody guesses a signature, and a
// bound on addresses, or on all, is one that a flood could turn against the cloud.
// What keeps a flood from the processor is that signatures are checked in turns (see
// token.WithSender). A token that is not judged is not refused for good (401) but
// for now (503): the cloud repeats after 5xx only.
type Attempts struct {
	Token      float64 // default 0.1
	TokenBurst int     // default 5
}

const (
	// places bounds the tokens that are remembered.
	places = 4096
	// sweepEvery is how often a full memory is looked through at most.
	sweepEvery = time.Second
)

// attempts remembers tokens that failed.
type attempts struct {
	cfg  Attempts
	now  func() time.Time
	seed maphash.Seed

	failing atomic.Int64 // tokens remembered: with none, no token is hashed

	mu     sync.Mutex
	tokens map[uint64]*rate.Limiter
	swept  time.Time
}

func newAttempts(cfg Attempts, now func() time.Time) *attempts {
	if cfg.Token <= 0 {
		cfg.Token = 0.1
	}
	setDefault(&cfg.TokenBurst, 5)
	return &attempts{cfg: cfg, now: now, seed: maphash.MakeSeed(), tokens: map[uint64]*rate.Limiter{}}
}

// spent reports whether a request's token has failed too often to be judged now.
func (a *attempts) spent(header http.Header) bool {
	if a.failing.Load() == 0 || len(header["Authorization"]) == 0 {
		return false
	}
	key := a.key(header)
	a.mu.Lock()
	defer a.mu.Unlock()
	l, ok := a.tokens[key]
	return ok && l.TokensAt(a.now()) < 1
}

// key tells tokens apart; two that fall together share a budget.
func (a *attempts) key(header http.Header) uint64 {
	var h maphash.Hash
	h.SetSeed(a.seed)
	for _, v := range header["Authorization"] {
		h.WriteString(v) //nolint:errcheck // it never fails
	}
	return h.Sum64()
}

// failed counts a request whose token was refused for good. When the places are
// used up, tokens that have recovered are dropped; where none is free, no new one is
// remembered.
func (a *attempts) failed(header http.Header) {
	if len(header["Authorization"]) == 0 {
		return
	}
	key, at := a.key(header), a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	l, ok := a.tokens[key]
	if !ok {
		if len(a.tokens) >= places && at.Sub(a.swept) >= sweepEvery {
			a.swept = at
			maps.DeleteFunc(a.tokens, func(_ uint64, l *rate.Limiter) bool { return l.TokensAt(at) >= float64(a.cfg.TokenBurst) })
		}
		if len(a.tokens) >= places {
			return
		}
		l = rate.NewLimiter(rate.Limit(a.cfg.Token), a.cfg.TokenBurst)
		a.tokens[key] = l
	}
	l.AllowN(at, 1)
	a.failing.Store(int64(len(a.tokens)))
}
