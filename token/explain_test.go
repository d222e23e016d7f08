package token

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// stateOf returns the state of one check.
func stateOf(e Explanation, name string) State {
	for _, c := range e.Checks {
		if c.Name == name {
			return c.State
		}
	}
	return ""
}

func TestExplainAccepted(t *testing.T) {
	b, v, _ := verdictBench(t)
	raw := b.sign(nil, nil)
	for name, text := range map[string]string{"bare": raw, "with Bearer and a line break": "Bearer " + raw + "\n", "bearer": "bearer  " + raw} {
		t.Run(name, func(t *testing.T) {
			e := v.Explain(context.Background(), text)
			if !e.Accepted || e.Status != http.StatusOK || e.Profile != "public" || e.App != ourApp || e.KeyID != "a" ||
				!e.Expires.Equal(b.now.Add(300*time.Second)) || len(e.Hints) != 0 {
				t.Errorf("the explanation is %+v", e)
			}
			for _, c := range e.Checks {
				if c.State != Pass {
					t.Errorf("check %s is %s, wanted pass", c.Name, c.State)
				}
			}
			for _, part := range []string{"accepted: app " + ourApp, "profile public", "cty JWT", "RSA 2048 bits from http://127.0.0.1", "5m0s", ourTenant} {
				if !strings.Contains(e.String(), part) {
					t.Errorf("the text lacks %q:\n%s", part, e)
				}
			}
		})
	}
}

// TestExplainAllThatIsWrong shows every fault of a token, not only the first.
func TestExplainAllThatIsWrong(t *testing.T) {
	b, v, _ := verdictBench(t)
	e := v.Explain(context.Background(), mint(
		b.header.with(obj{"typ": "x"}),
		b.claims.with(obj{"iss": "https://evil.example", "exp": 20, "nbf": 10, "tid": drop{}}), keyB()))
	for name, state := range map[string]State{
		"typ": Fail, "iss": Fail, "exp": Fail, "tid": Fail, "signature": Fail, "alg": Pass, "aud": Pass, "key": Pass, "tenant": Pass,
	} {
		if got := stateOf(e, name); got != state {
			t.Errorf("check %s is %q, wanted %q", name, got, state)
		}
	}
	if e.Code != CodeBadType || e.Status != 401 {
		t.Errorf("the verdict is %d %s, wanted the first failed check", e.Status, e.Code)
	}
}

// TestExplainSkips marks what cannot be checked any more.
func TestExplainSkips(t *testing.T) {
	_, v, _ := verdictBench(t)
	for _, raw := range []string{"", "junk", "a.b.c", strings.Repeat("x.", 20<<10)} {
		e := v.Explain(context.Background(), raw)
		if e.Accepted || stateOf(e, "signature") != Skipped || stateOf(e, "aud") != Skipped {
			t.Errorf("of %.10q the explanation is\n%s", raw, e)
		}
	}
}

func TestExplainHints(t *testing.T) {
	b, v, _ := verdictBench(t)
	cases := []struct {
		name, raw, hint string
	}{
		{"audience in upper case", b.sign(nil, obj{"aud": strings.ToUpper(ourApp)}), "differs from app " + ourApp},
		{"audience with api://", b.sign(nil, obj{"aud": "api://" + ourApp}), "differs from app " + ourApp},
		{"audience of two", b.sign(nil, obj{"aud": []string{ourApp, "x"}}), "must mean the same app"},
		{"audience of a meeting token", b.sign(nil, obj{"aud": "https://api.botframework.com"}), "meetingInfo.token"},
		{"audience of others", b.sign(nil, obj{"aud": "x"}), "configured apps: " + ourApp + ", " + secondApp},
		{"issuer with a slash", b.sign(nil, obj{"iss": ourIssuer + "/"}), "trailing slash"},
		{"issuer of another profile", b.sign(nil, obj{"iss": "https://api.botframework.us"}), "profile gcc-high lists this issuer"},
		{"no tenant", b.sign(nil, obj{"tid": drop{}}), "bot message tokens"},
		{"expired", at("exp", -time.Hour)(b), "check the clock"},
		{"unknown key", b.sign(obj{"kid": "zz"}, nil), "the key is not among the 1 of http://"},
		{"unusable key", mint(realHeader("weak"), b.claims, weakKey()), "ignored as weak"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			e := v.Explain(context.Background(), tc.raw)
			if !strings.Contains(strings.Join(e.Hints, "\n"), tc.hint) {
				t.Errorf("the hints are %q, wanted %q among them", e.Hints, tc.hint)
			}
		})
	}
}

// TestExplainOtherProfile finds the key in the set of another cloud.
func TestExplainOtherProfile(t *testing.T) {
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	gcc := &cloud{keys: []obj{jwk("g", keyB())}}
	cs, gs := quietServer(t, c), quietServer(t, gcc)
	k := newClock()
	v := ready(t, start(t, Config{Now: k.Now, Profiles: []Profile{
		{Name: "public", OpenIDURL: []string{cs.URL + metaPath}, Issuers: []string{ourIssuer}},
		{Name: "gcc-high", OpenIDURL: []string{gs.URL + metaPath}, Issuers: []string{ourIssuer}},
	}}, App{ID: ourApp, Profile: "public"}, App{ID: secondApp, Profile: "gcc-high"}))
	raw := goodToken(k.Now(), "g", keyB(), 0)
	want(t, v, raw, CodeUnknownKey) // a key of one cloud does not open the other
	e := v.Explain(context.Background(), raw)
	if !strings.Contains(strings.Join(e.Hints, "\n"), "the key is in the set of profile gcc-high") {
		t.Errorf("the hints are %q", e.Hints)
	}
	want(t, v, mint(realHeader("g"), realClaims(k.Now()).with(obj{"aud": secondApp}), keyB()), good)
	_, err := verify(v, raw)
	if err == nil || !strings.Contains(err.Error(), "in profile public") {
		t.Errorf("the refusal %v does not name the profile", err)
	}
}

// TestExplainHasNoSideEffects explains an unknown key and counts fetches, cached
// verdicts and verdict metrics.
func TestExplainHasNoSideEffects(t *testing.T) {
	b, v, c := verdictBench(t)
	before := c.fetched()
	for range 20 {
		v.Explain(context.Background(), b.sign(obj{"kid": "zz"}, nil))
		v.Explain(context.Background(), b.sign(nil, nil))
		v.Explain(context.Background(), mint(b.header, b.claims, keyB()))
	}
	if n := c.fetched() - before; n != 0 || v.cache.size() != 0 {
		t.Errorf("Explain caused %d fetches and %d cached verdicts", n, v.cache.size())
	}
}

// TestExplainIsSafeText keeps control characters of a token out of terminals.
func TestExplainIsSafeText(t *testing.T) {
	b, v, _ := verdictBench(t)
	e := v.Explain(context.Background(), b.sign(obj{"kid": "\x1b[2Jkid\n\u202e", "typ": strings.Repeat("t", 500)}, obj{"tid": "\x00"}))
	for _, r := range e.String() {
		if r != '\n' && r < ' ' || r == 0x7f || r == 0x202e {
			t.Errorf("the text holds %U:\n%q", r, e.String())
		}
	}
	if strings.Contains(e.String(), strings.Repeat("t", 130)) {
		t.Error("a long value is shown in full")
	}
	if data, err := json.Marshal(e); err != nil || !strings.Contains(string(data), `"checks":[`) {
		t.Errorf("as JSON it is %s, %v", data, err)
	}
}
