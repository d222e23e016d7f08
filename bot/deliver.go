package bot

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"tandem/ownership"
)

const (
	firstTellPause   = 200 * time.Millisecond
	longestTellPause = 5 * time.Second
)

// Update takes any later notification of a call and gives the bot's reply. One
// that comes after the call's end is 202 and goes no further.
func (d *Desk) Update(ctx context.Context, h ownership.HandOver) (ownership.Reply, error) {
	h.Event = ownership.EventUpdate
	app := d.apps[h.App]
	if app == nil {
		return ownership.Reply{}, failed(h, ErrUnserved, nil)
	}
	e, err := d.follow(app, h)
	switch {
	case err != nil:
		return ownership.Reply{}, failed(h, err, nil)
	case e == nil:
		return accepted(), nil
	}
	return d.await(ctx, h, e)
}

// follow finds or makes the entry of an update.
func (d *Desk) follow(app *App, h ownership.HandOver) (*entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	l, err := d.lineOf(app, h)
	if err != nil {
		return nil, err
	}
	if known := l.kept[keyOf(h)]; known != nil {
		d.count.repeats.WithLabelValues(string(h.Event)).Inc()
		return known, nil
	}
	if !l.endedAt.IsZero() {
		d.count.late.Inc()
		return nil, nil
	}
	// An epoch in the callback URI that has passed means "adopted since": the bot
	// and the table hear the present one.
	h.Partition, h.Epoch = l.partition, l.epoch
	e := &entry{key: keyOf(h), work: func(ctx context.Context, _ *entry) (ownership.Reply, error) {
		return d.pass(ctx, l, h)
	}}
	return e, d.push(l, e)
}

// pass hands an update to the bot and draws what follows for the call.
func (d *Desk) pass(ctx context.Context, l *line, h ownership.HandOver) (ownership.Reply, error) {
	if d.over(l) { // its end stood before it in the queue
		d.count.late.Inc()
		return accepted(), nil
	}
	reply, err := d.deliver(ctx, l, h)
	switch {
	case err != nil || !handled(reply):
	case h.Ends:
		d.end(l, h, "the cloud ended it")
	default:
		// Later notifications only come to calls that somebody answered: with
		// answer: bot this is how the router learns of it.
		d.wasAnswered(l, h)
	}
	return reply, err
}

// deliver hands one hand-over to the bot, once.
func (d *Desk) deliver(ctx context.Context, l *line, h ownership.HandOver) (reply ownership.Reply, err error) {
	defer d.effects.begin(h.Partition)()
	// Asked again here: the hand-over may have waited in its call's line, or the
	// process may have stood still, while the partition went to another node.
	if !d.ledger.Holds(h.Call, h.Partition, h.Epoch) {
		return ownership.Reply{}, failed(h, ownership.ErrFenced, nil)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, l.app.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("the bot in this process panicked", "call", h.Call, "event", h.Event, "stack", string(debug.Stack()))
			err = failed(h, ErrReply, errors.New("it panicked"))
		}
		d.count.handOver(h.Event, reply, err, time.Since(start))
		if err != nil {
			d.log.Warn("hand-over failed", "event", h.Event, "call", h.Call, "partition", h.Partition, "epoch", h.Epoch, "err", err)
		}
	}()
	h.Header = withoutToken(h.Header)
	reply, err = l.app.Bot.Handle(ctx, h)
	if err != nil {
		return ownership.Reply{}, failed(h, kindOf(err), err)
	}
	if s := reply.Status; s < 200 || s > 599 || s/100 == 3 {
		// A redirect would send the cloud to an address of the bot's making.
		return ownership.Reply{}, failed(h, ErrReply, fmt.Errorf("its status is %d", s))
	}
	reply.Header = headersFromBot(reply.Header)
	d.touch(l)
	return reply, nil
}

// kindOf sorts what a bot returned.
func kindOf(err error) error {
	for _, kind := range []error{ErrReply, ErrTimeout, ErrUnreachable} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return ErrTimeout
	}
	return ErrUnreachable
}

// tell offers one of Tandem's own events to the bot until it takes it: nobody
// else would send it again. It gives up when the call is over, when the partition
// is another node's, or when the desk closes. After TellFor it makes way for the
// call's notifications, and the event is owed. A lease that was lost may come
// back with the same epoch: it waits for that too, until this node hears of a
// newer one.
func (d *Desk) tell(ctx context.Context, l *line, h ownership.HandOver) error {
	ctx, cancel := context.WithTimeout(ctx, d.conf.TellFor)
	defer cancel()
	for wait := firstTellPause; ; wait = min(2*wait, longestTellPause) {
		reply, err := d.deliver(ctx, l, h)
		if err == nil && handled(reply) {
			return nil
		}
		if err == nil {
			err = failed(h, ErrReply, fmt.Errorf("its status is %d", reply.Status))
		}
		fenced := errors.Is(err, ownership.ErrFenced)
		if !d.waitToTell(ctx, wait) || d.over(l) || d.passed(l, h) || !fenced && !d.ledger.Holds(h.Call, h.Partition, h.Epoch) {
			d.count.untold.WithLabelValues(string(h.Event)).Inc()
			d.log.Error("the bot was not told", "event", h.Event, "call", h.Call, "epoch", h.Epoch, "err", err)
			d.owe(l, h)
			return err
		}
	}
}

// owe remembers an event that the bot could not be told, for payOff.
func (d *Desk) owe(l *line, h ownership.HandOver) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.owed = &h
}

// payOff tells the bots that are well again, once in a round, what they are owed.
func (d *Desk) payOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lines {
		if l.owed == nil || l.busy || !d.health.well(l.app.ID) {
			continue
		}
		h := *l.owed
		l.owed = nil
		e := &entry{key: keyOf(h), own: true}
		e.work = func(ctx context.Context, _ *entry) (ownership.Reply, error) {
			if d.over(l) || !d.ledger.Owns(h.Call, h.Partition, h.Epoch) {
				return accepted(), nil
			}
			reply, err := d.deliver(ctx, l, h)
			if err != nil || !handled(reply) {
				d.owe(l, h)
			}
			return reply, err
		}
		if err := d.push(l, e); err != nil {
			l.owed = &h // the desk closes
		}
	}
}

func (d *Desk) waitToTell(ctx context.Context, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-d.open.Done():
		return false
	case <-ctx.Done():
		return false
	}
}

func (d *Desk) over(l *line) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !l.endedAt.IsZero()
}

// passed reports whether this node has heard of a newer epoch of the call.
func (d *Desk) passed(l *line, h ownership.HandOver) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return l.epoch > h.Epoch
}

func (d *Desk) touch(l *line) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.active = d.conf.Now()
}
