package federation

import (
	"context"
	"log/slog"
	"net/http"
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
	client   *http.Client
	counters *counters

	state  atomic.Pointer[Summary]
	misses int
}

func newFollower(r Region, cfg Config) (*follower, error) {
	if _, err := r.token(); err != nil {
		return nil, err
	}
	transport := cfg.Transport
	if transport == nil {
		own, err := newTransport(r.CAFile)
		if err != nil {
			return nil, err
		}
		transport = own
	}
	f := &follower{
		region: r, interval: cfg.Interval, limit: cfg.Misses, now: cfg.Now,
		log: cfg.Logger.With("region", string(r.Name)), client: newClient(transport, cfg.Timeout),
	}
	f.state.Store(&Summary{Name: r.Name, URL: r.URL, Partial: true, Error: "it was not asked yet"})
	return f, nil
}

// follow asks at once and then at every interval. A question that takes longer
// than the interval delays the next one; it is never asked twice at a time.
func (f *follower) follow(ctx context.Context) {
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		l := ask(ctx, f.client, f.region)
		if ctx.Err() != nil {
			return // the failure is ours, not the region's
		}
		f.learn(l)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
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
