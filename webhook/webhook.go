// Package webhook is the public door: it receives the calling cloud's
// notifications and brings each to the one node that owns its call.
//
// The way of a request is one line: size and headers → token → handle → body →
// legacy? 204 → locate → claim → hand over, redirect or relay. Nothing of a
// body is read before the token is verified. Location headers and callback URIs
// are built from the configuration only. At most one region redirect and one
// node redirect happen to a notification, because a hop mark in the redirect
// says so to the next node, and a relayed notification is never sent on.
package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"tandem/graph"
	"tandem/ownership"
	"tandem/policy"
	"tandem/spelling"
	"tandem/traces"
)

// What happens to follow-ups that arrive at a node which is not their owner.
const (
	MidcallRelay    = "relay"    // over the peer link, and the owner's response passes through
	MidcallRedirect = "redirect" // 302 or 307; whether the cloud follows it mid-call is not documented
)

// Config is what one node's public door must know.
type Config struct {
	Path           string           // of the webhook, such as /api/calls
	Region         ownership.Region // this region
	Node           ownership.NodeID // this node
	PublicURL      string           // base URL of this node; empty: others relay to it
	RegionURL      string           // base URL of this region: the base of callback URIs
	HealthPath     string           // answers probes; empty: none
	RedirectStatus int              // 302 or 307
	Midcall        string           // MidcallRelay or MidcallRedirect
	Apps           []App

	BodyLimit     int64         // bytes; full rosters are large
	Notifications int           // in one body; default 1000
	InFlight      int           // requests at one time; default 4096, more get 503
	ClaimTimeout  time.Duration // how long a claim may take; default 900 ms
	HandOver      time.Duration // how long relay and bot may take
	Attempts      Attempts      // how often a bad token is judged

	// Proxies are those whose word on a caller's address is taken: in
	// X-Forwarded-For, or with ProxyProtocol at the beginning of each connection.
	Proxies       []netip.Prefix
	ProxyProtocol bool
	// Hidden says that something in front of this node ends TLS: addresses that no
	// proxy tells are its own and say nothing.
	Hidden bool
}

// App is what the door must know of one app.
type App struct {
	ID     ownership.AppID
	Pinned bool // app-hosted media: its calls cannot move to another node
}

// Deps is what the node introduces to the door. Rules, Pins, Logger, Metrics, Steps
// and Now may be nil.
type Deps struct {
	Tokens     Tokens
	Table      Table
	Dispatcher Dispatcher
	Regions    Regions
	Handles    *Handles
	// Identity returns the region's identity, random since its founding, which its
	// handles carry; empty: it has none yet. May be nil.
	Identity func() string
	// Healthy says to probes whether this node should get requests; nil: always.
	Healthy func(context.Context) bool
	Rules   *policy.Rules
	Pins    *policy.Pins
	Now     func() time.Time
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	Steps   Steps
	Traces  *traces.Traces // nil: none are made
}

// Handler is the public door. It is safe for concurrent use.
type Handler struct {
	*abroad
	cfg        Config
	apps       map[ownership.AppID]App
	base       string // of this region's callback URIs
	tokens     Tokens
	table      Table
	dispatcher Dispatcher
	handles    *Handles
	identity   func() string
	healthy    func(context.Context) bool
	policy     atomic.Pointer[policies]
	traffic    traffic
	now        func() time.Time
	log        *slog.Logger
	diary      diary
	count      *counters
	router     *httprouter.Router
	limits     graph.Limits
	inFlight   chan struct{}
	attempts   *attempts
	refusals   *rate.Limiter // lines of refused requests in the log
	// handshakes bounds what is said of handshakes that belong elsewhere.
	handshakes rate.Sometimes
}

// policies are one version of rules and pins, swapped as a whole.
type policies struct {
	rules *policy.Rules
	pins  *policy.Pins
}

