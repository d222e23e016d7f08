package bot

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/ownership"
)

// part is what the dispatcher has of one partition.
type part struct {
	queues map[ownership.CallID]*callQueue
	// seen is the epoch at which Look was last shown its calls: until then a call
	// of it may have been answered by an earlier owner, or by an earlier process.
	seen ownership.Epoch
}

// callQueue is one call at the dispatcher: its queue and what is remembered of it. All
// fields but the first three are guarded by Dispatcher.mu. A call that rests costs
// little: what is under way, and what is to do, stands in places of its own.
type callQueue struct {
	app       *served
	call      ownership.CallID
	partition ownership.PartitionID

	busy     bool // a goroutine works through the queue
	had      bool // the bot here was handed this call
	letGo    bool // and was told that it is lost, or never was told that it has it
	thread   bool // the table has it, or is being told
	organiz  bool // the same for the organizer
	told     bool // its end is the cloud's own word
	dropped  bool // it is in no part any more
	orphan   bool // at the epoch held it is an orphan
	untaken  bool // which the bot here has taken, and the table does not know it
	slot     int32
	rawCall  string          // empty: as rawID writes it
	epoch    ownership.Epoch // at which this node acts for it, or last heard of it
	held     ownership.Epoch // at which the bot has it, or is about to be told; 0: it has not
	answered ownership.Epoch // at which the cloud took an answer; 0: none is known
	queue    []*delivery     // the first is under way
	todo     *todo
	handled  []handledMessage // handled messages, oldest first

	active   moment // last sign of life
	seenTold moment // when the table last heard of one
	beatAt   moment // next keepAlive; never: the router sends none
	endedAt  moment // never: it lives

	tally *ownership.VersionTally // of the version that took it; nil: its end counts for none
	since moment                  // when it was taken, or later answered
}

// delivery is one hand-over in a queue.
type delivery struct {
	key     key
	own     bool // Tandem's own event or promise: no caller would send it again
	outside bool // it came from outside, and counts against the app's bounds
	first   ownership.Epoch
	work    func(ctx context.Context, e *delivery) (ownership.Reply, error)
	after   func()        // called with the lock held when the work is done
	done    chan struct{} // made when somebody waits; closed when reply and err stand
	stood   bool          // reply and err stand
	reply   ownership.Reply
	err     error
}

// queues holds the calls of this node, each with what waits for its bot. It knows
// neither what a delivery does nor what the table is told.
type queues struct {
	conf   Config
	apps   map[ownership.AppID]*served
	ledger Ledger
	log    *slog.Logger
	count  *metrics

	base   context.Context // ends when Close gives up waiting
	cancel context.CancelFunc
	open   context.Context // ends when Close begins
	shut   context.CancelFunc
	loops  sync.WaitGroup // maintenance, health
	work   sync.WaitGroup // queues, keepAlives and records under way

	effects effects

	mu      sync.Mutex
	closed  bool
	parts   map[ownership.PartitionID]*part
	calls   int // in all parts
	waiting int // deliveries in all queues
	dues    map[int32][]*callQueue
}

// partOf returns what the dispatcher has of a partition. The lock is held.
func (d *queues) partOf(id ownership.PartitionID) *part {
	p := d.parts[id]
	if p == nil {
		p = &part{queues: map[ownership.CallID]*callQueue{}}
		d.parts[id] = p
	}
	return p
}

// queueOf returns the call's queue, made if need be, and brings its place up to the
// hand-over's. A queue belongs to one app: the error is ownership.ErrOtherApp, for
// no bot may hear or end another's call, nor see what was replied. The lock is
// held.
func (d *queues) queueOf(app *served, h ownership.HandOver) (*callQueue, error) {
	p := d.partOf(h.Partition)
	l := p.queues[h.Call]
	if l != nil && l.app != app {
		return nil, ownership.ErrOtherApp
	}
	if l == nil {
		now := d.now()
		// Cloned: the ids may be parts of whole bodies.
		l = &callQueue{
			app: app, call: ownership.CallID(strings.Clone(string(h.Call))), partition: h.Partition, active: now, seenTold: now,
		}
		p.queues[l.call] = l
		d.calls++
		d.dueAt(l, now.add(rememberFor))
	}
	l.epoch = max(l.epoch, h.Epoch)
	if l.rawCall == "" && h.RawCall != spelled(string(l.call)) {
		l.rawCall = strings.Clone(h.RawCall)
	}
	return l, nil
}

