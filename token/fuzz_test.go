package token

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// fuzzVerifier has keys and a clock that stands still.
func fuzzVerifier(f *testing.F) (*Verifier, *clock) {
	f.Helper()
	k := newClock()
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	cfg := c.config()
	cfg.Now = k.Now
	return ready(f, start(f, cfg)), k
}

// FuzzHeader reads arbitrary values of Authorization. What comes out is a piece
// of what went in, without the scheme.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{"", "Bearer", "Bearer ", "bearer a.b.c", "Bearer  a", "Bearer\ta", "Basic a", "Bearer a,Bearer b", "BEARER \x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		raw, code := bearer(http.Header{"Authorization": {value}})
		if (code == "") != (raw != "") {
			t.Fatalf("token %q with code %q", raw, code)
		}
		if code == "" && (!strings.HasSuffix(value, raw) || strings.HasPrefix(raw, " ") || !strings.EqualFold(value[:7], "bearer ")) {
			t.Fatalf("of %q the token is %q", value, raw)
		}
	})
}

// FuzzVerify judges arbitrary tokens. Nobody but the owner of the key can make
// one that passes; Explain agrees; both only ever give codes with a text.
func FuzzVerify(f *testing.F) {
	v, k := fuzzVerifier(f)
	b := bench{now: k.Now(), header: realHeader("a"), claims: realClaims(k.Now())}
	for _, tc := range append(headerCases(), append(timeCases(), append(audienceCases(), shapeCases()...)...)...) {
		raw := tc.make(b)
		f.Add(raw[:strings.LastIndexByte(raw, '.')+1] + "AAAA")
	}
	f.Fuzz(func(t *testing.T, raw string) {
		_, err := v.Verify(context.Background(), http.Header{"Authorization": {"Bearer " + raw}})
		var r *Refusal
		if !errors.As(err, &r) || reasons[r.Code] != r.Reason || r.Status < 401 {
			t.Fatalf("the answer is %v", err)
		}
		e := v.Explain(context.Background(), raw)
		if e.Accepted || len(e.Checks) != len(checks) {
			t.Fatalf("Explain says\n%s", e)
		}
		_ = e.String()
	})
}

// FuzzClaims sends arbitrary header and claims through all checks but the
// signature: whatever passes must satisfy the rules by another reading.
func FuzzClaims(f *testing.F) {
	v, k := fuzzVerifier(f)
	claims := realClaims(k.Now())
	f.Add(jsonText(realHeader("a")), jsonText(claims))
	f.Add(jsonText(realHeader("a")), jsonText(claims.with(obj{"aud": []string{ourApp}})))
	f.Add(`{"alg":"RS256","kid":"a","typ":"at+jwt"}`, jsonText(claims.with(obj{"nbf": drop{}, "iat": 1})))
	f.Add(`{"alg":"RS256","alg":"none","kid":"a"}`, `{"exp":1e400}`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		j := &judgement{ctx: t.Context(), v: v, now: k.Now(), raw: b64([]byte(header)) + "." + b64([]byte(claims)) + ".AAAA"}
		for i := range checks {
			if checks[i].name != "signature" && checks[i].run(j) != "" {
				return
			}
		}
		c := j.result()
		if c.App != ourApp || c.Tenant == "" || c.KeyID != "a" || c.Profile != "public" ||
			c.Expires.Before(k.Now().Add(-usualSkew)) || c.Expires.After(k.Now().Add(MaxLifetime+usualSkew)) {
			t.Fatalf("claims %s gave %+v", claims, c)
		}
		var lax map[string]any // another reader, which takes the last of two names
		other := json.NewDecoder(strings.NewReader(claims))
		other.UseNumber() // a claim that nobody asks for may hold a number of any size
		if err := other.Decode(&lax); err != nil || lax["tid"] == nil || lax["exp"] == nil || lax["iss"] == nil {
			t.Fatalf("claims %s passed, encoding/json says %v, %v", claims, lax, err)
		}
	})
}

// FuzzKeySet reads arbitrary key sets: every key that is kept is strong.
func FuzzKeySet(f *testing.F) {
	f.Add([]byte(jsonText(obj{"keys": []obj{jwk("a", keyA()), jwk("b", keyB(), obj{"use": "enc"})}})))
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"x","n":"AQ","e":"AQAB"},7,null]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"x","x5c":["AAAA"]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		set, err := readKeySet(body, &source{}, nil, time.Unix(0, 0))
		if err != nil {
			return
		}
		n := 0
		for id, list := range set.keys {
			n += len(list)
			for _, k := range list {
				if !usableKeyID(id) || k.public.N.BitLen() < minKeyBits || k.public.N.BitLen() > maxKeyBits || k.public.E < 3 {
					t.Fatalf("key %q of %d bits, e = %d, was kept", id, k.public.N.BitLen(), k.public.E)
				}
			}
		}
		if n == 0 || n != set.count {
			t.Fatalf("the set has %d keys and says %d", n, set.count)
		}
	})
}
