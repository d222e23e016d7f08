package graphsim

import (
	"context"
	"fmt"
	"time"
)

// Load is how many calls to make.
type Load struct {
	Rate     float64       // new calls a second, in bursts of a Poisson stream
	Duration time.Duration // 0: until MaxCalls
	MaxCalls int           // 0: until Duration; one of the two must be set
	MaxLive  int           // calls and repeats under way at once, default 2000: the load waits
}

// Run makes calls until the load's end; calls that live then go on, and Settle
// waits for them. The end of ctx cuts them off.
func (c *Cloud) Run(ctx context.Context, load Load) error {
	if load.Rate <= 0 || load.Duration <= 0 && load.MaxCalls <= 0 {
		return fmt.Errorf("running a load: it needs a rate and a duration or a number of calls")
	}
	if len(c.places.names()) == 0 {
		return fmt.Errorf("running a load: the webhook's name resolves to no node")
	}
	set(&load.MaxLive, 2000)
	// Calls outlive Run, so they hang on the cloud's life as well as on ctx.
	calls, cut := context.WithCancel(c.ctx)
	context.AfterFunc(ctx, cut)
	d := c.runDice()
	start, made, rotated := time.Now(), 0, c.cfg.Switches.KeepKey
	next := start
	for {
		if load.MaxCalls > 0 && made >= load.MaxCalls || load.Duration > 0 && time.Since(start) >= load.Duration {
			return nil
		}
		if !rotated && load.through(start, made) > 0.4 {
			rotated = true
			if err := c.RotateKeys(RotateOverlap); err != nil {
				return fmt.Errorf("running a load: %w", err)
			}
		}
		for _, k := range c.arrivals(d, load.MaxCalls, made) {
			next = next.Add(d.arrival(load.Rate))
			if err := wait(ctx, time.Until(next)); err != nil {
				return fmt.Errorf("running a load: %w", err)
			}
			if err := c.tasks.settle(ctx, load.MaxLive); err != nil {
				return fmt.Errorf("running a load: %w", err)
			}
			if made++; made%256 == 0 {
				c.ledger.fold(time.Now().Add(-foldAfter), c.cfg.Remember)
			}
			k.due = next
			c.ledger.begin(k)
			if !c.tasks.run(func() { c.live(calls, k) }) {
				return fmt.Errorf("running a load: the cloud is closed")
			}
		}
	}
}

// runDice gives each run of a cloud choices of its own: chains and threads of
// one run must not come back in the next.
func (c *Cloud) runDice() *dice {
	c.birthsMu.Lock()
	defer c.birthsMu.Unlock()
	c.runs++
	return newDice(c.cfg.Seed, (c.runs-1)<<32+2)
}

// through is the share of the load that is over.
func (l Load) through(start time.Time, made int) float64 {
	var part float64
	if l.MaxCalls > 0 {
		part = float64(made) / float64(l.MaxCalls)
	}
	if l.Duration > 0 {
		part = max(part, float64(time.Since(start))/float64(l.Duration))
	}
	return part
}

// arrivals are the next calls: one, or those of a meeting, a repeated recording
// or a pair of recorders.
func (c *Cloud) arrivals(d *dice, limit, made int) []*call {
	r := c.cfg.Rates
	// Repeats of a recording and a pair of recorders observe one person.
	lead := draft{chain: d.guid(), observed: d.guid(), origin: c.origin(d), recording: d.chance(r.Recording)}
	count := 1
	switch {
	case lead.recording && d.chance(r.Paired):
		count, lead.paired = 2, true
	case lead.recording && d.chance(r.NewIDs):
		count = 2 + d.n(3)
	case !lead.recording && d.chance(r.Meeting):
		count = 2 + d.n(3)
		lead.thread = "19:meeting_" + d.guid() + "@thread.v2"
	}
	if limit > 0 {
		count = min(count, limit-made)
	}
	lead.app = c.cfg.Apps[d.n(len(c.cfg.Apps))]
	var calls []*call
	for range count {
		k := c.newCall(lead)
		lead.tenant = k.tenant // calls that belong together are of one tenant
		if len(calls) > 0 && lead.thread != "" && c.cfg.Switches.InviteOnCallback {
			k.host = calls[0]
		}
		calls = append(calls, k)
	}
	return calls
}

