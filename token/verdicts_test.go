package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// bench is what the makers of tokens work with.
type bench struct {
	now    time.Time
	header obj // of a real token, signed with key A
	claims obj
	stray  string // a server whose requests are counted
}

// sign mints a token with key A from changes to the real header and claims.
func (b bench) sign(header, claims obj) string {
	return mint(b.header.with(header), b.claims.with(claims), keyA())
}

// head and body change one member of header or claims.
func head(name string, value any) func(bench) string {
	return func(b bench) string { return b.sign(obj{name: value}, nil) }
}

func body(name string, value any) func(bench) string {
	return func(b bench) string { return b.sign(nil, obj{name: value}) }
}

// rawHead and rawBody replace header or claims by text; %H and %C stand for the
// members of the real ones.
func rawHead(text string) func(bench) string {
	return func(b bench) string { return mint(fill(text, b), b.claims, keyA()) }
}

func rawBody(text string) func(bench) string {
	return func(b bench) string { return mint(b.header, fill(text, b), keyA()) }
}

func fill(text string, b bench) string {
	members := func(o obj) string { s := jsonText(o); return s[1 : len(s)-1] }
	return strings.NewReplacer("%H", members(b.header), "%C", members(b.claims)).Replace(text)
}

// at moves one of the times by d from now.
func at(name string, d time.Duration) func(bench) string {
	return func(b bench) string {
		c := obj{name: b.now.Add(d).Unix()}
		if name == "exp" && d < 0 {
			c["nbf"] = b.now.Add(d - 300*time.Second).Unix()
		}
		if name == "nbf" && d > 0 {
			c["exp"] = b.now.Add(d + 300*time.Second).Unix()
		}
		return b.sign(nil, c)
	}
}

// parts changes the three parts of a good token.
func parts(f func(h, c, s string) string) func(bench) string {
	return func(b bench) string {
		p := strings.Split(b.sign(nil, nil), ".")
		return f(p[0], p[1], p[2])
	}
}

// hmacWith signs with HS256 and a secret that an attacker knows.
func hmacWith(secret func() []byte) func(bench) string {
	return func(b bench) string {
		return mintWith(b.header.with(obj{"alg": "HS256"}), b.claims, jwt.SigningMethodHS256, secret())
	}
}

func publicDER() []byte {
	der, err := x509.MarshalPKIXPublicKey(&keyA().PublicKey)
	if err != nil {
		panic(err)
	}
	return der
}

// otherMethod signs with another algorithm and a key for it.
func otherMethod(m jwt.SigningMethod, k func() any) func(bench) string {
	return func(b bench) string {
		return mintWith(b.header.with(obj{"alg": m.Alg()}), b.claims, m, k())
	}
}

