package webhook

import (
	"hash/maphash"
	"maps"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Attempts bounds what failed verification of tokens may cost. Zero values mean
// the defaults; a rate counts failures in a second.
//
// A failure costs one RSA check at most, 30 µs, so the bounds are not there to
// slow guessing down: nobody guesses a signature. They keep a flood of junk from
// taking the processor away from the cloud. So whoever has shown a good token
// lately is bounded by that token only, and a bounded request is not refused for
// good (401) but for now (503): the cloud repeats after 5xx only.
//
// The bound on all strangers is the one that an attacker could turn against the
// cloud, whose next address is a stranger too. So it counts only failures that
// took the RSA check, and lets 2000 of them by in a second, 6 % of one
// processor: to use it up takes 400 addresses, each with tokens that are right
// but for their signature. Junk that is refused at a glance uses up nothing but
// the budgets of its own address and token.
type Attempts struct {
	All        float64 // that took an RSA check, from all strangers together; default 2000
	AllBurst   int     // default 4000
	Each       float64 // from one address; default 5
	EachBurst  int     // default 50
	Token      float64 // of one and the same token, whoever sends it; default 0.1
	TokenBurst int     // default 5

	// Shared says that the addresses of requests are those of something in front
	// of this node and say nothing. Then tokens are bounded, each and all, and no
	// stranger is whose very token was found good lately.
	Shared bool
}

func (a Attempts) withDefaults() Attempts {
	for _, v := range []struct {
		at *float64
		to float64
	}{{&a.All, 2000}, {&a.Each, 5}, {&a.Token, 0.1}} {
		if *v.at <= 0 {
			*v.at = v.to
		}
	}
	setDefault(&a.AllBurst, 4000)
	setDefault(&a.EachBurst, 50)
	setDefault(&a.TokenBurst, 5)
	return a
}

const (
	// places bounds the addresses and tokens that are remembered, of each kind.
	places = 4096
	// goodFor is how long a good token makes its sender no stranger.
	goodFor = 10 * time.Minute
	// sweepEvery is how often a full memory is looked through at most.
	sweepEvery = time.Second
)

// attempts remembers who failed, and who did not.
type attempts struct {
	cfg  Attempts
	now  func() time.Time
	seed maphash.Seed
	all  *rate.Limiter

	failing atomic.Int64 // tokens remembered: with none, no token is hashed

	mu     sync.Mutex
	each   map[netip.Addr]*rate.Limiter
	tokens map[uint64]*rate.Limiter
	swept  time.Time

	goodMu sync.RWMutex
	good   map[origin]time.Time
}

// origin is whom a request comes from: an address, or where all come from the
// same one, the token.
type origin struct {
	addr  netip.Addr
	token uint64
}

func newAttempts(cfg Attempts, now func() time.Time) *attempts {
	cfg = cfg.withDefaults()
	return &attempts{
		cfg: cfg, now: now, seed: maphash.MakeSeed(), all: rate.NewLimiter(rate.Limit(cfg.All), cfg.AllBurst),
		each: map[netip.Addr]*rate.Limiter{}, tokens: map[uint64]*rate.Limiter{}, good: map[origin]time.Time{},
	}
}

// try is one request's attempt.
type try struct {
	from origin
	at   time.Time
}

// begin reports whether a request's token may be verified now. A request without
// one tries nothing and costs nothing.
func (a *attempts) begin(r *http.Request) (try, bool) {
	t := try{at: a.now()}
	if len(r.Header["Authorization"]) == 0 {
		return t, true
	}
	if a.cfg.Shared {
		t.from.token = a.tokenKey(r.Header)
	} else {
		t.from.addr = sender(r.RemoteAddr)
	}
	switch {
	case a.failing.Load() > 0 && a.tokenSpent(r.Header, t.at):
		return t, false
	case a.isGood(t):
		return t, true
	case a.all.TokensAt(t.at) < 1:
		return t, false
	case a.cfg.Shared:
		return t, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	l, ok := a.each[t.from.addr]
	return t, !ok || l.TokensAt(t.at) >= 1
}

func (a *attempts) tokenSpent(header http.Header, at time.Time) bool {
	key := a.tokenKey(header)
	a.mu.Lock()
	defer a.mu.Unlock()
	l, ok := a.tokens[key]
	return ok && l.TokensAt(at) < 1
}

// tokenKey tells headers apart; two that fall together share a budget.
func (a *attempts) tokenKey(header http.Header) uint64 {
	var h maphash.Hash
	h.SetSeed(a.seed)
	for _, v := range header["Authorization"] {
		h.WriteString(v) //nolint:errcheck // it never fails
	}
	return h.Sum64()
}

// failed counts a request whose token was refused for good; costly says that it
// took an RSA check.
func (a *attempts) failed(t try, header http.Header, costly bool) {
	if len(header["Authorization"]) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	limiterOf(a, a.tokens, a.tokenKey(header), rate.Limit(a.cfg.Token), a.cfg.TokenBurst, t.at).AllowN(t.at, 1)
	a.failing.Store(int64(len(a.tokens)))
	if a.isGood(t) {
		return
	}
	if costly {
		a.all.AllowN(t.at, 1)
	}
	if a.cfg.Shared {
		return
	}
	limiterOf(a, a.each, t.from.addr, rate.Limit(a.cfg.Each), a.cfg.EachBurst, t.at).AllowN(t.at, 1)
}

// limiterOf gives the budget of one key. When the places are used up, those that
// have recovered are dropped; where none is free, all new ones share one.
func limiterOf[K comparable](a *attempts, m map[K]*rate.Limiter, key K, every rate.Limit, burst int, at time.Time) *rate.Limiter {
	if l, ok := m[key]; ok {
		return l
	}
	if len(m) >= places && at.Sub(a.swept) >= sweepEvery {
		a.swept = at
		maps.DeleteFunc(m, func(_ K, l *rate.Limiter) bool { return l.TokensAt(at) >= float64(burst) })
	}
	if len(m) >= places {
		var shared K
		if l, ok := m[shared]; ok {
			return l
		}
		key = shared
	}
	l := rate.NewLimiter(every, burst)
	m[key] = l
	return l
}

// passed remembers that a request's sender has shown a good token.
func (a *attempts) passed(t try) {
	a.goodMu.RLock()
	last, known := a.good[t.from]
	a.goodMu.RUnlock()
	if known && t.at.Sub(last) < goodFor/2 {
		return // young enough: no lock for writing on the way of good requests
	}
	a.goodMu.Lock()
	defer a.goodMu.Unlock()
	if len(a.good) >= places {
		maps.DeleteFunc(a.good, func(_ origin, last time.Time) bool { return t.at.Sub(last) >= goodFor })
	}
	if len(a.good) < places || known {
		a.good[t.from] = t.at
	}
}

func (a *attempts) isGood(t try) bool {
	a.goodMu.RLock()
	defer a.goodMu.RUnlock()
	last, known := a.good[t.from]
	return known && t.at.Sub(last) < goodFor
}

// sender gives the address that counts: an IPv6 address shares its /64's, and
// unreadable ones count together.
func sender(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}