// origin draws where a call comes from.
func (c *Cloud) origin(d *dice) Origin {
	origins := c.cfg.Origins
	if len(origins) == 0 {
		for _, region := range c.places.names() {
			origins = append(origins, nearby(region))
		}
	}
	i := d.weighted(len(origins), func(i int) float64 {
		if origins[i].Weight > 0 {
			return origins[i].Weight
		}
		return 1
	})
	if i < 0 {
		return nearby("emea")
	}
	return origins[i]
}

func nearby(region string) Origin {
	country := map[string]string{"amer": "US", "apac": "SG", "emea": "HU"}[region]
	set(&country, "HU")
	return Origin{Geo: region, Country: country, Near: region}
}

// newCall begins a call; its random choices are its own.
func (c *Cloud) newCall(f draft) *call {
	c.birthsMu.Lock()
	c.births++
	d := newDice(c.cfg.Seed, 100+c.births)
	c.birthsMu.Unlock()
	k := &call{
		draft: f, raw: d.guid(),
		webhookPath: c.cfg.WebhookPath, clock: c.cfg.Timings.Clock, dice: d, born: time.Now(),
		answered: make(chan struct{}), hangup: make(chan struct{}), gone: make(chan struct{}),
	}
	k.id = normal(k.raw)
	if k.app.ID == "" {
		k.app = c.cfg.Apps[0]
	}
	if k.recording {
		k.clock = c.cfg.Timings.RecordingClock
	}
	if k.tenant == "" {
		k.tenant = k.app.Tenants[d.n(len(k.app.Tenants))]
	}
	set(&k.chain, d.guid())
	k.region = f.origin.Near
	if names := c.places.names(); len(names) > 0 && (k.region == "" || d.chance(c.cfg.Rates.Skew)) {
		k.region = names[d.n(len(names))]
	}
	k.dc = "dc-" + k.region
	token, err := c.Mint(TokenOptions{Audience: k.app.ID, Tenant: k.tenant})
	if err != nil {
		c.cfg.Logger.Error("minting a token", "err", err)
	}
	k.token = token
	return k
}

// neighbours finds other established calls whose notifications may share a body
// with k's: same app, tenant and region.
func (c *Cloud) neighbours(k *call, limit int) []*call {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	recent := l.order[max(0, len(l.order)-200):]
	from := k.dice.n(len(recent))
	var found []*call
	for i := range recent {
		o := recent[(from+i)%len(recent)]
		if len(found) < limit && o != k && o.app.ID == k.app.ID && o.tenant == k.tenant && !o.answeredAt.IsZero() &&
			o.home == k.home && !o.over && o.end == nil {
			found = append(found, o)
		}
	}
	return found
}

// Settle waits until all calls are over, and, for Timings.Grace at most, until
// the bots have been handed what was answered with 2xx.
func (c *Cloud) Settle(ctx context.Context) error {
	if err := c.tasks.settle(ctx, 1); err != nil { // the server's goroutine stays
		return fmt.Errorf("settling the calls: %d are not over: %w", c.tasks.count()-1, err)
	}
	grace, cancel := context.WithTimeout(ctx, c.cfg.Timings.Grace)
	defer cancel()
	for {
		changed := c.ledger.change()
		if r := c.Report(); r.Lost == 0 && r.NotificationsHandled+r.Ignored+r.notTaken() >= r.NotificationsSent {
			return nil
		}
		select {
		case <-changed:
		case <-grace.Done():
			return nil // what is missing then is lost
		}
	}
}
