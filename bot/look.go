package bot

import (
	"context"
	"iter"
	"maps"
	"slices"

	"tandem/ownership"
)

// Sight is what the table shows of one partition.
type Sight struct {
	Partition ownership.PartitionID
	Epoch     ownership.Epoch // the partition's, if this node owns it; else 0
	// Calls are its calls, with who acts for each and at which epoch; those that ring
	// best come first. nil: none of them is this node's.
	Calls iter.Seq[ownership.Call]
	URI   func(ownership.Call) string // the callback URI of a call at the epoch that it has
}

// adoptions is what a change of owner asks of the node that has the call now.
type adoptions struct{ *deliverer }

// Look compares the dispatcher with what the table shows of a partition, whenever calls
// of it may stand differently: this node got it or lost it, started, or what is
// reserved for a silent node has lapsed, was reclaimed, came or went. It returns
// without waiting for bots; the work goes on per call, those that ring first, by
// their deadlines, and waits for the lease if there is none yet.
//
// What is this node's now and was not:
//
//   - Ringing (claimed, its deadline not over): answered by this node, by the
//     router or by the bot as the app is set up; the bot is told `adopted`.
//   - Claimed, and its deadline over: Graph is asked whether the dead owner had
//     answered it after all; if nobody can ask, the bot is told `adopted`.
//   - Answered: the bot is told `adopted`; keepAlives go on. Where the bot does not
//     know a call whose media should be with it (it answers 4xx), `rejoin` follows.
//   - Orphaned: the bot is told `rejoin`, and when it takes that the table hears
//     that the call has been taken up.
//
// What was this node's and stands elsewhere now, answered, or was ended by somebody
// else: the bot is told `lost`.
// Of what has not changed nobody is told anything.
func (d *adoptions) Look(s Sight) {
	var ring []ownership.Call
	answer := func() {
		slices.SortStableFunc(ring, func(a, b ownership.Call) int { return a.Deadline.Compare(b.Deadline) })
		for _, c := range ring {
			d.takeOn(c, s)
		}
		ring = nil
	}
	if s.Calls != nil {
		for c := range s.Calls {
			switch {
			case c.Owner != d.conf.Node:
				d.lostBefore(c)
			case c.State == ownership.CallClaimed:
				ring = append(ring, c)
			case c.State != ownership.CallEnded:
				answer()
				d.takeOn(c, s)
			}
		}
	}
	answer()
	d.mu.Lock()
	p := d.partOf(s.Partition)
	p.seen = max(p.seen, s.Epoch)
	queues := slices.Collect(maps.Values(p.queues))
	d.mu.Unlock()
	var lost []*callQueue
	for _, l := range queues {
		if k, ok := d.ledger.Find(l.call); ok && k.Owner != "" && d.compare(l, k) {
			lost = append(lost, l)
		}
	}
	d.tellLost(lost)
}

