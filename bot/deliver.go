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

// deliverer hands things over to bots and acts at Graph.
type deliverer struct{ *records }

// Update takes any later notification of a call and gives the bot's reply. One
// that comes after the call's end is 202 and goes no further.
func (d *Dispatcher) Update(ctx context.Context, h ownership.HandOver) (ownership.Reply, error) {
	h.Event = ownership.EventUpdate
	app := d.apps[h.App]
	if app == nil {
		return ownership.Reply{}, failed(h, ErrUnserved, nil)
	}
	k := d.place(&h)
	e, reply, err := d.follow(app, h, k)
	switch {
	case err != nil:
		return ownership.Reply{}, failed(h, err, nil)
	case e == nil:
		return reply, nil
	}
	return d.await(ctx, h, e)
}

// follow finds or makes the delivery of an update. No delivery and no error: it was
// handled, or there is nothing to do; then the reply stands.
func (d *Dispatcher) follow(app *served, h ownership.HandOver, k ownership.Known) (*delivery, ownership.Reply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ownership.Reply{}, ErrClosed
	}
	l, err := d.queueOf(app, h)
	if err != nil {
		return nil, ownership.Reply{}, err
	}
	e, old := l.find(keyOf(h))
	if e != nil || old != nil {
		e, reply := d.repeated(&h, e, old)
		return e, reply, nil
	}
	if l.endedAt != 0 {
		d.count.late.Inc()
		d.stepRepeated(&h, repeatLate)
		d.tellAgain(l, k)
		return nil, accepted(), nil
	}
	d.bringForward(l)
	// An epoch in the callback URI that has passed means "adopted since": the bot
	// and the table hear the present one.
	h.Partition, h.Epoch = l.partition, l.epoch
	e = &delivery{key: keyOf(h), outside: true, work: func(ctx context.Context, _ *delivery) (ownership.Reply, error) {
		return d.pass(ctx, l, h)
	}}
	return e, ownership.Reply{}, d.push(l, e)
}

// place returns what the table knows of a hand-over's call. Where the table says
// that this node acts for it, the hand-over's epoch is the one at which it does.
func (d *queues) place(h *ownership.HandOver) ownership.Known {
	k, ok := d.ledger.Find(h.Call)
	if !ok || k.App != h.App || k.Partition != h.Partition {
		return ownership.Known{}
	}
	if k.Owner == d.conf.Node && k.Epoch != 0 {
		h.Epoch = k.Epoch
	}
	return k
}

// pass hands an update to the bot and draws what follows for the call.
func (d *deliverer) pass(ctx context.Context, l *callQueue, h ownership.HandOver) (ownership.Reply, error) {
	if d.over(l) { // its end stood before it in the queue
		d.count.late.Inc()
		d.stepRepeated(&h, repeatLate)
		return accepted(), nil
	}
	if d.undecided(l) {
		return ownership.Reply{}, failed(h, ownership.ErrFenced, nil)
	}
	// A move that is planned waits for what follows from it too.
	defer d.effects.begin(h.Partition)()
	reply, err := d.deliver(ctx, l, h)
	switch {
	case err != nil || !handled(reply):
	case h.Ends:
		d.endTold(l, h)
	default:
		// Later notifications only come to calls that somebody answered: with
		// answer: bot this is how the router learns of it.
		d.wasAnswered(l, h)
		d.reconcile(l)
	}
	return reply, err
}

