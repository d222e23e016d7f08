package webhook

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/token"
)

// hand is a clock that a test moves.
type hand struct {
	mu  sync.Mutex
	now time.Time
}

func (h *hand) Now() time.Time          { h.mu.Lock(); defer h.mu.Unlock(); return h.now }
func (h *hand) advance(d time.Duration) { h.mu.Lock(); defer h.mu.Unlock(); h.now = h.now.Add(d) }

// from posts a legacy body from an address, straight to the door.
func (nd *node) from(t testing.TB, addr, bearer string) answered {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, hookPath, strings.NewReader(legacyBody))
	r.RemoteAddr = addr + ":4711"
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	w := httptest.NewRecorder()
	nd.door.ServeHTTP(w, r)
	return answered{w.Code, w.Header(), w.Body.String()}
}

func (a answered) bounded(t *testing.T) {
	t.Helper()
	if a.status != 503 || a.code(t) != "too_many_refused" || a.header.Get("Retry-After") == "" {
		t.Errorf("%+v, want 503 too_many_refused with Retry-After", a)
	}
}

func (a answered) is(t *testing.T, status int) {
	t.Helper()
	if a.status != status {
		t.Errorf("%d %s, want %d", a.status, a.body, status)
	}
}

func timedNode(t *testing.T, change func(*Config)) (*node, *hand) {
	clock := &hand{now: time.Now()}
	return oneNode(t, setup{config: change, deps: func(d *Deps) { d.Now = clock.Now }}), clock
}

// junk is a token that fails its signature check; each number gives another.
func junk(t testing.TB, n int) string {
	good := mint(t, ourApp, ourTenant)
	return good[:strings.LastIndex(good, ".")+1] + fmt.Sprintf("%0342d", n)
}

func TestB52_OneBadTokenIsNotJudgedForEver(t *testing.T) {
	nd, clock := timedNode(t, func(c *Config) { c.Attempts.Shared = true })
	bad := junk(t, 1)
	for range 5 {
		nd.from(t, "192.0.2.1", bad).is(t, 401)
	}
	asked := nd.tokens.asked
	nd.from(t, "192.0.2.1", bad).bounded(t)
	nd.from(t, "198.51.100.1", bad).bounded(t) // whoever sends it
	if nd.tokens.asked != asked {
		t.Error("a bounded token was verified")
	}
	nd.from(t, "192.0.2.1", junk(t, 2)).is(t, 401)
	nd.from(t, "192.0.2.1", mint(t, ourApp, ourTenant)).is(t, 204)
	clock.advance(10 * time.Second)
	nd.from(t, "192.0.2.1", bad).is(t, 401)
	nd.from(t, "192.0.2.1", bad).bounded(t)
}

func TestFailuresOfOneAddressAreBounded(t *testing.T) {
	nd, clock := timedNode(t, nil)
	for i := range 50 {
		nd.from(t, "192.0.2.1", junk(t, i)).is(t, 401)
	}
	nd.from(t, "192.0.2.1", junk(t, 99)).bounded(t)
	nd.from(t, "192.0.2.1", "").is(t, 401) // nothing was tried
	nd.from(t, "192.0.2.2", junk(t, 100)).is(t, 401)
	nd.from(t, "192.0.2.2", mint(t, ourApp, ourTenant)).is(t, 204)
	clock.advance(time.Second)
	nd.from(t, "192.0.2.1", mint(t, ourApp, ourTenant)).is(t, 204) // its budget grows again, and it is no stranger now
	for i := range 60 {
		nd.from(t, "192.0.2.1", junk(t, 200+i)).is(t, 401)
	}
	nd.from(t, "192.0.2.1", mint(t, ourApp, ourTenant)).is(t, 204)
	clock.advance(goodFor)
	for i := range 50 {
		nd.from(t, "192.0.2.1", junk(t, 300+i)).is(t, 401)
	}
	nd.from(t, "192.0.2.1", junk(t, 400)).bounded(t)
}

// However many addresses junk comes from, whoever has shown a good token before
// is served.
func TestFailuresOfAllStrangersAreBounded(t *testing.T) {
	nd, clock := timedNode(t, func(c *Config) { c.Attempts.AllBurst = 40 })
	nd.from(t, "203.0.113.9", mint(t, ourApp, ourTenant)).is(t, 204)
	for i := range 60 { // what a good sender gets wrong is nobody else's
		nd.from(t, "203.0.113.9", junk(t, 500+i)).is(t, 401)
	}
	for i := range 40 {
		nd.from(t, fmt.Sprintf("192.0.2.%d", i), junk(t, i)).is(t, 401)
	}
	nd.from(t, "198.51.100.1", junk(t, 99)).bounded(t)
	nd.from(t, "198.51.100.2", mint(t, ourApp, ourTenant)).bounded(t) // a stranger has to come again
	nd.from(t, "203.0.113.9", mint(t, ourApp, ourTenant)).is(t, 204)
	clock.advance(time.Second)
	nd.from(t, "198.51.100.2", mint(t, ourApp, ourTenant)).is(t, 204)
}

