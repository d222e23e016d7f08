package graphsim

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// live is one call's life from the first POST to the last.
func (c *Cloud) live(ctx context.Context, k *call) {
	defer c.closeCall(ctx, k)
	if !k.outgoing {
		rang := c.ring(ctx, k)
		if rang || !k.isGone() {
			c.cfg.timed(ctx, TimedAnswer, k.due, rang)
		}
		if !rang {
			return
		}
	}
	if !k.rejected(c) {
		c.establish(ctx, k)
		c.talk(ctx, k)
	}
	c.hangUp(ctx, k)
}

// isGone reports whether the caller hung up while it rang.
func (k *call) isGone() bool {
	select {
	case <-k.gone:
		return true
	default:
		return false
	}
}

func (k *call) rejected(c *Cloud) bool {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	return !k.rejectedAt.IsZero()
}

// closeCall ends what the cloud knows of a call.
func (c *Cloud) closeCall(ctx context.Context, k *call) {
	c.ledger.count(func(*ledger) {
		k.ends()
		k.overAt = time.Now()
		k.abandoned = k.abandoned || ctx.Err() != nil
	})
}

// ring sends the first notification, legacy first where drawn, and waits for
// the answer until the clock has run out.
func (c *Cloud) ring(ctx context.Context, k *call) bool {
	r := c.cfg.Rates
	c.awaitHost(ctx, k)
	c.ledger.count(func(*ledger) { k.firstPost = time.Now() })
	old := k.dice.chance(r.Legacy)
	if old && !c.handshake(ctx, k) {
		return false
	}
	n := &notice{call: k, what: "incoming", first: true}
	body, count := c.incoming(k), 1
	if k.dice.chance(r.ManyDCs) {
		count += 1 + k.dice.n(2)
	}
	parcels := make([]parcel, count)
	var messages []string
	for i := range parcels {
		parcels[i] = c.firstParcel(k, body, i > 0, n)
		messages = append(messages, parcels[i].message)
	}
	c.ledger.enter(n, body, messages...)
	for _, p := range parcels[1:] {
		c.tasks.run(func() { c.again(ctx, p, 0) })
	}
	c.maybeTwice(ctx, parcels[0])
	c.maybeGone(ctx, k)
	c.tell(k, k.dc, "", "incoming "+k.kind())
	if reply := c.deliver(ctx, parcels[0]); reply.err != nil {
		c.tell(k, k.dc, "", reply.err.Error())
		return false
	}
	if !c.awaitAnswer(ctx, k) {
		return false
	}
	if old && k.dice.chance(r.LegacyAgain) {
		c.tasks.run(func() { c.handshake(ctx, k) })
	}
	return true
}

// maybeGone lets the caller hang up while it rings, most often at once: a router
// that answers within milliseconds meets little else. There is no callback URI
// yet, so the webhook is told, as of a call that was rejected.
func (c *Cloud) maybeGone(ctx context.Context, k *call) {
	d := k.dice
	if !d.chance(c.cfg.Rates.HangUp) {
		return
	}
	pause := d.between(0, 20*time.Millisecond)
	if d.chance(0.3) {
		pause = d.between(0, 3*time.Second)
	}
	c.tasks.run(func() {
		if wait(ctx, pause) != nil {
			return
		}
		rings := false
		c.ledger.count(func(*ledger) {
			if rings = !k.settled() && !k.over; rings {
				k.hungUp = true
				k.ends()
				close(k.gone)
			}
		})
		if rings {
			c.update(ctx, k, "terminated", endItem(k, "The caller hung up."))
		}
	})
}

// handshake posts the legacy form: 204 says that the bot speaks Graph.
func (c *Cloud) handshake(ctx context.Context, k *call) bool {
	p := c.firstParcel(k, legacy(k), false)
	p.legacy = true
	p.header.Set("Content-Type", "application/json; charset=utf-8")
	r := c.deliver(ctx, p)
	if r.err == nil && (r.status != http.StatusNoContent || r.body != "") {
		c.stray(p, spot{node: "the webhook"}, fmt.Sprintf("answered a legacy notification with %d and %d bytes, not with an empty 204", r.status, len(r.body)))
		return false
	}
	if r.err != nil {
		c.tell(k, k.dc, "", "handshake: "+r.err.Error())
		return false
	}
	c.ledger.count(func(l *ledger) { l.handshakes++ })
	return true
}

// awaitAnswer waits for the answer; the caller hangs up when the clock runs out.
func (c *Cloud) awaitAnswer(ctx context.Context, k *call) bool {
	select {
	case <-k.answered:
		return true
	default:
	}
	c.ledger.mu.Lock()
	rest := time.Until(k.firstPost.Add(k.clock))
	c.ledger.mu.Unlock()
	t := time.NewTimer(rest)
	defer t.Stop()
	select {
	case <-k.answered:
		return true
	case <-k.gone:
		c.tell(k, k.dc, "", "the caller hung up")
	case <-t.C:
		c.tell(k, k.dc, "", "not answered in time")
	case <-ctx.Done():
	}
	return false
}