// takeOn gives a call of this node's a queue, and the queue what it has to do.
func (d *adoptions) takeOn(c ownership.Call, s Sight) {
	app := d.apps[c.App]
	if app == nil {
		d.log.Error("a call was not adopted: no bot of this node serves its app", "call", c.ID, "app", c.App, "epoch", c.Epoch)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.partOf(c.Partition).queues[c.ID]
	fresh := d.partOf(c.Partition).seen < s.Epoch // so are the calls that this epoch began with
	switch ringing := c.State == ownership.CallClaimed; {
	case d.closed:
		return
	case l == nil && ringing && !fresh && c.Placement.Epoch == c.Epoch:
		return // a new call; its first notification is on its way here
	case l == nil:
		var err error
		if l, err = d.queueOf(app, ownership.HandOver{Call: c.ID, RawCall: rawID(c), Partition: c.Partition, Epoch: c.Epoch}); err != nil {
			return // it cannot be: there was no queue
		}
	case l.app != app:
		d.log.Error("a call was not adopted: the dispatcher knows it as another app's", "call", c.ID, "app", c.App, "epoch", c.Epoch)
		return
	case l.endedAt != 0:
		return // compare tells the table again
	case ringing && l.answered != 0:
		c.State = ownership.CallAnswered // and again
	case ringing && l.hasFirst(c.Epoch):
		l.epoch = c.Epoch
		return // the cloud's repeat was faster: one answer for an epoch
	}
	l.epoch = c.Epoch // the table's word, should it be a lower one
	orphan := c.State == ownership.CallOrphaned
	if l.held == c.Epoch && (!orphan || l.orphan) {
		return
	}
	l.orphan, l.untaken = orphan, false                          // it may have rung here at the same epoch: a former owner's answer came late
	back := l.todo != nil && l.todo.event == ownership.EventLost // it was away, and the bot has not heard of that
	l.held = c.Epoch
	l.thread, l.organiz = l.thread || c.Thread != "", l.organiz || c.Organizer != ""
	if c.State != ownership.CallClaimed && l.answered == 0 {
		l.answered = c.Epoch
	}
	if c.State == ownership.CallAnswered && app.Answer == AnswerByRouter && !c.Pinned {
		l.beatAt = d.now() // nobody knows when the last one was
		d.dueAt(l, l.beatAt)
	}
	if back && c.State == ownership.CallAnswered && c.Pinned {
		l.todo = nil
		return
	}
	d.plan(l, d.adoption(l, c, s.URI))
}

func (l *callQueue) hasFirst(epoch ownership.Epoch) bool {
	e, k := l.findFirst(epoch)
	return e != nil || k != nil
}

// lostBefore makes a queue for a call that was this node's before the router
// started anew, and that died as far as the region knows: a bot that lived on
// has to let go of it.
func (d *queues) lostBefore(c ownership.Call) {
	app := d.apps[c.App]
	if app == nil || c.Owner == "" || c.State != ownership.CallOrphaned || c.Placement.Owner != d.conf.Node {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.partOf(c.Partition).queues[c.ID] != nil {
		return
	}
	h := ownership.HandOver{Call: c.ID, RawCall: rawID(c), Partition: c.Partition, Epoch: c.Epoch}
	if l, err := d.queueOf(app, h); err == nil {
		l.had, l.answered = true, c.Placement.Epoch
	}
}

// compare brings a queue and the table's word of its call together, and reports
// whether the bot is to hear that the call is lost.
func (d *records) compare(l *callQueue, k ownership.Known) (lost bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case k.App != l.app.ID || k.Partition != l.partition || l.dropped:
		return false
	case k.State == ownership.CallEnded:
		over := l.endedAt != 0
		if d.ended(l, false); over || !l.had || l.letGo {
			return false
		}
		l.todo = &todo{event: ownership.EventLost, held: true} // somebody else ended it
		return true
	}
	d.tellAgain(l, k)
	if k.Owner == d.conf.Node {
		return false
	}
	l.held, l.beatAt = 0, 0
	d.settled(l, isOther)
	if l.endedAt != 0 || l.todo != nil && l.todo.event == ownership.EventLost {
		return false
	}
	l.todo = nil
	if !l.had || l.letGo || l.answered == 0 {
		return false
	}
	l.todo = &todo{event: ownership.EventLost, held: true}
	return true
}

// ended ends a queue. The lock is held.
func (d *queues) ended(l *callQueue, told bool) {
	if l.endedAt == 0 {
		l.endedAt, l.told = d.now(), told
		d.dueAt(l, l.endedAt.add(rememberFor))
	}
	l.beatAt, l.todo = 0, nil
	d.settled(l, isOther)
}

// tellLost tells bots of calls that are another node's now. It takes its time: a
// node that was away is asked to come back first, and gets again what nobody has
// taken up.
func (d *adoptions) tellLost(queues []*callQueue) {
	if len(queues) == 0 {
		return
	}
	d.spawn(func() {
		for {
			leased := d.conf.Leased()
			if !d.waitToTell(d.base, lostPause) {
				return
			}
			if leased && d.conf.Leased() {
				break
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, l := range queues {
			if t := l.todo; t != nil && t.event == ownership.EventLost && t.held {
				t.held = false
				t.do = func(ctx context.Context, t *todo, _ *delivery) (ownership.Reply, error) { return d.letGo(ctx, l, t) }
				d.plan(l, t)
			}
		}
	})
}

func (d *adoptions) letGo(ctx context.Context, l *callQueue, t *todo) (ownership.Reply, error) {
	k, ok := d.ledger.Find(l.call)
	if !ok || k.State != ownership.CallEnded && (k.Owner == d.conf.Node || d.over(l)) {
		return accepted(), nil
	}
	d.mu.Lock()
	c := ownership.Call{ID: l.call, RawCall: l.raw(), App: k.App, Partition: k.Partition, Owner: k.Owner, Epoch: k.Epoch, State: k.State, Pinned: k.Pinned}
	d.mu.Unlock()
	h, err := eventOf(ownership.EventLost, c, "")
	if err != nil {
		return ownership.Reply{}, err
	}
	reply, err := d.tell(ctx, l, t, h)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		l.letGo, l.had, l.held = true, false, 0
	}
	return reply, err
}

// spawn runs work that no queue does, unless the dispatcher closes.
func (d *queues) spawn(work func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.work.Go(work)
	}
}
