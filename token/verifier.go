package token

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Claims is what a verified token says. All of it was checked; nothing else of
// the token is given out.
type Claims struct {
	App     string    // id of the app the token is for
	Tenant  string    // tid in lower case
	Issuer  string    // iss, one of the profile's list
	Profile string    // name of the profile
	Expires time.Time // exp, without the skew
	KeyID   string    // kid of the key that verified it
}

// Verifier judges bearer tokens. All its methods may be used concurrently.
type Verifier struct {
	apps     map[string]*app // by every audience that means the app
	profiles []*profile      // those that an app uses, in the order of the apps
	sources  []*source
	cache    *cache
	metrics  *metrics
	now      func() time.Time
	skew     time.Duration
	fetch    *fetcher
	waiting  atomic.Int64
	turns    *turns

	attempts bell            // rings after every fetch of any source
	closed   <-chan struct{} // closed by Close
	cancel   context.CancelFunc
	done     sync.WaitGroup
}

// app is an App made ready for checks.
type app struct {
	id      string
	tenants map[string]bool // lower case; empty: any
	profile *profile
}

// profile is a Profile made ready for checks.
type profile struct {
	Profile
	sources  []*source // of all pairs
	of       []paired
	accepted prometheus.Counter
}

// paired is a Pair made ready for checks.
type paired struct {
	issuers []string
	sources []*source
}

// New makes a Verifier and starts to fetch the keys of the profiles that the
// apps use. It does no network work itself and does not fail when an endpoint
// is down: see Ready. The values of ctx reach the fetches, its end does not
// stop them; Close does.
func New(ctx context.Context, c Config, apps []App) (*Verifier, error) {
	if err := c.Check(apps); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, err
	}
	v := &Verifier{
		apps: make(map[string]*app), cache: newCache(), turns: newTurns(), metrics: m,
		now: c.Now, skew: c.ClockSkew, fetch: newFetcher(c.HTTPClient),
	}
	for _, a := range apps {
		if err := v.addApp(c, a); err != nil {
			return nil, err
		}
	}
	ctx, v.cancel = context.WithCancel(context.WithoutCancel(ctx))
	v.closed = ctx.Done()
	for _, s := range v.sources {
		v.done.Go(func() { s.run(ctx) })
	}
	return v, nil
}

// addApp puts an app, which Check has passed, behind all of its audiences.
func (v *Verifier) addApp(c Config, given App) error {
	p, err := v.useProfile(c, given.Profile)
	if err != nil {
		return fmt.Errorf("reading app %s: %w", given.ID, err)
	}
	a := &app{id: given.ID, profile: p, tenants: make(map[string]bool)}
	for _, t := range given.Tenants {
		a.tenants[strings.ToLower(t)] = true
	}
	for _, aud := range p.audiences(given.ID) {
		v.apps[aud] = a
	}
	return nil
}

// useProfile returns the profile of a name, with its sources, once.
func (v *Verifier) useProfile(c Config, name string) (*profile, error) {
	for _, p := range v.profiles {
		if p.Name == name {
			return p, nil
		}
	}
	spec, _ := c.findProfile(name)
	p := &profile{Profile: spec, accepted: v.metrics.verdicts.WithLabelValues(name, accepted)}
	for _, pair := range spec.pairs() {
		these := paired{issuers: pair.Issuers}
		for _, u := range pair.OpenIDURL {
			s, err := v.useSource(c, u)
			if err != nil {
				return nil, fmt.Errorf("reading token profile %q: %w", name, err)
			}
			these.sources = append(these.sources, s)
			if !slices.Contains(p.sources, s) {
				p.sources = append(p.sources, s)
			}
		}
		p.of = append(p.of, these)
	}
	v.profiles = append(v.profiles, p)
	return p, nil
}

// useSource returns the source of a metadata URL; profiles may share one.
func (v *Verifier) useSource(c Config, url string) (*source, error) {
	for _, s := range v.sources {
		if s.url == url {
			return s, nil
		}
	}
	s, err := newSource(url, v.fetch, c, v.metrics)
	if err != nil {
		return nil, err
	}
	s.changed = func() { v.cache.purge(v.now()) }
	s.tried = v.attempts.strike
	v.sources = append(v.sources, s)
	return s, nil
}

// Close stops all fetching and waits until it has stopped. Verify goes on
// working with the keys that are there.
func (v *Verifier) Close() error {
	v.cancel()
	v.done.Wait()
	v.fetch.close()
	return nil
}

// Verify judges the bearer token in the headers of a request. The error is
// always a *Refusal. A token whose key is unknown may wait up to 2 s for the
// fetch that may bring it, and any that has not been good before as long for its
// sender's turn (WithSender) at the signature check.
func (v *Verifier) Verify(ctx context.Context, h http.Header) (Claims, error) {
	raw, code := bearer(h)
	if code != "" {
		return v.refused(code, "")
	}
	now := v.now()
	for _, s := range v.sources {
		s.nudge(now)
	}
	if len(raw) > MaxTokenBytes {
		return v.refused(CodeTooLarge, "")
	}
	var room [2048]byte // real tokens fit, so hashing them takes no memory
	sum := sha256.Sum256(append(room[:0], raw...))
	if known, ok := v.cache.get(sum, now); ok {
		v.metrics.hits.Inc()
		known.app.profile.accepted.Inc()
		return known.claims, nil
	}
	v.metrics.misses.Inc()
	return v.judge(ctx, raw, sum, now)
}
