package token

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestConfigErrors(t *testing.T) {
	own := func(change func(*Profile)) []Profile {
		p := Profile{Name: "own", OpenIDURL: []string{cloudURL + metaPath}, Issuers: []string{ourIssuer}}
		change(&p)
		return []Profile{p}
	}
	app := App{ID: ourApp, Profile: "own"}
	cases := []struct {
		name string
		c    Config
		apps []App
		want string
	}{
		{"unknown profile", Config{}, []App{{ID: ourApp, Profile: "mars"}}, `no token profile named "mars"`},
		{"no URL", Config{Profiles: own(func(p *Profile) { p.OpenIDURL = nil })}, []App{app}, "no openid_url"},
		{"http URL", Config{Profiles: own(func(p *Profile) { p.OpenIDURL = []string{"http://keys.example/"} })}, []App{app}, "is not https"},
		{"http on a name that looks like loopback", Config{Profiles: own(func(p *Profile) { p.OpenIDURL = []string{"http://127.0.0.1.example/"} })}, []App{app}, "is not https"},
		{"file URL", Config{Profiles: own(func(p *Profile) { p.OpenIDURL = []string{"file:///keys"} })}, []App{app}, "names no server"},
		{"no issuers", Config{Profiles: own(func(p *Profile) { p.Issuers = nil })}, []App{app}, "no issuers"},
		{"empty issuer", Config{Profiles: own(func(p *Profile) { p.Issuers = []string{""} })}, []App{app}, "empty one"},
		{"empty audience", Config{Profiles: own(func(p *Profile) { p.Audiences = []string{""} })}, []App{app}, "empty audience"},
		{"audience of two apps", Config{Profiles: own(func(p *Profile) { p.Audiences = []string{"api://bots"} })}, []App{app, {ID: secondApp, Profile: "own"}}, "already that of app " + ourApp},
		{"app twice", Config{}, []App{{ID: ourApp, Profile: "public"}, {ID: ourApp, Profile: "public"}}, "already that of app"},
		{"app without id", Config{}, []App{{}}, "lower case"},
		{"app with spaces", Config{}, []App{{ID: " x"}}, "lower case"},
		{"app in upper case", Config{}, []App{{ID: strings.ToUpper(ourApp)}}, "lower case"},
		{"empty tenant", Config{}, []App{{ID: ourApp, Tenants: []string{""}}}, "empty tenant"},
		{"skew of two hours", Config{ClockSkew: 2 * time.Hour}, nil, "longer than 1h0m0s"},
		{"skew below nothing", Config{ClockSkew: -1}, nil, "below zero"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New(context.Background(), tc.c, tc.apps)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("New says %v, wanted %q", err, tc.want)
			}
		})
	}
}

// TestBuiltinProfiles checks what is built in by the rules for what is configured.
func TestBuiltinProfiles(t *testing.T) {
	var names []string
	for _, p := range BuiltinProfiles() {
		names = append(names, p.Name)
		if err := p.check(); err != nil {
			t.Errorf("profile %s: %v", p.Name, err)
		}
	}
	if !slices.Equal(names, []string{"public", "gcc-high", "dod"}) {
		t.Errorf("the built-in profiles are %v", names)
	}
}

// TestB44_IssuersBelongToTheProfile tries every issuer against every cloud.
func TestB44_IssuersBelongToTheProfile(t *testing.T) {
	k := newClock()
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	all := []string{ourIssuer, ourIssuer + "/", "https://graph.microsoft.com", "https://api.botframework.us"}
	for _, p := range BuiltinProfiles() {
		cfg := c.config()
		cfg.Now = k.Now
		p.OpenIDURL = []string{cloudURL + metaPath} // the issuers are the subject here
		for i := range p.Also {
			p.Also[i].OpenIDURL = p.OpenIDURL
		}
		cfg.Profiles = []Profile{p}
		v := ready(t, start(t, cfg, App{ID: ourApp, Profile: p.Name}))
		for _, iss := range all {
			t.Run("B44 "+p.Name+" "+iss, func(t *testing.T) {
				code := CodeWrongIssuer
				if slices.ContainsFunc(p.pairs(), func(q Pair) bool { return slices.Contains(q.Issuers, iss) }) {
					code = good
				}
				want(t, v, mint(realHeader("a"), realClaims(k.Now()).with(obj{"iss": iss}), keyA()), code)
			})
		}
	}
}

