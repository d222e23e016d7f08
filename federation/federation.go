// Package federation follows the other regions: whether they answer, how full they are,
// and which nodes they have. A few doors of each tell of it by streams; without one, it
// is asked once a second at all of its doors that are known. What it said is kept in
// memory, so no caller ever waits for another region.
//
// A region that stops answering is called down after three misses in a row and
// up again at the first answer: a lost packet must not send calls around the
// world, and a region that is back should get its own calls at once. Until it
// first answers, a region is down: redirecting a caller to a place that nobody
// has seen alive could lose the call.
package federation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/ownership"
	"tandem/spelling"
)

// The shipped timings: a region that dies is called down within 3 s, one of older
// software, which has no stream, within 4 s.
const (
	DefaultInterval = time.Second
	DefaultTimeout  = time.Second
	DefaultMisses   = 3
)

// Config says whom to follow. The zero value of a field means the shipped
// default.
type Config struct {
	Self    ownership.Region // this region: always healthy, never asked
	Regions []Region         // the others; Self among them is kept for its URL only

	Interval time.Duration // from one question to the next
	Timeout  time.Duration // for one question
	Misses   int           // in a row, until a region is down

	// Pass signs what opens a region's admin door for one request, where no token for it
	// is configured; operator: in whose name, empty: this node's own. nil: nothing does.
	Pass func(to ownership.Region, operator, method, path string) string

	Transport http.RoundTripper // for the questions; nil: one of its own for each door
	// Resolve returns the addresses of a door's name, which are asked one by one. nil:
	// the system's resolver, or none if there is a Transport.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

	Now     func() time.Time // for AsOf; nil: time.Now
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Region is where one region can be asked and reached.
type Region struct {
	Name      ownership.Region
	URL       string   // public base: where its calls are redirected to
	AdminURL  string   // base of an admin door
	AdminURLs []string // more of them; none at all: only whether URL answers is known
	Token     string   // bearer token for the admin door, role read
	TokenFile string   // file with the token, read anew for each question; instead of Token
	CAFile    string   // PEM certificates that the admin door's must go back to; empty: the system's

	pass func(to ownership.Region, operator, method, path string) string
}

// Summary is what is known of one region.
type Summary struct {
	Name         ownership.Region `json:"name"`
	URL          string           `json:"url"`
	Healthy      bool             `json:"healthy"`
	AsOf         time.Time        `json:"as_of,omitzero"` // its last answer; zero: it never answered
	Nodes        int              `json:"nodes"`
	Live         int              `json:"live"`            // live calls
	Capacity     int              `json:"capacity"`        // live calls it may hold
	TableVersion uint64           `json:"table_version"`   // raft index of the newest change in its table
	Partial      bool             `json:"partial"`         // the figures are missing or older than the last look
	Error        string           `json:"error,omitempty"` // why the last look failed or was partial
	RTT          time.Duration    `json:"rtt"`             // of a request there and back, at its nearest door; 0: unknown
	Doors        []Door           `json:"doors,omitempty"` // which of its doors answered
}

// Regions is the other regions as this node knows them. All its methods answer
// from memory and are safe for concurrent use.
type Regions struct {
	self    ownership.Region
	regions []*follower // in the order of the configuration, without self
	byName  map[ownership.Region]*follower
	selfURL string

	stop context.CancelFunc
	done sync.WaitGroup
}

// Start begins to follow the regions, until Close or the end of ctx. Its errors
// are mistakes in the configuration; a region that does not answer is none.
func Start(ctx context.Context, cfg Config) (*Regions, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	w := &Regions{self: cfg.Self, byName: map[ownership.Region]*follower{}}
	for _, r := range cfg.Regions {
		if r.Name == cfg.Self {
			w.selfURL = r.URL
			continue
		}
		f, err := newFollower(r, cfg)
		if err != nil {
			return nil, fmt.Errorf("reading region %q: %w", r.Name, err)
		}
		w.regions, w.byName[r.Name] = append(w.regions, f), f
	}
	counters, err := newCounters(cfg.Metrics, w.regions)
	if err != nil {
		return nil, fmt.Errorf("registering the metrics of the other regions: %w", err)
	}
	ctx, w.stop = context.WithCancel(ctx)
	for _, f := range w.regions {
		f.counters = counters
		w.done.Go(func() { f.follow(ctx) })
	}
	return w, nil
}

// Close stops following and waits until every question has ended.
func (w *Regions) Close() {
	w.stop()
	w.done.Wait()
}

// Healthy reports whether calls may be sent to a region. This region always is;
// one that the configuration does not name never is.
func (w *Regions) Healthy(r ownership.Region) bool {
	if r == w.self {
		return true
	}
	f, ok := w.byName[r]
	return ok && f.state.Load().Healthy
}

// URL returns the public base URL of a region as the configuration spells it;
// false: the configuration has none.
func (w *Regions) URL(r ownership.Region) (string, bool) {
	if r == w.self {
		return w.selfURL, w.selfURL != ""
	}
	f, ok := w.byName[r]
	if !ok {
		return "", false
	}
	return f.region.URL, true
}

// Regions returns what is known of the other regions, in the order of the
// configuration.
func (w *Regions) Regions() []Summary {
	all := make([]Summary, len(w.regions))
	for i, f := range w.regions {
		all[i] = f.state.Load().Summary
	}
	return all
}

// Check says why Start would refuse the regions. CheckFiles reads the files.
func (c Config) Check() error {
	seen := map[ownership.Region]bool{}
	for _, r := range c.Regions {
		err := r.check()
		if seen[r.Name] {
			err = errors.New("it is listed twice")
		}
		if err != nil {
			return fmt.Errorf("reading region %q: %w", r.Name, err)
		}
		seen[r.Name] = true
	}
	return nil
}

// CheckFiles reads the tokens and certificates for the regions' admin doors.
func (c Config) CheckFiles() error {
	for _, r := range c.Regions {
		_, err := r.token()
		if err == nil {
			_, err = newTransport(r.CAFile)
		}
		if err != nil {
			return fmt.Errorf("reading region %q: %w", r.Name, err)
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Interval <= 0 {
		c.Interval = DefaultInterval
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Misses <= 0 {
		c.Misses = DefaultMisses
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

func (r Region) check() error {
	if r.Name == "" {
		return errors.New("it has no name")
	}
	if r.Name == "all" {
		return errors.New("its name means all regions where one is asked for: call it otherwise")
	}
	if err := spelling.PublicURL(r.URL); err != nil {
		return fmt.Errorf("its url %w", err)
	}
	if r.AdminURL != "" {
		if _, err := spelling.BaseURL(r.AdminURL); err != nil {
			return fmt.Errorf("its admin_url %w", err)
		}
	}
	for i, u := range r.AdminURLs {
		if _, err := spelling.BaseURL(u); err != nil {
			return fmt.Errorf("its admin_urls[%d] %w", i, err)
		}
	}
	return nil
}
