package token

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Names that the tests use everywhere.
const (
	ourApp    = "0efc74f7-41c3-47a4-8775-7259bfef4241"
	secondApp = "1efc74f7-41c3-47a4-8775-7259bfef4242"
	ourTenant = "6e1fc0e1-a55f-4277-89f4-aae9486d40a8"
	ourIssuer = "https://api.botframework.com"
	metaPath  = "/v1/.well-known/OpenIdConfiguration"
	keysPath  = "/v1/keys"
	cloudURL  = "https://keys.example"
)

// Keys made once for all tests.
var (
	keyA    = sync.OnceValue(func() *rsa.PrivateKey { return newKey(2048) })
	keyB    = sync.OnceValue(func() *rsa.PrivateKey { return newKey(2048) })
	keyC    = sync.OnceValue(func() *rsa.PrivateKey { return newKey(2048) })
	weakKey = sync.OnceValue(func() *rsa.PrivateKey { return newKey(1024) })
)

func newKey(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

// clock is a clock that moves when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// jwk returns the public part of a key as a JWK, with members added or replaced.
func jwk(id string, k *rsa.PrivateKey, change ...obj) obj {
	o := obj{
		"kty": "RSA", "kid": id, "x5t": id, "use": "sig", "endorsements": []string{"msteams"},
		"n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes()),
	}
	return o.with(change...)
}

// cloud plays the key endpoint: over HTTP as a handler, or without any network
// as a transport (for tests in a synctest bubble).
type cloud struct {
	mu      sync.Mutex
	keys    []obj
	keysURL string                                        // jwks_uri; empty: keysPath at the asked server
	answer  func(http.ResponseWriter, *http.Request) bool // takes over when it gives true
	fetches int                                           // of the key set
	strays  int                                           // requests for anything else
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	keys, answer, keysURL := slices.Clone(c.keys), c.answer, c.keysURL
	switch r.URL.Path {
	case keysPath:
		c.fetches++
	case metaPath:
	default:
		c.strays++
	}
	c.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	switch r.URL.Path {
	case metaPath:
		if keysURL == "" {
			scheme := "http"
			if r.TLS != nil || r.URL.Scheme == "https" {
				scheme = "https"
			}
			keysURL = scheme + "://" + r.Host + keysPath
		}
		writeJSON(w, obj{"issuer": ourIssuer, "jwks_uri": keysURL, "id_token_signing_alg_values_supported": []string{"RSA256"}})
	case keysPath:
		writeJSON(w, obj{"keys": keys})
	default:
		http.NotFound(w, r)
	}
}

// RoundTrip answers without a network. Like a network, it minds the context.
func (c *cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	in := r.Clone(r.Context())
	in.Host = r.URL.Host
	c.ServeHTTP(w, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if w.Code == http.StatusTeapot {
		return nil, errors.New("connection refused")
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func (c *cloud) publish(keys ...obj) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = keys
}

func (c *cloud) answers(f func(http.ResponseWriter, *http.Request) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = f
}

func (c *cloud) fetched() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fetches
}

func (c *cloud) strayed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.strays
}

// down answers as if nobody listened (see RoundTrip).
func down(w http.ResponseWriter, _ *http.Request) bool {
	w.WriteHeader(http.StatusTeapot)
	return true
}

// slow answers after d, or when the client has gone.
func slow(d time.Duration) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
		return false
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// usualSkew is the shipped auth.clock_skew.
const usualSkew = 5 * time.Minute

// config is a profile on the in-memory cloud.
func (c *cloud) config() Config {
	return Config{
		Profiles:   []Profile{{Name: "public", OpenIDURL: []string{cloudURL + metaPath}, Issuers: []string{ourIssuer, "https://graph.microsoft.com"}}},
		HTTPClient: &http.Client{Transport: c},
		ClockSkew:  usualSkew,
	}
}

// start makes a Verifier that is closed at the end of the test.
func start(t testing.TB, c Config, apps ...App) *Verifier {
	t.Helper()
	if len(apps) == 0 {
		apps = []App{{ID: ourApp, Profile: "public"}}
	}
	v, err := New(context.Background(), c, apps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// ready waits until the keys are there.
func ready(t testing.TB, v *Verifier) *Verifier {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := v.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return v
}

// verify judges a token as the value of an Authorization header.
func verify(v *Verifier, raw string) (Claims, error) {
	return v.Verify(context.Background(), http.Header{"Authorization": {"Bearer " + raw}})
}

// codeOf returns the code of a refusal, or "" for nil.
func codeOf(t testing.TB, err error) Code {
	t.Helper()
	if err == nil {
		return ""
	}
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("the error is a %T, wanted a *Refusal: %v", err, err)
	}
	return r.Code
}

// want fails the test when the verdict on the token is another.
func want(t testing.TB, v *Verifier, raw string, code Code) {
	t.Helper()
	_, err := verify(v, raw)
	if got := codeOf(t, err); got != code {
		t.Fatalf("the verdict is %q, wanted %q", got, code)
	}
}

// obj is a JSON object under construction.
type obj map[string]any

// drop removes a member in with.
type drop struct{}

func (o obj) with(changes ...obj) obj {
	o = maps.Clone(o)
	for _, c := range changes {
		for name, value := range c {
			if _, gone := value.(drop); gone {
				delete(o, name)
			} else {
				o[name] = value
			}
		}
	}
	return o
}

// realHeader and realClaims have the shape of a real token of the calling
// service (bot-docs issue 2242): cty JWT, 300 s, no iat.
func realHeader(id string) obj {
	return obj{"alg": "RS256", "kid": id, "typ": "JWT", "cty": "JWT", "x5t": id}
}

func realClaims(now time.Time) obj {
	return obj{
		"tid": ourTenant, "appid": "26a18ebc-cdf7-4a6a-91cb-beb352805e81",
		"nbf": now.Unix(), "exp": now.Add(300 * time.Second).Unix(), "iss": ourIssuer, "aud": ourApp,
	}
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// text returns JSON for an object, and text as it is.
func jsonText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// mint makes a token from header and claims, each an obj or raw text, signed
// with RS256 whatever the header says.
func mint(header, claims any, k *rsa.PrivateKey) string {
	return mintWith(header, claims, jwt.SigningMethodRS256, k)
}

func mintWith(header, claims any, m jwt.SigningMethod, k any) string {
	signed := b64([]byte(jsonText(header))) + "." + b64([]byte(jsonText(claims)))
	sig, err := m.Sign(signed, k)
	if err != nil {
		panic(err)
	}
	return signed + "." + b64(sig)
}

// goodToken is what the calling service sends; n makes it unique.
func goodToken(now time.Time, id string, k *rsa.PrivateKey, n int) string {
	return mint(realHeader(id), realClaims(now).with(obj{"n": n}), k)
}

// canary is a value that must never turn up in any output.
func canary(s string) string {
	sum := sha256.Sum256([]byte(s))
	return strings.ToUpper(b64(sum[:12]))
}
