package federation

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tandem/ownership"
)

// follower asks one region and keeps what it said. Only its own goroutine
// writes; readers load the whole state at once.
type follower struct {
	region   Region
	self     ownership.Region
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

	streams   map[*door]*stream
	listening sync.WaitGroup
	woke      chan struct{} // a stream has told something
	ended     chan *stream
	seed      maphash.Seed

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
		region: r, self: cfg.Self, interval: cfg.Interval, limit: cfg.Misses, now: cfg.Now, timeout: cfg.Timeout,
		log: cfg.Logger.With("region", string(r.Name)), lookup: cfg.Resolve,
		streams: map[*door]*stream{}, woke: make(chan struct{}, 1), ended: make(chan *stream), seed: maphash.MakeSeed(),
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

// A region that has just told of other doors is being built or rebuilt. Until it has
// settled it is asked more often, so that its new doors are known before an old one
// goes.
const (
	settling = 10 * time.Second
	oftener  = 10 // times as often
)

// follow looks at once and then at every interval, or a little sooner after a look that
// failed: what is down is called so within three seconds. What streams tell in between
// is learnt as it comes. A round that takes longer than the interval delays the next
// one; no door is ever asked twice at a time.
func (f *follower) follow(ctx context.Context) {
	defer func() {
		for _, s := range f.streams {
			s.cancel()
		}
		f.listening.Wait()
		for _, d := range f.opened {
			d.client.CloseIdleConnections()
		}
	}()
	for ctx.Err() == nil {
		began := time.Now()
		doors := f.doors(ctx)
		l := f.round(ctx, doors)
		if ctx.Err() != nil {
			return // the failure is ours, not the region's
		}
		f.learn(l, true)
		f.tend(ctx, doors)
		pause := f.interval
		if !l.ready {
			pause = f.interval * 3 / 4
		}
		f.pause(ctx, began, pause)
	}
}

// pause waits for the next round, and learns what streams tell meanwhile. With the end of
// the last one the next round is due at once. What fails in a question in between is no
// miss.
func (f *follower) pause(ctx context.Context, began time.Time, length time.Duration) {
	next := time.NewTimer(length - time.Since(began))
	defer next.Stop()
	soon := time.NewTicker(f.interval / oftener)
	defer soon.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			return
		case <-f.woke:
			before := f.changed
			if l, any := f.hearsay(); any {
				f.learn(l, false)
			}
			if f.changed != before {
				return // new doors are asked at once
			}
		case s := <-f.ended:
			if f.over(s) {
				return
			}
		case <-soon.C:
			if f.changed.IsZero() || time.Since(f.changed) > settling || f.hears() {
				continue
			}
			doors := f.doors(ctx)
			if l := f.round(ctx, doors); l.ready && ctx.Err() == nil {
				f.learn(l, true)
			}
		}
	}
}

// over takes a stream's end, and reports whether the next round is due at once.
func (f *follower) over(s *stream) bool {
	if f.streams[s.door] == s {
		delete(f.streams, s.door)
	}
	if errors.Is(s.err, errNoStream) {
		s.door.unable = time.Now().Add(unable)
		return false
	}
	s.door.said.Store(&look{problem: s.err})
	s.door.probed = time.Time{}
	if f.hears() {
		return false
	}
	if errors.Is(s.err, errSilent) {
		f.misses++ // as long as a question that is not answered
	}
	return true
}

// hears reports whether any door tells of the region by a stream.
func (f *follower) hears() bool {
	for d := range f.streams {
		if d.streaming.Load() {
			return true
		}
	}
	return false
}

// learn brings the state up to date with one look; one that counts may be a miss.
func (f *follower) learn(l look, counts bool) {
	before := f.state.Load()
	s := *before
	s.Partial, s.Error, s.Doors = l.figures == nil, "", f.views()
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
	s.RTT = best(s.Doors)
	if l.ready {
		f.misses, s.Healthy = 0, true
	} else if counts {
		if f.misses++; f.misses >= f.limit {
			s.Healthy = false
		}
	}
	f.state.Store(&s)
	if counts {
		f.counters.count(f.region.Name, l.ready)
	}
	f.counters.tell(f.region.Name, s.Healthy, s.RTT)
	switch {
	case s.Healthy && !before.Healthy:
		f.log.Info("the region is up: calls that belong there are redirected to it", "detail", s.Error)
	case before.Healthy && !s.Healthy:
		f.log.Warn("the region is down: no call is redirected to it", "misses", f.misses, "detail", s.Error)
	case s.Error != before.Error && s.Error != "":
		f.log.Warn("looking at the region did not go well", "healthy", s.Healthy, "detail", s.Error)
	}
}