// deliver hands one hand-over to the bot, once.
func (d *deliverer) deliver(ctx context.Context, l *callQueue, h ownership.HandOver) (reply ownership.Reply, err error) {
	defer d.effects.begin(h.Partition)()
	// Asked again here: the hand-over may have waited in its call's queue, or the
	// process may have stood still, while the call went to another node.
	if !d.may(h) {
		return ownership.Reply{}, failed(h, ownership.ErrFenced, nil)
	}
	start, handed := time.Now(), h
	ctx, cancel := context.WithTimeout(ctx, l.app.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("the bot in this process panicked", "call", h.Call, "event", h.Event, "stack", string(debug.Stack()))
			err = failed(h, ErrReply, errors.New("it panicked"))
		}
		took := time.Since(start)
		d.count.handOver(h.Event, reply, err, took)
		d.stepHanded(&handed, reply, err, took)
		if d.base.Err() == nil { // else this node gave up, not the bot
			d.judge(l.app, h.Call, err, reply)
		}
		if err != nil {
			d.log.Warn("hand-over failed", "event", h.Event, "call", h.Call, "partition", h.Partition, "epoch", h.Epoch, "err", err)
		}
	}()
	h.Header = withoutToken(h.Header)
	reply, err = l.app.Bot.Handle(d.conf.Traces.From(ctx, h.Header), h)
	if err != nil {
		return ownership.Reply{}, failed(h, kindOf(err), err)
	}
	if s := reply.Status; s < 200 || s > 599 || s/100 == 3 {
		// A redirect would send the cloud to an address of the bot's making.
		return ownership.Reply{}, failed(h, ErrReply, fmt.Errorf("its status is %d", s))
	}
	reply.Header = headersFromBot(reply.Header)
	if h.Event == ownership.EventLost || reply.Status/100 != 2 {
		h.Epoch = 0
	}
	d.touch(l, h.Epoch)
	return reply, nil
}

// may is the fence of hand-overs. That a call is lost is told by a node that does
// not act for it, and only for as long as it does not.
func (d *deliverer) may(h ownership.HandOver) bool {
	if h.Event == ownership.EventLost {
		k, ok := d.ledger.Find(h.Call)
		return ok && (k.State == ownership.CallEnded || k.Owner != "" && k.Owner != d.conf.Node)
	}
	return d.ledger.Holds(h.Call, h.Partition, h.Epoch)
}

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

// tell offers one of Tandem's own events to the bot until it takes it, and gives
// its reply: nobody else would send it again. It gives up when the call is over, when it
// is another node's, or when the dispatcher closes. After TellFor it makes way for the
// call's notifications, and the event is owed. A lease that was lost may come
// back with the same epoch: it waits for that too.
func (d *deliverer) tell(ctx context.Context, l *callQueue, t *todo, h ownership.HandOver) (ownership.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, d.conf.TellFor)
	defer cancel()
	for wait := firstTellPause; ; wait = min(2*wait, longestTellPause) {
		if t.owed && !d.stands(l, h) {
			return ownership.Reply{}, failed(h, ownership.ErrFenced, nil) // there is nothing to tell any more
		}
		reply, err := d.deliver(ctx, l, h)
		if err == nil && handled(reply) {
			return reply, nil
		}
		if err == nil {
			err = failed(h, ErrReply, fmt.Errorf("its status is %d", reply.Status))
		}
		switch {
		case t.owed: // once in a round
		case d.waitToTell(ctx, wait) && d.stands(l, h):
			continue
		default:
			d.count.untold.WithLabelValues(string(h.Event)).Inc()
			d.log.Error("the bot was not told", "event", h.Event, "call", h.Call, "epoch", h.Epoch, "err", err)
		}
		d.owe(l, t)
		return ownership.Reply{}, err
	}
}

// stands reports whether an event is still to be told, with a lease or without. A call
// may end while it waits, by another node's word: then the table here hears of it.
func (d *deliverer) stands(l *callQueue, h ownership.HandOver) bool {
	if h.Event == ownership.EventLost {
		return d.may(h)
	}
	k, ok := d.ledger.Find(h.Call)
	return !d.over(l) && d.ledger.Owns(h.Call, h.Partition, h.Epoch) && !(ok && k.State == ownership.CallEnded)
}

func (d *deliverer) waitToTell(ctx context.Context, wait time.Duration) bool {
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
