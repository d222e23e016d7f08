package bot

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

const seenBatch = 1000 // calls in one Seen

// keepHouse tells bots what they are owed, sends keepAlives that are due, tells the table of calls that show
// life, and forgets what is old.
func (d *Desk) keepHouse() {
	t := time.NewTicker(houseEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			d.payOff()
			d.beatDue()
			d.tellSeen()
			d.sweep()
		case <-d.open.Done():
			return
		}
	}
}

// beatDue starts the keepAlives whose time has come.
func (d *Desk) beatDue() {
	d.mu.Lock()
	now := d.conf.Now()
	var due []*line
	for _, l := range d.lines {
		if !l.beatAt.IsZero() && !l.beatAt.After(now) {
			l.beatAt = now.Add(beatEvery) // beat corrects it when it fails
			due = append(due, l)
		}
	}
	d.mu.Unlock()
	for _, l := range due {
		d.work.Go(func() { d.beat(l) })
	}
}

// beat sends one keepAlive. 404 means that the end of the call was missed.
func (d *Desk) beat(l *line) {
	select {
	case d.beats <- struct{}{}:
		defer func() { <-d.beats }()
	case <-d.open.Done():
		return
	}
	d.mu.Lock()
	h := l.handOver()
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(d.base, 20*time.Second)
	defer cancel()
	end := d.effects.begin(h.Partition)
	err := l.app.Graph.KeepAlive(ctx, h.RawCall, d.permit(h))
	end()
	result := "ok"
	switch {
	case err == nil:
		d.touch(l)
	case errors.Is(err, graph.ErrGone):
		result = "gone"
		d.end(l, h, "Graph knew it no longer at a keepAlive")
	case errors.Is(err, ownership.ErrFenced):
		result = "fenced" // the lease comes back, or the line falls silent and goes
		d.beatAgain(l)
	default:
		result = "failed"
		d.beatAgain(l)
	}
	d.count.beats.WithLabelValues(result).Inc()
	d.logAction("keepAlive", h, err)
}

func (d *Desk) beatAgain(l *line) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !l.beatAt.IsZero() {
		l.beatAt = d.conf.Now().Add(beatRetry + mathrand.N(beatRetry/4))
	}
}

// handOver gives the line's place for actions that no notification asked for.
// The lock is held.
func (l *line) handOver() ownership.HandOver {
	return ownership.HandOver{App: l.app.ID, Call: l.call, RawCall: l.rawCall, Partition: l.partition, Epoch: l.epoch}
}

// tellSeen tells the table, in one act, of live calls that showed life since it
// last heard of them, each once in seenEvery.
func (d *Desk) tellSeen() {
	d.mu.Lock()
	now := d.conf.Now()
	var calls []ownership.CallID
	var lines []*line
	for id, l := range d.lines {
		if l.endedAt.IsZero() && l.active.After(l.seenTold) && now.Sub(l.seenTold) >= seenEvery && len(calls) < seenBatch {
			calls, lines = append(calls, id), append(lines, l)
		}
	}
	d.mu.Unlock()
	if len(calls) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(d.open, houseEvery)
	defer cancel()
	if err := d.apply(ctx, ownership.Seen{At: now, Calls: calls}); err != nil {
		d.log.Warn("the table did not hear which calls live", "calls", len(calls), "err", err)
		return // the next round tells it
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range lines {
		l.seenTold = now
	}
}

// sweep forgets calls that ended a tombstone's life ago, and silent ones.
func (d *Desk) sweep() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.conf.Now()
	for id, l := range d.lines {
		ended := !l.endedAt.IsZero() && now.Sub(l.endedAt) > rememberFor
		if !l.busy && (ended || now.Sub(l.active) > idleLimit) {
			delete(d.lines, id)
		}
	}
}
