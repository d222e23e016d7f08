package bot

import (
	"context"
	"time"

	"tandem/ownership"
)

// How much of one app is under way at once.
const (
	ringAtOnce = 64 // adopted calls that ring: being answered
	tellAtOnce = 32 // Tandem's own events at the bot
	beatAtOnce = 16 // keepAlives
)

// served is one app at this dispatcher: its bot, and every bound that its calls share.
// Nothing here is shared with another app, so that a bot which is slow, sick or
// flooded costs its own calls only. Dispatcher.mu guards the fields below App.
type served struct {
	App
	waiting    int // notifications from outside, waiting or under way
	ring, tell lane
	owed       []*callQueue // with an event that the bot could not be told in time
	beats      []*callQueue // whose keepAlive is due
	beating    int          // goroutines that send them
	versions   versions

	health patient
}

// lane lets a bounded number of queues begin what they have to do of Tandem's own.
type lane struct {
	most, busy int
	waits      []*callQueue // with a todo, or brought forward since
}

// todo is what a queue has to do of Tandem's own, and has not begun.
type todo struct {
	event ownership.Event
	first ownership.Epoch // of a call that rings: another first notification finds it in hand
	ring  bool            // it is to be answered: it has a lane of its own
	held  bool            // of a call that is lost: its moment has not come
	owed  bool            // the bot could not be told in time; once it is well it is tried once in a round
	do    func(ctx context.Context, t *todo, e *delivery) (ownership.Reply, error)
}

// plan gives a queue something to do and puts it into its app's lane. Whatever it
// had not begun is replaced. The lock is held.
func (d *queues) plan(l *callQueue, t *todo) {
	l.todo = t
	in := l.app.lane(t)
	in.waits = append(in.waits, l)
	d.step(in)
}

func (a *served) lane(t *todo) *lane {
	if t.ring {
		return &a.ring
	}
	return &a.tell
}

// step begins as much as the lane allows. The lock is held.
func (d *queues) step(in *lane) {
	for in.busy < in.most && len(in.waits) > 0 && !d.closed {
		l := in.waits[0]
		in.waits[0] = nil
		if in.waits = in.waits[1:]; len(in.waits) == 0 {
			in.waits = nil
		}
		if l.todo == nil || l.todo.held || l.app.lane(l.todo) != in {
			continue
		}
		in.busy++
		d.begin(l, func() {
			in.busy--
			d.step(in)
		})
	}
}

// begin puts what is to do for a call into its queue. The lock is held.
func (d *queues) begin(l *callQueue, after func()) {
	t := l.todo
	l.todo = nil
	e := &delivery{own: true, first: t.first, after: after}
	e.work = func(ctx context.Context, e *delivery) (ownership.Reply, error) { return t.do(ctx, t, e) }
	if err := d.push(l, e); err != nil && after != nil { // the dispatcher closes
		after()
	}
}

// bringForward begins what the queue has to do before a notification of it is
// handed over, without waiting for the lane: the one brings the other's place.
// The lock is held.
func (d *queues) bringForward(l *callQueue) {
	if l.todo != nil && !l.todo.owed && !l.todo.held {
		d.begin(l, nil)
	}
}

// owe keeps an event that the bot could not be told in time, for notifyOwed.
func (d *queues) owe(l *callQueue, t *todo) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.todo != nil || d.closed { // something newer is to be told
		return
	}
	t.owed = true
	l.todo = t
	l.app.owed = append(l.app.owed, l)
}

// notifyOwed tells the bots that are well again, once in a round, what they are owed.
func (d *queues) notifyOwed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.apps {
		if !a.health.well() {
			continue
		}
		owed := a.owed
		a.owed = nil
		for _, l := range owed {
			if l.todo != nil && l.todo.owed {
				d.plan(l, l.todo)
			}
		}
	}
}

// moment is a point in time in 8 bytes: Unix nanoseconds; 0: never.
type moment int64

func at(t time.Time) moment {
	if t.IsZero() {
		return 0
	}
	return moment(t.UnixNano())
}

// now is the dispatcher's clock.
func (d *queues) now() moment { return at(d.conf.Now()) }

func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(m))
}

func (m moment) add(by time.Duration) moment { return m + moment(by) }

func (m moment) since(then moment) time.Duration { return time.Duration(m - then) }