// New checks the configuration and gives the door.
func New(cfg Config, deps Deps) (*Handler, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("opening the public door: %w", err)
	}
	cfg = cfg.withDefaults()
	if deps.Tokens == nil || deps.Table == nil || deps.Dispatcher == nil || deps.Regions == nil || deps.Handles == nil {
		return nil, errors.New("opening the public door: it needs tokens, a table, a dispatcher, regions and handles")
	}
	h := &Handler{
		cfg: cfg, apps: map[ownership.AppID]App{}, base: cfg.RegionURL + cfg.Path,
		tokens: deps.Tokens, table: deps.Table, dispatcher: deps.Dispatcher, handles: deps.Handles,
		identity: deps.Identity, healthy: deps.Healthy,
		now: deps.Now, log: cmp.Or(deps.Logger, slog.New(slog.DiscardHandler)),
		limits:     graph.Limits{Notifications: cfg.Notifications},
		handshakes: rate.Sometimes{Interval: time.Hour},
		inFlight:   make(chan struct{}, cfg.InFlight),
	}
	for _, a := range cfg.Apps {
		h.apps[a.ID] = a
	}
	if h.now == nil {
		h.now = time.Now
	}
	h.attempts = newAttempts(cfg.Attempts, h.now)
	h.refusals = rate.NewLimiter(refusedLines, refusedBurst)
	h.diary = diary{deps.Steps, h.now}
	var err error
	if h.count, err = newCounters(deps.Metrics); err != nil {
		return nil, fmt.Errorf("opening the public door: %w", err)
	}
	h.abroad = &abroad{cfg: cfg, regions: deps.Regions, table: deps.Table, handles: deps.Handles, now: h.now, count: h.count, traces: deps.Traces}
	h.SetPolicy(deps.Rules, deps.Pins)
	h.router = h.routes()
	return h, nil
}

// rules are those that the request is judged by: those in force, unless it is a dry
// run by others.
func (q *request) rules(h *Handler) *policies {
	if q.by != nil {
		return q.by
	}
	return h.policy.Load()
}

// SetPolicy puts other region rules and pins in force; nil holds none.
func (h *Handler) SetPolicy(rules *policy.Rules, pins *policy.Pins) {
	h.policy.Store(&policies{rules: rules, pins: pins})
}

// CallbackURI returns the signed callback URI of a call, or of an outgoing ref,
// in this region.
func (h *Handler) CallbackURI(p ownership.PartitionID, e ownership.Epoch, ref string) string {
	return h.handles.CallbackURI(h.base, Handle{Region: h.cfg.Region, Partition: p, Epoch: e, Ref: ref, Identity: h.shortIdentity()})
}

// Check says everything for which New would refuse the configuration.
func (c Config) Check() error {
	var errs []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	say := func(what string, err error) { wrong(err != nil, "%s %w", what, err) }
	say("the webhook's path", spelling.Path(c.Path))
	say("the region's name", spelling.Name(string(c.Region)))
	say("the region's URL", spelling.PublicURL(c.RegionURL))
	if c.PublicURL != "" {
		say("the node's URL", spelling.PublicURL(c.PublicURL))
	}
	if c.HealthPath != "" {
		say("the health path", spelling.Path(c.HealthPath))
	}
	wrong(c.HealthPath == c.Path, "the health path is the webhook's")
	wrong(c.Node == "", "the node has no name")
	wrong(c.RedirectStatus != http.StatusFound && c.RedirectStatus != http.StatusTemporaryRedirect, "the redirect status %d is neither 302 nor 307", c.RedirectStatus)
	wrong(c.Midcall != MidcallRelay && c.Midcall != MidcallRedirect, "midcall is %q, allowed are %q and %q", c.Midcall, MidcallRelay, MidcallRedirect)
	wrong(c.BodyLimit <= 0 || c.HandOver <= 0, "the body limit (%d) and the time for a hand-over (%s) must be above zero", c.BodyLimit, c.HandOver)
	for _, p := range c.paths() {
		for _, q := range c.paths() {
			wrong(strings.HasPrefix(q, p+"/"), "notifications would arrive at %s and, for the path of a base URL, at %s, which looks like a callback URI of the first: choose another path", p, q)
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	setDefault(&c.Notifications, 1000)
	setDefault(&c.InFlight, 4096)
	setDefault(&c.ClaimTimeout, 900*time.Millisecond)
	return c
}

// setDefault fills a setting that is zero or senseless.
func setDefault[T int | int64 | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}
