package bot

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

const (
	seenBatch = 1000 // calls in one Seen
	slice     = 256  // queues that maintenance looks at before it lets others in
)

// maintenance is what is due by the clock: keepAlives, signs of life, and calls
// that are forgotten.
type maintenance struct{ *deliverer }

// maintain tells bots what they are owed, sends keepAlives that are due, tells the table of calls that show
// life, and forgets what is old.
func (d *maintenance) maintain() {
	t := time.NewTicker(maintainEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			d.notifyOwed()
			d.tellSeen(d.round())
		case <-d.open.Done():
			return
		}
	}
}

// dueAt brings the queue's turn in maintenance forward to the first round at or
// after a moment. Each queue stands in one slot, that of its next turn; where its
// turn came forward, the later slot still names it in vain. The lock is held.
func (d *queues) dueAt(l *callQueue, when moment) {
	slot := int32((int64(when) + int64(maintainEvery) - 1) / int64(maintainEvery))
	if l.dropped || l.slot != 0 && l.slot <= slot {
		return
	}
	l.slot = slot
	d.dues[slot] = append(d.dues[slot], l)
}

// round gives the queues their turn whose time has come, a slice at a time, and
// gives the live ones that the table has to hear of.
func (d *maintenance) round() (seen []*callQueue) {
	for {
		queues, more := d.dueQueues()
		seen = append(seen, d.visit(queues)...)
		if !more {
			return seen
		}
	}
}

// dueQueues takes a slice of what is due.
func (d *queues) dueQueues() (queues []*callQueue, more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := int32(int64(d.now()) / int64(maintainEvery))
	for slot, in := range d.dues {
		if slot > now {
			continue
		}
		n := min(len(in), slice-len(queues))
		for _, l := range in[len(in)-n:] {
			if l.slot == slot && !l.dropped {
				l.slot = 0
				queues = append(queues, l)
			}
		}
		if d.dues[slot] = in[:len(in)-n]; len(in) == n {
			delete(d.dues, slot)
		}
		if len(queues) == slice {
			return queues, true
		}
	}
	return queues, false
}

// visit does what is due for each queue: a keepAlive, a word to the table, and
// forgetting.
func (d *maintenance) visit(queues []*callQueue) (seen []*callQueue) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for _, l := range queues {
		if l.dropped {
			continue
		}
		if l.beatAt != 0 && l.beatAt <= now && !d.closed {
			l.beatAt = now.add(beatEvery) // beat corrects it when it fails
			d.beatSoon(l)
		}
		if l.endedAt == 0 && l.active > l.seenTold && now.since(l.seenTold) >= seenEvery {
			seen = append(seen, l)
		}
		d.rangTooLong(l, now)
		l.prune(now)
		ended := l.endedAt != 0 && now.since(l.endedAt) > rememberFor
		if !l.busy && l.todo == nil && (ended || now.since(l.active) > idleLimit) {
			d.drop(l)
			continue
		}
		d.dueAt(l, l.nextTurn(now))
	}
	return seen
}

// nextTurn says when maintenance has to look at the queue again: at the latest in
// rememberFor, so that a slot does not hold what was dropped for long. The lock
// is held.
func (l *callQueue) nextTurn(now moment) moment {
	next := now.add(rememberFor)
	if l.beatAt != 0 {
		next = min(next, l.beatAt)
	}
	if l.endedAt == 0 && l.active > l.seenTold {
		next = min(next, l.seenTold.add(seenEvery))
	}
	if l.tally != nil && l.answered == 0 {
		next = min(next, l.since.add(unansweredAfter))
	}
	if l.endedAt != 0 {
		next = min(next, l.endedAt.add(rememberFor))
	}
	if len(l.handled) > 0 {
		next = min(next, l.handled[0].at.add(rememberFor))
	}
	return max(next, now+1)
}

// beatSoon has one of the app's few goroutines send a keepAlive. The lock is held.
func (d *maintenance) beatSoon(l *callQueue) {
	a := l.app
	a.beats = append(a.beats, l)
	if a.beating == beatAtOnce {
		return
	}
	a.beating++
	d.work.Go(func() {
		for {
			d.mu.Lock()
			if len(a.beats) == 0 || d.closed {
				a.beats = nil
				a.beating--
				d.mu.Unlock()
				return
			}
			l := a.beats[0]
			a.beats = a.beats[1:]
			d.mu.Unlock()
			d.beat(l)
		}
	})
}

// beat sends one keepAlive. 404 means that the end of the call was missed.
func (d *maintenance) beat(l *callQueue) {
	d.mu.Lock()
	h := l.handOver()
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(d.base, 20*time.Second)
	defer cancel()
	defer d.effects.begin(h.Partition)()
	err := l.app.Graph.KeepAlive(ctx, h.RawCall, d.permit(h, ""))
	result := "ok"
	switch {
	case err == nil:
		d.touch(l, 0)
	case errors.Is(err, graph.ErrGone):
		result = "gone"
		d.end(l, h, "Graph knew it no longer at a keepAlive")
	case errors.Is(err, ownership.ErrFenced):
		result = "fenced" // the lease comes back, or the queue falls silent and goes
		d.beatAgain(l)
	default:
		result = "failed"
		d.beatAgain(l)
	}
	d.count.beats.WithLabelValues(result).Inc()
	d.logAction("keepAlive", h, err)
}

func (d *maintenance) beatAgain(l *callQueue) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.beatAt != 0 {
		l.beatAt = d.now().add(beatRetry + mathrand.N(beatRetry/4))
		d.dueAt(l, l.beatAt)
	}
}

// tellSeen tells the table of live calls that showed life since it last heard of
// them, many in one act, each once in seenEvery.
func (d *maintenance) tellSeen(queues []*callQueue) {
	for some := range slices.Chunk(queues, seenBatch) {
		d.tellSeenOf(some)
	}
}

func (d *maintenance) tellSeenOf(queues []*callQueue) {
	calls := make([]ownership.CallID, len(queues))
	for i, l := range queues {
		calls[i] = l.call
	}
	ctx, cancel := context.WithTimeout(d.open, maintainEvery)
	defer cancel()
	now := d.conf.Now()
	err := d.apply(ctx, ownership.Seen{At: now, Calls: calls})
	if err != nil {
		d.log.Warn("the table did not hear which calls live; the next round tells it", "calls", len(calls), "err", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range queues {
		if err == nil {
			l.seenTold = at(now)
		} else {
			d.dueAt(l, at(now))
		}
	}
}
