package token

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
	// DefaultClockSkew is the difference between clocks that is forgiven, the
	// industry's custom and the calling samples' default.
	DefaultClockSkew = 5 * time.Minute

	maxClockSkew = time.Hour
)

// Config says which clouds to believe and what to use on the way.
type Config struct {
	// Profiles adds to the built-in ones (public, gcc-high, dod); one with a
	// built-in name takes its place.
	Profiles []Profile
	// ClockSkew is forgiven at exp, nbf and iat; 0 means DefaultClockSkew, a
	// negative value none at all.
	ClockSkew time.Duration
	// Now gives the time; nil means time.Now.
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
}

// App is one bot registration whose calls this deployment takes.
type App struct {
	ID      string   // app id, a lower-case GUID: the aud of its tokens
	Tenants []string // tenants that may call; empty means any
	Profile string   // name of a profile; empty means public
}

// BuiltinProfiles gives the profiles that need no configuration.
//
// public: the metadata URL and both issuers are those of Microsoft's calling
// samples (microsoft-graph-comms-samples, AuthenticationProvider.cs).
// gcc-high and dod: the metadata of the US Government clouds of the Bot
// Framework. Users of GCC High report tokens whose issuer is that of the
// public cloud with a trailing slash (microsoft-graph-comms-samples issue
// 865), so its list has that form too. Where a cloud behaves otherwise, spell
// the profile out in the configuration.
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
			Issuers: []string{"https://api.botframework.us", "https://api.botframework.com", "https://api.botframework.com/"},
		},
		{
			Name:      "dod",
			OpenIDURL: []string{"https://login.botframework.azure.us/v1/.well-known/openidconfiguration"},
			Issuers:   []string{"https://api.botframework.us"},
		},
	}
}

// withDefaults checks what no later step would notice and fills the gaps.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.ClockSkew == 0:
		c.ClockSkew = DefaultClockSkew
	case c.ClockSkew < 0:
		c.ClockSkew = 0
	case c.ClockSkew > maxClockSkew:
		return c, fmt.Errorf("reading the token settings: a clock skew of %s is longer than %s", c.ClockSkew, maxClockSkew)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
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
	if len(p.OpenIDURL) == 0 {
		errs = append(errs, errors.New("it has no openid_url"))
	}
	for _, u := range p.OpenIDURL {
		if _, err := keyURL(u); err != nil {
			errs = append(errs, err)
		}
	}
	if len(p.Issuers) == 0 || slices.Contains(p.Issuers, "") {
		errs = append(errs, errors.New("it has no issuers, or an empty one"))
	}
	if slices.Contains(p.Audiences, "") {
		errs = append(errs, errors.New("it has an empty audience"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("reading token profile %q: %w", p.Name, errors.Join(errs...))
	}
	return nil
}

// audiences lists what aud may be in tokens of the app.
func (p Profile) audiences(app string) []string {
	list := []string{app}
	for _, a := range p.Audiences {
		list = append(list, strings.ReplaceAll(a, "{app}", app))
	}
	return list
}

// check says what is wrong with an app.
func (a App) check() error {
	switch {
	case a.ID == "" || strings.TrimSpace(a.ID) != a.ID:
		return fmt.Errorf("reading the apps: the id %q is empty or has spaces around it", a.ID)
	case a.ID != strings.ToLower(a.ID):
		return fmt.Errorf("reading the apps: the id %q has upper-case letters; the calling service writes it in lower case and audiences are compared exactly", a.ID)
	case slices.Contains(a.Tenants, ""):
		return fmt.Errorf("reading app %s: it has an empty tenant", a.ID)
	}
	return nil
}

// keyURL parses the address of metadata or keys: https anywhere, http only on
// a loopback address, no user information.
func keyURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("a URL of keys cannot be read: %w", errors.Unwrap(err)) // its text may hold a password
	}
	switch {
	case u.User != nil:
		return nil, errors.New("a URL of keys must not hold a user name or password")
	case u.Hostname() == "":
		return nil, fmt.Errorf("the URL %q names no server", raw)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u, nil
	default:
		return nil, fmt.Errorf("the URL %q is neither https nor http on a loopback address", raw)
	}
}

// isLoopback knows localhost and the loopback addresses; other names are not
// resolved, since the answer may change before the name is used.
func isLoopback(name string) bool {
	if name == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.Unmap().IsLoopback()
}