// establish tells of the media: the two states may swap or overtake each other
// (note in Graph's call-answer).
func (c *Cloud) establish(ctx context.Context, k *call) {
	first, second := "establishing", "established"
	if !k.dice.chance(c.cfg.Rates.Swapped) {
		c.update(ctx, k, first, stateItem(k, first))
		c.update(ctx, k, second, stateItem(k, second))
		return
	}
	if k.dice.chance(0.5) {
		c.update(ctx, k, second, stateItem(k, second))
		c.update(ctx, k, first, stateItem(k, first))
		return
	}
	both := make(chan struct{})
	c.tasks.run(func() {
		defer close(both)
		c.update(ctx, k, first, stateItem(k, first))
	})
	c.update(ctx, k, second, stateItem(k, second))
	<-both
}

// talk sends what happens in an established call, until it ends by itself, by
// DELETE, or for want of keepAlive.
func (c *Cloud) talk(ctx context.Context, k *call) {
	d, t := k.dice, c.cfg.Timings
	steps := 2 + d.n(4)
	pause := d.between(t.TalkMin, t.TalkMax) / time.Duration(steps)
	joining := -1
	if d.chance(c.cfg.Rates.Joining) {
		joining = d.n(steps)
	}
	for i := range steps {
		if !c.quiet(ctx, k, pause) {
			return
		}
		if i == joining {
			c.update(ctx, k, "participant joining", joiningItem(k))
			continue
		}
		switch d.n(5) {
		case 0:
			c.update(ctx, k, "tone", toneItem(k, i))
		case 1:
			c.update(ctx, k, "roster", rosterItem(k, i))
		case 2:
			c.update(ctx, k, "delta roster", deltaRosterItem(k, i))
		case 3:
			c.update(ctx, k, "content sharing", sharingItem(k))
		default:
			c.update(ctx, k, "operation done", operationItem(k))
		}
	}
}

// quiet waits between two notifications; false when the call is to end.
func (c *Cloud) quiet(ctx context.Context, k *call, pause time.Duration) bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-k.hangup:
		return false
	case <-ctx.Done():
		return false
	}
	limit := c.cfg.Timings.KeepAlive
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	last := k.answeredAt
	if k.keptAt.After(last) {
		last = k.keptAt
	}
	return limit == 0 || time.Since(last) < limit
}

// hangUp sends the end, and sometimes more than that.
func (c *Cloud) hangUp(ctx context.Context, k *call) {
	if k.dice.chance(c.cfg.Rates.NoEnd) {
		return
	}
	it := endItem(k, "The conversation has ended.")
	c.ledger.count(func(*ledger) {
		if k.died != "" {
			it = diedItem(k)
		}
	})
	c.update(ctx, k, "terminated", it)
	c.ledger.count(func(*ledger) { k.ends() })
	if it.change == "updated" {
		c.update(ctx, k, "deleted", item{call: k, change: "deleted"})
	}
	if k.dice.chance(c.cfg.Rates.LateUpdate) {
		c.update(ctx, k, "late roster", rosterItem(k, 1))
	}
}

// update sends a notification to the callback URI and waits for its delivery.
func (c *Cloud) update(ctx context.Context, k *call, what string, it item) {
	if ctx.Err() != nil {
		return
	}
	d, r := k.dice, c.cfg.Rates
	n := &notice{call: k, what: what}
	notices, items := []*notice{n}, []item{it}
	switch {
	case what == "participant joining":
		n.wantBody = joinReply
	case what != "terminated" && d.chance(r.Batch):
		for _, other := range c.neighbours(k, 1+d.n(3)) {
			notices = append(notices, &notice{call: other, what: "tone in a batch"})
			items = append(items, toneItem(other, 1))
		}
		last := d.n(len(items))
		items[0], items[last] = items[last], items[0]
	case what != "terminated":
		n.botFails = d.chance(r.BotFails)
	}
	var callback string
	c.ledger.count(func(*ledger) {
		callback = k.callback
		n.loose = callback == ""
		if what == "terminated" {
			k.end = n
		}
	})
	body, message := c.envelope(d, items...), d.guid()
	for _, n := range notices {
		c.ledger.enter(n, body, message)
	}
	p := parcel{
		call: k, notices: notices, message: message, body: body, midcall: callback != "",
		header: c.header(k, message), to: func() (spot, bool) {
			astray := d.chance(r.Astray)
			at, ok := c.webhook(k, false) // of one that was rejected without a callback URI
			if callback != "" {
				at, ok = c.places.resolve(callback, d), true
			}
			if astray {
				at = c.places.elsewhere(at, d)
			}
			return at, ok
		},
	}
	p.header.Set("Scenario-Id", k.chain)
	c.maybeTwice(ctx, p)
	due := time.Now()
	reply := c.deliver(ctx, p)
	c.cfg.timed(ctx, TimedFollowUp, due, reply.err == nil)
	if reply.err != nil {
		c.tell(k, k.dc, "", what+": "+reply.err.Error())
	}
}

// maybeTwice sends the parcel a second time, at once or later.
func (c *Cloud) maybeTwice(ctx context.Context, p parcel) {
	d := p.call.dice
	if !d.chance(c.cfg.Rates.Duplicate) {
		return
	}
	var pause time.Duration
	if d.chance(0.5) {
		pause = d.between(0, time.Second)
	}
	c.tasks.run(func() { c.again(ctx, p, pause) })
}