func ecKey() any {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func edKey() any {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func rsaKey() any { return keyA() }

// with signs with another key under its own id.
func with(id string, k func() *rsa.PrivateKey) func(bench) string {
	return func(b bench) string { return mint(b.header.with(obj{"kid": id}), b.claims, k()) }
}

// sample reads a decoded token from testdata. Its times are moved to now and
// its audience to our app unless keepAud.
func sample(t *testing.T, file string, keepAud bool) func(bench) string {
	return func(b bench) string {
		var doc struct{ Header, Claims obj }
		data, err := os.ReadFile("testdata/" + file)
		if err == nil {
			err = json.Unmarshal(data, &doc)
		}
		if err != nil {
			t.Fatal(err)
		}
		if doc.Claims == nil { // the page's sample is claims alone
			_ = json.Unmarshal(data, &doc.Claims)
		}
		shift := float64(b.now.Unix()) - doc.Claims["nbf"].(float64)
		for _, name := range []string{"nbf", "exp", "iat"} {
			if v, ok := doc.Claims[name].(float64); ok {
				doc.Claims[name] = v + shift
			}
		}
		if !keepAud {
			doc.Claims["aud"] = ourApp
		}
		return mint(b.header.with(doc.Header, obj{"kid": "a"}), doc.Claims, keyA())
	}
}

// verdictCase is one token and the code it must meet.
type verdictCase struct {
	name string
	make func(bench) string
	want Code
}

// met tells whether a code is the wanted one. An unknown key is in doubt as long
// as the set may not be fetched again: on a clock that stands still, after the
// first of them.
func (c verdictCase) met(code Code) bool {
	return code == c.want || c.want == CodeUnknownKey && code == CodeKeysInDoubt
}

// good is the code of tokens that pass.
const good Code = ""

// judgeAll judges tokens made at run time against a real HTTP key server.
func judgeAll(t *testing.T, cases []verdictCase) {
	t.Helper()
	b, v, c := verdictBench(t)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			raw := tc.make(b)
			claims, err := verify(v, raw)
			if got := codeOf(t, err); !tc.met(got) {
				t.Fatalf("the verdict is %q, wanted %q", got, tc.want)
			}
			// A second look must not differ: neither by the cache nor by the fetch
			// that an unknown key may have caused.
			if _, again := verify(v, raw); !tc.met(codeOf(t, again)) {
				t.Errorf("the second verdict is %q, wanted %q", codeOf(t, again), tc.want)
			}
			e := v.Explain(context.Background(), raw)
			if e.Code != tc.want || e.Accepted != (tc.want == good) {
				t.Errorf("Explain says %q, Verify %q\n%s", e.Code, tc.want, e)
			}
			if tc.want == good && (claims.App != ourApp || claims.Profile != "public" || claims.KeyID != "a" ||
				claims.Tenant == "" || claims.Tenant != strings.ToLower(claims.Tenant)) {
				t.Errorf("the claims are %+v", claims)
			}
			if tc.want != good && claims != (Claims{}) {
				t.Errorf("a refused token gives claims %+v", claims)
			}
		})
	}
	if n := c.strayed(); n != 0 {
		t.Errorf("tokens caused %d requests to addresses of their choice", n)
	}
	if n := c.fetched(); n > 2 {
		t.Errorf("the key set was fetched %d times on a clock that stands still, wanted the first time and once for unknown keys", n)
	}
}

// verdictBench starts the key server, with one good key and all sorts of bad ones.
func verdictBench(t *testing.T) (bench, *Verifier, *cloud) {
	t.Helper()
	k := newClock()
	c := &cloud{keys: []obj{
		{"kty": "unheard-of", "kid": "strange"},
		jwk("weak", weakKey()),
		jwk("enc", keyB(), obj{"use": "enc"}),
		jwk("rs384", keyB(), obj{"alg": "RS384"}),
		jwk("e1", keyB(), obj{"e": b64([]byte{1})}),
		jwk("huge", keyB(), obj{"n": b64(append(append([]byte{0x80}, make([]byte, 8190)...), 1))}),
		jwk("a", keyA()), jwk("a", keyA()),
	}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	v := start(t, Config{
		Now: k.Now, ClockSkew: usualSkew,
		Profiles: []Profile{{Name: "public", OpenIDURL: []string{server.URL + metaPath}, Issuers: []string{ourIssuer, "https://graph.microsoft.com"}}},
	}, App{ID: ourApp, Profile: "public"}, App{ID: secondApp, Profile: "public", Tenants: []string{strings.ToUpper(ourTenant)}})
	ready(t, v)
	return bench{now: k.Now(), header: realHeader("a"), claims: realClaims(k.Now()), stray: server.URL + "/stray"}, v, c
}

// flip changes one character of base64url.
func flip(s string, i int) string {
	c := byte('A')
	if s[i] == 'A' {
		c = 'B'
	}
	return s[:i] + string(c) + s[i+1:]
}

// tailBits sets the unused bits of the last character: another spelling of the
// same bytes for a lax decoder.
func tailBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return s[:len(s)-1] + string(alphabet[strings.IndexByte(alphabet, s[len(s)-1])|1])
}
