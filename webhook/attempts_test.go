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

// junkHead is what junk begins with: signing is dear.
var junkHead sync.Map

// junk is a token that fails its signature check; each number gives another.
func junk(t testing.TB, n int) string {
	head, ok := junkHead.Load("")
	if !ok {
		good := mint(t, ourApp, ourTenant)
		head, _ = junkHead.LoadOrStore("", good[:strings.LastIndex(good, ".")+1])
	}
	return head.(string) + fmt.Sprintf("%0342d", n)
}

func TestB52_OneBadTokenIsNotJudgedForEver(t *testing.T) {
	nd, clock := timedNode(t, nil)
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

// TestD3_NothingButTheTokenIsBounded: however many bad tokens come, from one address
// or from many, good ones are judged.
func TestD3_NothingButTheTokenIsBounded(t *testing.T) {
	nd, _ := timedNode(t, nil)
	for i := range places + 100 {
		nd.from(t, fmt.Sprintf("192.0.2.%d", i%7), junk(t, i)).is(t, 401)
	}
	nd.from(t, "192.0.2.1", mint(t, ourApp, ourTenant)).is(t, 204)
	nd.from(t, "198.51.100.1", mint(t, mediaApp, ourTenant)).is(t, 204)
}

// TestD3_TheVerifierHearsWhoseTokenItIs.
func TestD3_TheVerifierHearsWhoseTokenItIs(t *testing.T) {
	heard := &listener{}
	nd := oneNode(t, setup{
		config: func(c *Config) { c.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} },
		deps:   func(d *Deps) { heard.Tokens = d.Tokens; d.Tokens = heard },
	})
	for _, c := range [][3]string{
		{"192.0.2.1:80", "203.0.113.9", "203.0.113.9"}, {"198.51.100.1:80", "203.0.113.9", "198.51.100.1"}, {"192.0.2.1:80", "", "invalid IP"},
	} {
		r := httptest.NewRequest(http.MethodPost, hookPath, strings.NewReader(legacyBody))
		r.RemoteAddr = c[0]
		r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer x"}, "X-Forwarded-For": {c[1]}}
		nd.door.ServeHTTP(httptest.NewRecorder(), r)
		if heard.from.String() != c[2] {
			t.Errorf("by %s, which tells of %q: the token is said to be from %s, want %s", c[0], c[1], heard.from, c[2])
		}
	}
}

// listener notes whom the door says a token is from.
type listener struct {
	Tokens
	from netip.Addr
}

func (l *listener) Verify(ctx context.Context, h http.Header) (token.Claims, error) {
	l.from = token.SenderOf(ctx)
	return l.Tokens.Verify(ctx, h)
}

// A token of a tenant that is not on the list is one of the cloud's, and signed:
// no failure.
func TestAForeignTenantIsNoFailedAttempt(t *testing.T) {
	nd, _ := timedNode(t, func(c *Config) { c.Attempts.TokenBurst = 1 })
	bad := mint(t, ourApp, badTenant)
	for range 20 {
		nd.from(t, "192.0.2.1", bad).is(t, 403)
	}
}

// doubtful cannot check any token right now.
type doubtful struct{}

func (doubtful) Verify(context.Context, http.Header) (token.Claims, error) {
	return token.Claims{}, &token.Refusal{Status: 503, Code: token.CodeKeysInDoubt}
}

func (d doubtful) Look(ctx context.Context, h http.Header) (token.Claims, error) {
	return d.Verify(ctx, h)
}

// What cannot be checked now is nobody's failure.
func TestOnlyRefusedTokensCount(t *testing.T) {
	nd := oneNode(t, setup{
		config: func(c *Config) { c.Attempts.TokenBurst = 1 },
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
	a := newAttempts(Attempts{}, clock.Now)
	for i := range 3 * places {
		h := http.Header{"Authorization": {fmt.Sprint("Bearer ", i)}}
		if a.spent(h) {
			t.Fatal("a first attempt was bounded")
		}
		a.failed(h)
		clock.advance(time.Millisecond)
	}
	if n := a.tokens.Len(); n > places {
		t.Errorf("%d tokens are remembered", n)
	}
	clock.advance(time.Minute) // all have recovered: new ones find room
	last := http.Header{"Authorization": {"Bearer last"}}
	for range 5 {
		a.failed(last)
	}
	if !a.spent(last) {
		t.Error("what came after the memory was full is not bounded")
	}
}

func TestRefusedLinesInTheLogAreBounded(t *testing.T) {
	nd, _ := timedNode(t, nil)
	begun := time.Now()
	for i := range 5 * refusedBurst {
		nd.from(t, "192.0.2.1", junk(t, i))
	}
	most := refusedBurst + int(time.Since(begun).Seconds()+1)*refusedLines
	if n := strings.Count(nd.log.String(), `"level":"INFO","msg":"public request"`); n < refusedBurst || n > most {
		t.Errorf("%d of %d refused requests were told at level info, want %d to %d", n, 5*refusedBurst, refusedBurst, most)
	}
}
