package federation

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// follower asks one region and keeps what it said. Only its own goroutine
// writes; readers load the whole state at once.
type follower struct {
	region   Region
	interval time.Duration
	limit    int // misses in a row until it is down
	now      func() time.Time
	log      *slog.Logger
	timeout  time.Duration
	counters *counters

	newClient func(base string, addr netip.Addr) *http.Client
	lookup    func(ctx context.Context, host string) ([]netip.Addr, error) // nil: names are left alone
	opened    map[doorKey]*door
	learnt    []string  // doors that the region told
	changed   time.Time // when it last told others than before
	addrs     map[string][]netip.Addr
	resolved  time.Time

	state  atomic.Pointer[state]
	known  atomic.Pointer[[]*door] // for readers
	misses int
}

func newFollower(r Region, cfg Config) (*follower, error) {
	if _, err := r.token(); err != nil {
		return nil, err
	}
	r.pass = cfg.Pass
	f := &follower{
		region: r, interval: cfg.Interval, limit: cfg.Misses, now: cfg.Now, timeout: cfg.Timeout,
		log: cfg.Logger.With("region", string(r.Name)), lookup: cfg.Resolve,
	}
	if cfg.Transport != nil {
		f.newClient = func(string, netip.Addr) *http.Client { return newClient(cfg.Transport) }
	} else {
		own, err := newTransport(r.CAFile)
		if err != nil {
			return nil, err
		}
		f.newClient = func(base string, addr netip.Addr) *http.Client {
			return newClient(dialler(own, base, addr))
		}
		if f.lookup == nil {
			f.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
				return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			}
		}
	}
	f.state.Store(&state{Summary: Summary{Name: r.Name, URL: r.URL, Partial: true, Error: "it was not asked yet"}})
	return f, nil
}

// follow asks at once and then at every interval. A round that takes longer than
// the interval delays the next one; no door is ever asked twice at a time.
func (f *follower) follow(ctx context.Context) {
	defer func() {
		for _, d := range f.opened {
			d.client.CloseIdleConnections()
		}
	}()
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		l := f.round(ctx)
		if ctx.Err() != nil {
			return // the failure is ours, not the region's
		}
		f.learn(l)
		if !f.pause(ctx, tick.C) {
			return
		}
	}
}

// A region that has just told of other doors is being built or rebuilt. Until it has
// settled it is asked more often, so that its new doors are known before an old one
// goes.
const (
	settling = 10 * time.Second
	oftener  = 10 // times as often
)

// pause waits for the next round; false: ctx has ended. What fails in a question in
// between is no miss.
func (f *follower) pause(ctx context.Context, next <-chan time.Time) bool {
	for {
		if f.changed.IsZero() || time.Since(f.changed) > settling {
			select {
			case <-ctx.Done():
				return false
			case <-next:
				return true
			}
		}
		soon := time.NewTimer(f.interval / oftener)
		select {
		case <-ctx.Done():
			soon.Stop()
			return false
		case <-next:
			soon.Stop()
			return true
		case <-soon.C:
		}
		if l := f.round(ctx); l.ready && ctx.Err() == nil {
			f.learn(l)
		}
	}
}

// learn brings the state up to date with one look.
func (f *follower) learn(l look) {
	before := f.state.Load()
	s := *before
	s.Partial, s.Error = l.figures == nil, ""
	if l.problem != nil {
		s.Error = l.problem.Error()
	}
	if l.answered {
		s.AsOf = f.now()
	}
	if l.figures != nil {
		s.Nodes, s.Live, s.Capacity, s.TableVersion = l.figures.Nodes, l.figures.Live, l.figures.Capacity, l.figures.TableVersion
		s.keep(l.figures)
	}
	if l.ready {
		f.misses, s.Healthy = 0, true
	} else if f.misses++; f.misses >= f.limit {
		s.Healthy = false
	}
	f.state.Store(&s)
	f.counters.count(f.region.Name, l.ready, s.Healthy)
	switch {
	case s.Healthy && !before.Healthy:
		f.log.Info("the region is up: calls that belong there are redirected to it", "detail", s.Error)
	case before.Healthy && !s.Healthy:
		f.log.Warn("the region is down: no call is redirected to it", "misses", f.misses, "detail", s.Error)
	case s.Error != before.Error && s.Error != "":
		f.log.Warn("looking at the region did not go well", "healthy", s.Healthy, "detail", s.Error)
	}
}