func (l *callQueue) raw() string {
	return cmp.Or(l.rawCall, spelled(string(l.call)))
}

// handOver returns the queue's place for actions that no notification asked for.
// The lock is held.
func (l *callQueue) handOver() ownership.HandOver {
	return ownership.HandOver{App: l.app.ID, Call: l.call, RawCall: l.raw(), Partition: l.partition, Epoch: l.epoch}
}

// push puts a delivery at the end of the queue and starts the queue's goroutine if
// it rests. The lock is held.
func (d *queues) push(l *callQueue, e *delivery) error {
	switch {
	case d.closed:
		return ErrClosed
	case e.outside && (l.outside() >= d.conf.QueueLimit || l.app.waiting >= d.conf.TotalLimit):
		return ErrBusy
	}
	l.queue = append(l.queue, e)
	d.tally(l, e, 1)
	if !l.busy {
		l.busy = true
		d.work.Go(func() { d.run(l) })
	}
	return nil
}

// outside counts the queue's notifications. The lock is held.
func (l *callQueue) outside() (n int) {
	for _, e := range l.queue {
		if e.outside {
			n++
		}
	}
	return n
}

// tally counts a delivery that came or went. The lock is held.
func (d *queues) tally(l *callQueue, e *delivery, by int) {
	d.waiting += by
	if e.outside {
		l.app.waiting += by
	}
}

func (d *queues) run(l *callQueue) {
	for {
		d.mu.Lock()
		if len(l.queue) == 0 {
			l.busy, l.queue = false, nil
			d.mu.Unlock()
			return
		}
		e := l.queue[0]
		d.mu.Unlock()
		reply, err := e.work(d.base, e)
		d.finish(l, e, reply, err)
	}
}

// finish takes the delivery off the queue, remembers what was handled, and lets
// those know who wait for it.
func (d *queues) finish(l *callQueue, e *delivery, reply ownership.Reply, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.queue[0] = nil
	l.queue = l.queue[1:]
	d.tally(l, e, -1)
	e.work = nil // it holds the body
	if e.after != nil {
		e.after()
	}
	if e.stood {
		d.remember(l, e)
		return
	}
	e.stand(reply, err)
	if err == nil && handled(reply) {
		d.remember(l, e)
	}
	if err == nil || e.own {
		return
	}
	l.queue = slices.DeleteFunc(l.queue, func(w *delivery) bool {
		if !w.own {
			w.work = nil
			w.stand(ownership.Reply{}, err)
			d.tally(l, w, -1)
		}
		return !w.own
	})
}

// settle lets the callers go with this reply while the delivery's work goes on.
func (d *queues) settle(e *delivery, reply ownership.Reply) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !e.stood {
		e.stand(reply, nil)
	}
}

// stand settles what callers get. The lock is held.
func (e *delivery) stand(reply ownership.Reply, err error) {
	e.reply, e.err, e.stood = reply, err, true
	if e.done != nil {
		close(e.done)
	}
}

// await returns the delivery's reply. A caller that leaves does not end the
// delivery: the cloud's retry will find it under its message id.
func (d *queues) await(ctx context.Context, h ownership.HandOver, e *delivery) (ownership.Reply, error) {
	d.mu.Lock()
	if e.stood {
		defer d.mu.Unlock()
		return e.reply, e.err
	}
	if e.done == nil {
		e.done = make(chan struct{})
	}
	done := e.done
	d.mu.Unlock()
	limit := time.NewTimer(d.conf.WaitLimit)
	defer limit.Stop()
	select {
	case <-done:
		return e.reply, e.err
	case <-ctx.Done():
		return ownership.Reply{}, failed(h, ErrTimeout, context.Cause(ctx))
	case <-limit.C:
		return ownership.Reply{}, failed(h, ErrTimeout, nil)
	}
}

// drop forgets a call. The lock is held.
func (d *queues) drop(l *callQueue) {
	d.settled(l, isOther)
	delete(d.parts[l.partition].queues, l.call)
	d.calls--
	l.dropped, l.handled = true, nil // a round to come may still know the queue
}

func (d *queues) over(l *callQueue) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return l.endedAt != 0
}

// touch notes a sign of life. epoch: the bot has taken the call at it; 0: it has not.
func (d *queues) touch(l *callQueue, epoch ownership.Epoch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.active = d.now()
	if epoch != 0 {
		l.had, l.held = true, epoch
	}
	if l.dropped || l.endedAt != 0 {
		return
	}
	d.dueAt(l, max(l.seenTold.add(seenEvery), l.active))
}