// Junk that is refused at a glance is charged to its address and its token only:
// however much of it there is, from wherever, strangers are served.
func TestCheapJunkShutsNobodyOut(t *testing.T) {
	nd, _ := timedNode(t, func(c *Config) { c.Attempts.AllBurst, c.Attempts.EachBurst = 1, 2 })
	expired := strings.Replace(mint(t, "no-app-of-ours", ourTenant), ".", ".e", 1)
	for i := range 200 {
		from := fmt.Sprintf("192.0.2.%d", i)
		nd.from(t, from, fmt.Sprint("x", i)).is(t, 401)
		nd.from(t, from, fmt.Sprint(expired, i)).is(t, 401)
		nd.from(t, from, fmt.Sprint("y", i)).bounded(t)
	}
	nd.from(t, "198.51.100.1", mint(t, ourApp, ourTenant)).is(t, 204)
}

// A token of a tenant that is not on the list is one of the cloud's, and signed:
// no failure of whoever sends it.
func TestAForeignTenantIsNoFailedAttempt(t *testing.T) {
	nd, _ := timedNode(t, func(c *Config) { c.Attempts = Attempts{AllBurst: 1, EachBurst: 1, TokenBurst: 1} })
	for range 20 {
		nd.from(t, "192.0.2.1", mint(t, ourApp, badTenant)).is(t, 403)
	}
	nd.from(t, "192.0.2.1", mint(t, ourApp, ourTenant)).is(t, 204)
}

// Behind a load balancer no address is bounded, but the RSA checks of strange
// tokens are in all, and a token that was good before is none.
func TestBehindALoadBalancerAddressesSayNothing(t *testing.T) {
	nd, clock := timedNode(t, func(c *Config) { c.Attempts.Shared, c.Attempts.AllBurst, c.Attempts.EachBurst = true, 20, 2 })
	good := mint(t, ourApp, ourTenant)
	nd.from(t, "192.0.2.1", good).is(t, 204)
	for i := range 20 {
		nd.from(t, "192.0.2.1", fmt.Sprint("cheap", i)).is(t, 401)
	}
	for i := range 20 {
		nd.from(t, "192.0.2.1", junk(t, i)).is(t, 401)
	}
	nd.from(t, "192.0.2.1", junk(t, 99)).bounded(t)
	nd.from(t, "192.0.2.1", mint(t, mediaApp, ourTenant)).bounded(t) // a strange one has to come again
	nd.from(t, "192.0.2.1", good).is(t, 204)
	clock.advance(time.Second)
	nd.from(t, "192.0.2.1", mint(t, mediaApp, ourTenant)).is(t, 204)
}

// doubtful cannot check any token right now.
type doubtful struct{}

func (doubtful) Verify(context.Context, http.Header) (token.Claims, error) {
	return token.Claims{}, &token.Refusal{Status: 503, Code: token.CodeKeysInDoubt}
}

func (d doubtful) Look(h http.Header) (token.Claims, error) { return d.Verify(context.Background(), h) }

// What cannot be checked now is nobody's failure.
func TestOnlyRefusedTokensCount(t *testing.T) {
	nd := oneNode(t, setup{
		config: func(c *Config) { c.Attempts.EachBurst, c.Attempts.TokenBurst = 1, 1 },
		deps:   func(d *Deps) { d.Tokens = doubtful{} },
	})
	for range 5 {
		if a := nd.from(t, "192.0.2.1", "x"); a.status != 503 || a.code(t) != "token_not_checkable" {
			t.Errorf("%+v", a)
		}
	}
}

func TestAttemptsAreRememberedInBounds(t *testing.T) {
	clock := &hand{now: time.Now()}
	a := newAttempts(Attempts{All: 1e9, AllBurst: 1 << 30}, clock.Now)
	for i := range 3 * places {
		r := httptest.NewRequest(http.MethodPost, hookPath, nil)
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		r.RemoteAddr = netip.AddrPortFrom(addr, 1).String()
		r.Header.Set("Authorization", fmt.Sprint("Bearer ", i))
		try, ok := a.begin(r)
		if !ok {
			t.Fatal("a first attempt was bounded")
		}
		if i%2 == 0 {
			a.passed(try)
		} else {
			a.failed(try, r.Header, true)
		}
		clock.advance(time.Millisecond)
	}
	if len(a.each) > places+1 || len(a.tokens) > places+1 || len(a.good) > places {
		t.Errorf("%d addresses, %d tokens, %d good ones are remembered", len(a.each), len(a.tokens), len(a.good))
	}
}

func TestRefusedLinesInTheLogAreBounded(t *testing.T) {
	nd, _ := timedNode(t, func(c *Config) { c.Attempts.Shared = true })
	begun := time.Now()
	for i := range 5 * refusedBurst {
		nd.from(t, "192.0.2.1", junk(t, i))
	}
	most := refusedBurst + int(time.Since(begun).Seconds()+1)*refusedLines
	if n := strings.Count(nd.log.String(), `"level":"INFO","msg":"public request"`); n < refusedBurst || n > most {
		t.Errorf("%d of %d refused requests were told at level info, want %d to %d", n, 5*refusedBurst, refusedBurst, most)
	}
}

func TestSender(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80":               "192.0.2.1",
		"[::ffff:192.0.2.1]:80":      "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:443": "2001:db8:1:2::",
		"[fe80::1%eth0]:1":           "fe80::",
		"nonsense":                   "invalid IP",
	} {
		if got := sender(remote).String(); got != want {
			t.Errorf("%s counts as %s, want %s", remote, got, want)
		}
	}
}

func BenchmarkAttemptOfGoodSender(b *testing.B) {
	a := newAttempts(Attempts{}, time.Now)
	r := httptest.NewRequest(http.MethodPost, hookPath, nil)
	r.Header.Set("Authorization", "Bearer x")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if try, ok := a.begin(r); ok {
				a.passed(try)
			}
		}
	})
}