// TestB41_ConfiguredAudiences takes the forms that the profile lists.
func TestB41_ConfiguredAudiences(t *testing.T) {
	k := newClock()
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	cfg := c.config()
	cfg.Now = k.Now
	cfg.Profiles[0].Audiences = []string{"api://{app}"}
	v := ready(t, start(t, cfg, App{ID: ourApp, Profile: "public"}, App{ID: secondApp, Profile: "public"}))
	for aud, code := range map[string]Code{
		ourApp: good, "api://" + ourApp: good, "api://" + secondApp: good, "api://other": CodeWrongAudience, "api://{app}": CodeWrongAudience,
	} {
		want(t, v, mint(realHeader("a"), realClaims(k.Now()).with(obj{"aud": aud}), keyA()), code)
	}
	want(t, v, mint(realHeader("a"), realClaims(k.Now()).with(obj{"aud": []string{ourApp, "api://" + ourApp}}), keyA()), good)
}

// TestF16_ConfiguredSkew moves the border of exp with the setting.
func TestF16_ConfiguredSkew(t *testing.T) {
	for skew, late := range map[time.Duration]time.Duration{0: 0, time.Second: time.Second, 10 * time.Minute: 10 * time.Minute} {
		k := newClock()
		c := &cloud{keys: []obj{jwk("a", keyA())}}
		cfg := c.config()
		cfg.Now, cfg.ClockSkew = k.Now, skew
		v := ready(t, start(t, cfg))
		raw := goodToken(k.Now(), "a", keyA(), 0)
		k.Advance(300*time.Second + late - time.Second)
		want(t, v, raw, good)
		k.Advance(time.Second)
		want(t, v, raw, CodeExpired)
	}
}

// TestSeveralURLs unites the keys of a profile's URLs; one that never answers
// does not keep the profile from being ready.
func TestSeveralURLs(t *testing.T) {
	k := newClock()
	c, d := &cloud{keys: []obj{jwk("a", keyA())}}, &cloud{keys: []obj{jwk("b", keyB())}}
	cs, ds := quietServer(t, c), quietServer(t, d)
	profile := Profile{Name: "own", Issuers: []string{ourIssuer}, OpenIDURL: []string{cs.URL + metaPath, ds.URL + metaPath, ds.URL + metaPath, cs.URL + "/absent"}}
	v := start(t, Config{Now: k.Now, Profiles: []Profile{profile}}, App{ID: ourApp, Profile: "own"})
	if n := len(v.Status()); n != 3 {
		t.Errorf("there are %d sources, wanted 3", n)
	}
	for {
		tried := v.attempts.next()
		if st := v.Status(); st[0].Usable && st[1].Usable && st[2].Failures > 0 {
			break
		}
		await(t, tried)
	}
	if err := v.Ready(); err != nil {
		t.Errorf("Ready gives %v", err)
	}
	want(t, v, goodToken(k.Now(), "a", keyA(), 0), good)
	want(t, v, goodToken(k.Now(), "b", keyB(), 0), good)
	want(t, v, goodToken(k.Now(), "c", keyC(), 0), CodeKeysInDoubt) // the third may have it
}

// TestNewDoesNotNeedTheNetwork names servers that do not exist.
func TestNewDoesNotNeedTheNetwork(t *testing.T) {
	c := &cloud{}
	c.answers(down)
	cfg := c.config()
	ctx, cancel := context.WithCancel(context.Background())
	v := start(t, cfg)
	cancel()
	if err := v.WaitReady(ctx); err == nil {
		t.Error("WaitReady gives nil without keys")
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := v.WaitReady(context.Background()); err == nil {
		t.Error("WaitReady gives nil after Close without keys")
	}
	raw := goodToken(time.Now(), "a", keyA(), 0)
	want(t, v, raw, CodeKeysNotLoaded)
	if e := v.Explain(context.Background(), raw); e.Status != 503 || !strings.Contains(e.String(), "has not given any keys yet") {
		t.Errorf("Explain says\n%s", e)
	}
}

// F15: a wall clock that is set back or forth changes a verdict only as the
// policy for exp and nbf says; nothing else moves with it.
func TestF15_WallClockJumps(t *testing.T) {
	k := newClock()
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	cfg := c.config()
	cfg.Now = k.Now
	v := ready(t, start(t, cfg))
	raw := goodToken(k.Now(), "a", keyA(), 0) // 300 s, and a skew of 5 min
	want(t, v, raw, good)
	for _, jump := range []struct {
		by      time.Duration
		verdict Code
	}{
		{-time.Hour, CodeNotYetValid}, {time.Hour, good}, {5 * time.Minute, good},
		{5 * time.Minute, CodeExpired}, {-10 * time.Minute, good},
	} {
		k.Advance(jump.by)
		want(t, v, raw, jump.verdict)
	}
}
