package bot

import (
	"context"
	"sync"
	"time"

	"tandem/ownership"
	"tandem/spelling"
)

// Report is what a bot says of itself.
type Report struct {
	Load     float64 `json:"load"`     // 0 to 1
	Capacity int     `json:"capacity"` // live calls it can hold; 0: not said
	Draining bool    `json:"draining"` // it wants no new calls
	Version  string  `json:"version"`  // what it calls its version; empty: not said
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

	// Hand-overs that fail tell more than a health check that is well: so many in a
	// row, of more than one call, and none between them that did not fail. One
	// notification that no bot can digest is not enough.
	failsAfter = 3
	// After a pause such a bot is tried again, if its health check is well. The first
	// hand-over that fails makes it sick again, for twice as long.
	firstTrial, longestTrial = 5 * time.Second, time.Minute
)

// patient is one app's bot as the dispatcher sees it.
type patient struct {
	app   *served
	gauge func(bool)

	mu      sync.Mutex
	healthy bool // by its health checks
	known   bool // it was healthy once
	streak  int  // checks in a row that contradict healthy
	report  Report

	fails    int // hand-overs in a row
	failed   ownership.CallID
	several  bool          // they were of more than one call
	pause    time.Duration // before it is tried again; 0: it does not fail
	resumeAt time.Time     // zero: it is not sick of that, or on trial
}

// watchHealth asks the bots for their health, each on its own.
func (d *Dispatcher) watchHealth() {
	for id, a := range d.apps {
		r, asks := a.Bot.(Reporter)
		if h, ok := a.Bot.(*HTTPBot); ok && h.health == "" {
			asks = false
		}
		p := &a.health
		p.app, p.healthy = a, !asks // those that cannot be asked are healthy from the start
		p.gauge = func(well bool) { d.count.healthy.WithLabelValues(string(id)).Set(gauge(well)) }
		p.gauge(p.healthy)
		if asks {
			d.loops.Go(func() { d.watch(a, r) })
		}
	}
}

func (d *Dispatcher) watch(a *served, r Reporter) {
	t := time.NewTicker(d.conf.HealthEvery)
	defer t.Stop()
	for {
		d.check(a, r)
		select {
		case <-t.C:
		case <-d.open.Done():
			return
		}
	}
}

func (d *Dispatcher) check(a *served, r Reporter) {
	ctx, cancel := context.WithTimeout(d.open, healthTime)
	defer cancel()
	report, err := r.Health(ctx)
	p := &a.health
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.report = report.sane()
	}
	if (err == nil) == p.healthy {
		p.streak = 0
		return
	}
	p.streak++
	if (p.healthy && p.streak < sickAfter) || (!p.healthy && p.known && p.streak < wellAfter) {
		return
	}
	p.healthy, p.known, p.streak = !p.healthy, true, 0
	p.gauge(p.healthy && !p.failing())
	if p.healthy {
		d.log.Info("the bot is healthy", "app", a.ID)
	} else {
		d.log.Warn("the bot is sick: it gets no new calls", "app", a.ID, "err", err)
	}
}

// judge counts how a hand-over went.
func (d *deliverer) judge(a *served, call ownership.CallID, err error, reply ownership.Reply) {
	p := &a.health
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && handled(reply) {
		if p.failing() {
			d.log.Info("the bot takes hand-overs again", "app", a.ID)
		}
		p.fails, p.several, p.pause, p.resumeAt = 0, false, 0, time.Time{}
		p.gauge(p.healthy)
		return
	}
	if p.fails++; p.fails == 1 {
		p.failed = call
	}
	p.several = p.several || call != p.failed
	if p.failing() || p.pause == 0 && (p.fails < failsAfter || !p.several) {
		return
	}
	p.pause = min(max(2*p.pause, firstTrial), longestTrial)
	p.resumeAt = time.Now().Add(p.pause)
	p.gauge(false)
	d.log.Warn("the bot fails: it gets no new calls for a while, whatever its health check says", "app", a.ID, "in_a_row", p.fails, "pause", p.pause)
}

// failing reports whether the bot is sick by what became of its hand-overs. It is
// on trial once the pause is over. The lock is held.
func (p *patient) failing() bool {
	if !p.resumeAt.IsZero() && p.healthy && !time.Now().Before(p.resumeAt) {
		p.resumeAt = time.Time{}
		p.gauge(true)
	}
	return !p.resumeAt.IsZero()
}

// well reports whether the bot's health checks are well. What it is owed is tried
// even while hand-overs fail: nothing else may be there to try.
func (p *patient) well() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.healthy
}

func (p *patient) fitness() ownership.AppFitness {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ownership.AppFitness{Bot: p.healthy && !p.failing() && !p.report.Draining, Load: p.report.Load, Room: p.report.Capacity}
}

// Health says app by app whether its bot takes new calls, with what it reported.
func (d *Dispatcher) Health() map[ownership.AppID]ownership.AppFitness {
	out := make(map[ownership.AppID]ownership.AppFitness, len(d.apps))
	for id, a := range d.apps {
		out[id] = a.health.fitness()
	}
	return out
}

// Worst folds the apps into one, for a region that knows of no apps: healthy when
// all bots take new calls, the highest load (0 to 1), and the least room (live
// calls; 0: none reported).
func Worst(apps map[ownership.AppID]ownership.AppFitness) (healthy bool, load float64, room int) {
	healthy = true
	for _, f := range apps {
		healthy = healthy && f.Bot
		load = max(load, f.Load)
		if f.Room > 0 && (room == 0 || f.Room < room) {
			room = f.Room
		}
	}
	return healthy, load, room
}

// sane keeps a bot's slip from bending the placement, and what is no version out of
// everything that shows one.
func (r Report) sane() Report {
	if !(r.Load >= 0) { // also not a number
		r.Load = 0
	}
	r.Load = min(r.Load, 1)
	r.Capacity = max(r.Capacity, 0)
	if spelling.Version(r.Version) != nil {
		r.Version = ""
	}
	return r
}

func gauge(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
