package token

import (
	"strings"
	"testing"
)

// TestB44_AnIssuerCountsWithItsOwnKeysOnly: a profile of two services takes a token of
// each by the keys of that one, and none of one signed by the other.
func TestB44_AnIssuerCountsWithItsOwnKeysOnly(t *testing.T) {
	k := newClock()
	gov, public := &cloud{keys: []obj{jwk("a", keyA())}}, &cloud{keys: []obj{jwk("b", keyB())}}
	gs, ps := quietServer(t, gov), quietServer(t, public)
	var profile Profile
	for _, p := range BuiltinProfiles() {
		if p.Name == "gcc-high" {
			profile = p
		}
	}
	if len(profile.Also) != 1 {
		t.Fatalf("GCC High has %+v", profile)
	}
	profile.OpenIDURL, profile.Also[0].OpenIDURL = []string{gs.URL + metaPath}, []string{ps.URL + metaPath}
	v := start(t, Config{Now: k.Now, Profiles: []Profile{profile}}, App{ID: ourApp, Profile: "gcc-high"})
	for {
		tried := v.attempts.next()
		if st := v.Status(); st[0].Usable && st[1].Usable {
			break
		}
		await(t, tried)
	}
	const govIssuer, publicIssuer = "https://api.botframework.us", "https://api.botframework.com/"
	for _, c := range []struct {
		issuer, kid string
		code        Code
	}{
		{govIssuer, "a", good},
		{publicIssuer, "b", good},
		{govIssuer, "b", CodeUnknownKey},
		{publicIssuer, "a", CodeUnknownKey},
	} {
		key := keyA()
		if c.kid == "b" {
			key = keyB()
		}
		raw := mint(realHeader(c.kid), realClaims(k.Now()).with(obj{"iss": c.issuer}), key)
		_, err := verify(v, raw)
		if c.code == CodeUnknownKey { // the set may be fetched once more before the verdict
			if err == nil {
				t.Errorf("a token of %s with the other's key was taken", c.issuer)
			}
			if e := v.Explain(t.Context(), raw); !strings.Contains(strings.Join(e.Hints, "\n"), "which is not the one of the token's issuer") {
				t.Errorf("the hints are %q", e.Hints)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s by %s: %v", c.issuer, c.kid, err)
		}
	}
}

// TestB45_EntraTokensNeedACaller: a profile of Entra holds only with callers, and takes a
// token only of one of them, in a tenant of the app.
func TestB45_EntraTokensNeedACaller(t *testing.T) {
	k := newClock()
	c := &cloud{keys: []obj{jwk("a", keyA())}}
	cfg := c.config()
	cfg.Now = k.Now
	const tenant, other = "8986d25d-ed3f-4bb8-b739-14d2fcc37b09", "6e1fc0e1-a55f-4277-89f4-aae9486d40a8"
	profile := Profile{Name: "entra", OpenIDURL: []string{cloudURL + metaPath}, Issuers: []string{"https://login.microsoftonline.com/{tenant}/v2.0"}, Callers: []string{callerApp}}
	app := App{ID: ourApp, Profile: "entra", Tenants: []string{tenant}}
	cfg.Profiles = []Profile{profile}
	for name, change := range map[string]func(*Config, *App){
		"list in callers the ids": func(c *Config, _ *App) { c.Profiles[0].Callers = nil },
		"an empty caller":         func(c *Config, _ *App) { c.Profiles[0].Callers = []string{callerApp, ""} },
		"name the app's tenants":  func(_ *Config, a *App) { a.Tenants = nil },
	} {
		bad, of := cfg, app
		bad.Profiles = []Profile{profile}
		change(&bad, &of)
		if err := bad.Check([]App{of}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, wanted %q", err, name)
		}
	}
	unused := cfg
	unused.Profiles = []Profile{{Name: "entra", OpenIDURL: []string{"https://login.microsoftonline.us/common/v2.0/.well-known/openid-configuration"}, Issuers: []string{"https://issuer.example"}}}
	if err := unused.Check([]App{{ID: ourApp, Profile: "public"}}); err == nil {
		t.Error("an Entra profile without callers holds as long as nobody uses it")
	}
	for _, p := range BuiltinProfiles() {
		if p.ofEntra() {
			t.Errorf("the built-in profile %s takes Entra's tokens", p.Name)
		}
	}
	v := ready(t, start(t, cfg, app))
	iss := func(tenant string) string { return "https://login.microsoftonline.com/" + tenant + "/v2.0" }
	for name, x := range map[string]struct {
		claims obj
		code   Code
	}{
		"version 2":              {obj{"azp": callerApp}, good},
		"version 1":              {obj{"appid": strings.ToUpper(callerApp)}, good},
		"nobody":                 {obj{}, CodeCallerNotAllowed},
		"another application":    {obj{"azp": secondApp}, CodeCallerNotAllowed},
		"two that differ":        {obj{"azp": callerApp, "appid": secondApp}, CodeCallerNotAllowed},
		"another tenant":         {obj{"azp": callerApp, "tid": other, "iss": iss(other)}, CodeTenantNotAllowed},
		"another tenant's name":  {obj{"azp": callerApp, "iss": iss(other)}, CodeWrongIssuer},
		"the mark itself":        {obj{"azp": callerApp, "iss": "https://login.microsoftonline.com/{tenant}/v2.0"}, CodeWrongIssuer},
		"the calling service":    {obj{"azp": callerApp, "iss": ourIssuer}, CodeWrongIssuer},
		"a tenant that is empty": {obj{"azp": callerApp, "tid": "", "iss": iss("")}, CodeWrongIssuer},
	} {
		claims := realClaims(k.Now()).with(obj{"tid": tenant, "iss": iss(tenant), "appid": drop{}}).with(x.claims)
		t.Run(name, func(t *testing.T) { want(t, v, mint(realHeader("a"), claims, keyA()), x.code) })
	}
}

const callerApp = "9efc74f7-41c3-47a4-8775-7259bfef4249"
