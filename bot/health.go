package bot

import (
	"context"
	"sync"
	"time"

	"tandem/ownership"
)

// Report is what a bot says of itself.
type Report struct {
	Load     float64 `json:"load"`     // 0 to 1
	Capacity int     `json:"capacity"` // live calls it can hold; 0: not said
	Draining bool    `json:"draining"` // it wants no new calls
}

// Reporter is a Bot that can be asked for its health; an error means sick. A
// Bot that is none counts as healthy.
type Reporter interface {
	Health(ctx context.Context) (Report, error)
}

const (
	healthTime = time.Second // of one check
	sickAfter  = 2           // failures in a row make a healthy bot sick
	wellAfter  = 2           // successes in a row make a sick one healthy; the first time one is enough
)

// poller asks the bots for their health, each on its own.
type poller struct {
	desk *Desk

	mu   sync.Mutex
	bots map[ownership.AppID]*patient
}

// patient is one bot as the poller sees it.
type patient struct {
	healthy bool
	known   bool // it was healthy once
	streak  int  // checks in a row that contradict healthy
	report  Report
}

func newPoller(d *Desk) *poller {
	p := &poller{desk: d, bots: map[ownership.AppID]*patient{}}
	for id, a := range d.apps {
		_, asks := a.Bot.(Reporter)
		if h, ok := a.Bot.(*HTTPBot); ok && h.health == "" {
			asks = false
		}
		p.bots[id] = &patient{healthy: !asks}
		d.count.healthy.WithLabelValues(string(id)).Set(gauge(!asks))
	}
	return p
}

func (p *poller) start() {
	for id, a := range p.desk.apps {
		if !p.bots[id].healthy { // those that cannot be asked are healthy from the start
			p.desk.loops.Go(func() { p.watch(id, a.Bot.(Reporter)) })
		}
	}
}

func (p *poller) watch(id ownership.AppID, r Reporter) {
	t := time.NewTicker(p.desk.conf.HealthEvery)
	defer t.Stop()
	for {
		p.check(id, r)
		select {
		case <-t.C:
		case <-p.desk.open.Done():
			return
		}
	}
}

func (p *poller) check(id ownership.AppID, r Reporter) {
	ctx, cancel := context.WithTimeout(p.desk.open, healthTime)
	defer cancel()
	report, err := r.Health(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.bots[id]
	if err == nil {
		b.report = report.sane()
	}
	if (err == nil) == b.healthy {
		b.streak = 0
		return
	}
	b.streak++
	if (b.healthy && b.streak < sickAfter) || (!b.healthy && b.known && b.streak < wellAfter) {
		return
	}
	b.healthy, b.known, b.streak = !b.healthy, true, 0
	p.desk.count.healthy.WithLabelValues(string(id)).Set(gauge(b.healthy))
	if b.healthy {
		p.desk.log.Info("the bot is healthy", "app", id)
	} else {
		p.desk.log.Warn("the bot is sick: it gets no new calls", "app", id, "err", err)
	}
}

// well reports whether the app's bot is healthy.
func (p *poller) well(app ownership.AppID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bots[app].healthy
}

// worst folds all bots into one: a node takes calls of any of its apps.
func (p *poller) worst() (healthy bool, load float64, room int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	healthy = true
	for _, b := range p.bots {
		healthy = healthy && b.healthy && !b.report.Draining
		load = max(load, b.report.Load)
		if c := b.report.Capacity; c > 0 && (room == 0 || c < room) {
			room = c
		}
	}
	return healthy, load, room
}

// sane keeps a bot's slip from bending the placement.
func (r Report) sane() Report {
	if !(r.Load >= 0) { // also not a number
		r.Load = 0
	}
	r.Load = min(r.Load, 1)
	r.Capacity = max(r.Capacity, 0)
	return r
}

func gauge(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
