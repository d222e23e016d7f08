package token

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/spelling"
)

// Limits that are not worth a setting.
const (
	// MaxTokenBytes is the longest token read; real ones have about 1.1 KB.
	MaxTokenBytes = 16 << 10
	// MaxLifetime is the longest span from nbf to exp. Real tokens of the
	// calling service live 300 s, documented ones 3900 s.
	MaxLifetime = 24 * time.Hour
	// MaxKeyAge is how long a key set serves while its endpoint is down.
	MaxKeyAge = 24 * time.Hour

	maxClockSkew = time.Hour
)

// Config says which clouds to believe and what to use on the way.
type Config struct {
	// Profiles adds to the built-in ones (public, gcc-high, dod); one with a
	// built-in name takes its place.
	Profiles []Profile
	// ClockSkew is forgiven at exp, nbf and iat.
	ClockSkew time.Duration
	// Now returns the time; nil means time.Now.
	Now func() time.Time
	// HTTPClient fetches metadata and keys; nil means one of its own with tight
	// limits. Its CheckRedirect is replaced: redirects stay on their origin.
	HTTPClient *http.Client
	// Logger gets changes of key sets and failed fetches, never a token; nil
	// means silence.
	Logger *slog.Logger
	// Metrics gets the counters of this package; nil means none.
	Metrics prometheus.Registerer
}

// Profile is one cloud: who issues its calling tokens and where its keys are.
type Profile struct {
	Name string
	// OpenIDURL lists metadata documents; their key sets are united. https, or
	// http on a loopback address.
	OpenIDURL []string
	// Issuers lists the accepted iss values, compared byte by byte: a trailing
	// slash makes another issuer.
	Issuers []string
	// Audiences lists accepted aud values besides the app's own id, with {app}
	// standing for that id: "api://{app}".
	Audiences []string
	// Also lists issuers with keys of their own, where a cloud has several services: a
	// token of an issuer is verified with the keys of its pair only.
	Also []Pair
	// Callers, when set, lists the applications whose tokens are taken, by azp or appid.
	// Tokens of Microsoft Entra need it: any application of the tenant may get one for any
	// audience.
	Callers []string
}

// Pair is issuers with the addresses of their keys. An issuer may hold {tenant} where
// Entra writes the tenant's id: it counts with the token's own, of an app that lists its
// tenants.
type Pair struct {
	OpenIDURL []string
	Issuers   []string
}

// pairs are all of the profile's, the first one too.
func (p Profile) pairs() []Pair { return append([]Pair{{p.OpenIDURL, p.Issuers}}, p.Also...) }

// App is one bot registration whose calls this deployment takes.
type App struct {
	ID      string   // app id, a lower-case GUID: the aud of its tokens
	Tenants []string // tenants that may call; empty means any
	Profile string   // name of a profile
}

// BuiltinProfiles returns the profiles that need no configuration.
//
// public: the metadata URL and both issuers are those of Microsoft's calling
// samples (microsoft-graph-comms-samples, AuthenticationProvider.cs).
// gcc-high and dod: the metadata of the US Government clouds of the Bot
// Framework. Users of GCC High report tokens whose issuer is that of the
// public cloud with a trailing slash, and whose key is not in the government's set
// (microsoft-graph-comms-samples issue 865), so it takes the public cloud's pair too:
// those issuers by those keys, and the government's by the government's. Where a cloud
// behaves otherwise, spell the profile out in the configuration.
func BuiltinProfiles() []Profile {
	return []Profile{
		{
			Name:      "public",
			OpenIDURL: []string{"https://api.aps.skype.com/v1/.well-known/OpenIdConfiguration"},
			Issuers:   []string{"https://api.botframework.com", "https://graph.microsoft.com"},
		},
		{
			Name: "gcc-high",
			OpenIDURL: []string{
				"https://apigcch.botframework.azure.us/v1/.well-known/OpenIdConfiguration",
				"https://login.botframework.azure.us/v1/.well-known/openidconfiguration",
			},
			Issuers: []string{"https://api.botframework.us"},
			Also: []Pair{{
				OpenIDURL: []string{"https://api.aps.skype.com/v1/.well-known/OpenIdConfiguration"},
				Issuers:   []string{"https://api.botframework.com", "https://api.botframework.com/"},
			}},
		},
		{
			Name:      "dod",
			OpenIDURL: []string{"https://login.botframework.azure.us/v1/.well-known/openidconfiguration"},
			Issuers:   []string{"https://api.botframework.us"},
		},
	}
}

// Check says why New would refuse the settings and the apps.
func (c Config) Check(apps []App) error {
	if c.ClockSkew < 0 || c.ClockSkew > maxClockSkew {
		return fmt.Errorf("reading the token settings: a clock skew of %s is below zero or longer than %s", c.ClockSkew, maxClockSkew)
	}
	for _, p := range c.Profiles { // also those that no app uses yet
		if err := p.check(); err != nil {
			return err
		}
	}
	owners := map[string]int{}
	for i, a := range apps {
		if err := a.check(); err != nil {
			return err
		}
		p, ok := c.findProfile(a.Profile)
		if !ok {
			return fmt.Errorf("reading app %s: there is no token profile named %q", a.ID, a.Profile)
		}
		if err := p.check(); err != nil {
			return err
		}
		if p.perTenant() && len(a.Tenants) == 0 {
			return fmt.Errorf("reading app %s: an issuer of its profile %q holds %s, so name the app's tenants", a.ID, p.Name, tenantMark)
		}
		for _, aud := range p.audiences(a.ID) {
			if other, taken := owners[aud]; taken && other != i {
				return fmt.Errorf("reading app %s: its audience %q is already that of app %s", a.ID, aud, apps[other].ID)
			}
			owners[aud] = i
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// findProfile looks a name up among the configured profiles, then among the
// built-in ones.
func (c Config) findProfile(name string) (Profile, bool) {
	for _, list := range [][]Profile{c.Profiles, BuiltinProfiles()} {
		if i := slices.IndexFunc(list, func(p Profile) bool { return p.Name == name }); i >= 0 {
			return list[i], true
		}
	}
	return Profile{}, false
}

// check says what is wrong with a profile, all of it at once.
func (p Profile) check() error {
	var errs []error
	if p.Name == "" {
		errs = append(errs, errors.New("it has no name"))
	}
	for _, pair := range p.pairs() {
		errs = append(errs, pair.check()...)
	}
	if slices.Contains(p.Callers, "") {
		errs = append(errs, errors.New("it has an empty caller"))
	}
	if p.ofEntra() && len(p.Callers) == 0 {
		errs = append(errs, errors.New("its tokens are Microsoft Entra's, which any application of a tenant gets for any audience: list in callers the ids of those that may call"))
	}
	if slices.Contains(p.Audiences, "") {
		errs = append(errs, errors.New("it has an empty audience"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("reading token profile %q: %w", p.Name, errors.Join(errs...))
	}
	return nil
}

func (p Profile) audiences(app string) []string {
	list := []string{app}
	for _, a := range p.Audiences {
		list = append(list, strings.ReplaceAll(a, "{app}", app))
	}
	return list
}

// check says what is wrong with an app.
func (a App) check() error {
	if err := spelling.GUID(a.ID); err != nil {
		return fmt.Errorf("reading the apps: the id %w", err)
	}
	if slices.Contains(a.Tenants, "") {
		return fmt.Errorf("reading app %s: it has an empty tenant", a.ID)
	}
	return nil
}

// check says what is wrong with a pair.
func (p Pair) check() (errs []error) {
	if len(p.OpenIDURL) == 0 {
		errs = append(errs, errors.New("it has no openid_url"))
	}
	for _, u := range p.OpenIDURL {
		if _, err := spelling.URL(u); err != nil {
			errs = append(errs, fmt.Errorf("its openid_url %w", err))
		}
	}
	if len(p.Issuers) == 0 || slices.Contains(p.Issuers, "") {
		errs = append(errs, errors.New("it has no issuers, or an empty one"))
	}
	return errs
}

// tenantMark stands for a tenant's id in an issuer.
const tenantMark = "{tenant}"

func (p Profile) perTenant() bool {
	return slices.ContainsFunc(p.pairs(), func(q Pair) bool {
		return slices.ContainsFunc(q.Issuers, func(i string) bool { return strings.Contains(i, tenantMark) })
	})
}

// entraHosts issue the tokens of Microsoft Entra, in all of its clouds
// (https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud;
// sts.windows.net: those of version 1).
var entraHosts = []string{"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "login.windows.net", "sts.windows.net"}

// ofEntra reports whether an issuer or its keys are Microsoft Entra's.
func (p Profile) ofEntra() bool {
	return slices.ContainsFunc(p.pairs(), func(q Pair) bool {
		return slices.ContainsFunc(slices.Concat(q.Issuers, q.OpenIDURL), func(s string) bool {
			u, err := url.Parse(strings.ReplaceAll(s, tenantMark, "tenant"))
			return err == nil && slices.Contains(entraHosts, strings.ToLower(u.Hostname()))
		})
	})
}
