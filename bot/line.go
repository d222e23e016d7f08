package bot

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"tandem/ownership"
)

// part is what the desk has of one partition.
type part struct {
	lines map[ownership.CallID]*line
	// seen is the epoch at which Look was last shown its calls: until then a call
	// of it may have been answered by an earlier owner, or by an earlier process.
	seen ownership.Epoch
}

// line is one call at the desk: its queue and what is remembered of it. All
// fields but the first three are guarded by Desk.mu. A call that rests costs
// little: what is under way, and what is to do, stands in places of its own.
type line struct {
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
	slot     int32
	rawCall  string          // empty: as rawID writes it
	epoch    ownership.Epoch // at which this node acts for it, or last heard of it
	held     ownership.Epoch // at which the bot has it, or is about to be told; 0: it has not
	answered ownership.Epoch // at which the cloud took an answer; 0: none is known
	queue    []*entry        // the first is under way
	todo     *todo
	kept     []kept // handled messages, oldest first

	active   moment // last sign of life
	seenTold moment // when the table last heard of one
	beatAt   moment // next keepAlive; never: the router sends none
	endedAt  moment // never: it lives
}

// entry is one hand-over in a line.
type entry struct {
	key     key
	own     bool // Tandem's own event or promise: no caller would send it again
	outside bool // it came from outside, and counts against the app's bounds
	first   ownership.Epoch
	work    func(ctx context.Context, e *entry) (ownership.Reply, error)
	after   func()        // called with the lock held when the work is done
	done    chan struct{} // made when somebody waits; closed when reply and err stand
	stood   bool          // reply and err stand
	reply   ownership.Reply
	err     error
}

// queues holds the calls of this node, each with what waits for its bot. It knows
// neither what an entry does nor what the table is told.
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
	loops  sync.WaitGroup // housekeeping, health
	work   sync.WaitGroup // lines, keepAlives and records under way

	effects effects

	mu      sync.Mutex
	closed  bool
	parts   map[ownership.PartitionID]*part
	lines   int // in all parts
	waiting int // entries in all lines
	dues    map[int32][]*line
}

// partOf gives what the desk has of a partition. The lock is held.
func (d *queues) partOf(id ownership.PartitionID) *part {
	p := d.parts[id]
	if p == nil {
		p = &part{lines: map[ownership.CallID]*line{}}
		d.parts[id] = p
	}
	return p
}

// lineOf gives the call's line, made if need be, and brings its place up to the
// hand-over's. A line belongs to one app: the error is ownership.ErrOtherApp, for
// no bot may hear or end another's call, nor see what was replied. The lock is
// held.
func (d *queues) lineOf(app *served, h ownership.HandOver) (*line, error) {
	p := d.partOf(h.Partition)
	l := p.lines[h.Call]
	if l != nil && l.app != app {
		return nil, ownership.ErrOtherApp
	}
	if l == nil {
		now := d.now()
		// Cloned: the ids may be parts of whole bodies.
		l = &line{
			app: app, call: ownership.CallID(strings.Clone(string(h.Call))), partition: h.Partition, active: now, seenTold: now,
		}
		p.lines[l.call] = l
		d.lines++
		d.dueAt(l, now.add(rememberFor))
	}
	l.epoch = max(l.epoch, h.Epoch)
	if l.rawCall == "" && !isSpelled(h.RawCall, string(l.call)) {
		l.rawCall = strings.Clone(h.RawCall)
	}
	return l, nil
}

// raw gives the call's id as the cloud spelled it.
func (l *line) raw() string {
	if l.rawCall != "" {
		return l.rawCall
	}
	return spelled(string(l.call))
}

// handOver gives the line's place for actions that no notification asked for.
// The lock is held.
func (l *line) handOver() ownership.HandOver {
	return ownership.HandOver{App: l.app.ID, Call: l.call, RawCall: l.raw(), Partition: l.partition, Epoch: l.epoch}
}

// push puts an entry at the end of the line and starts the line's goroutine if
// it rests. The lock is held.
func (d *queues) push(l *line, e *entry) error {
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

// outside counts the line's notifications. The lock is held.
func (l *line) outside() (n int) {
	for _, e := range l.queue {
		if e.outside {
			n++
		}
	}
	return n
}

// tally counts an entry that came or went. The lock is held.
func (d *queues) tally(l *line, e *entry, by int) {
	d.waiting += by
	if e.outside {
		l.app.waiting += by
	}
}

// run works through the line until it is empty.
func (d *queues) run(l *line) {
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

// finish takes the entry off the line, remembers what was handled, and lets
// those know who wait for it.
func (d *queues) finish(l *line, e *entry, reply ownership.Reply, err error) {
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
	rest := l.queue[:0]
	for _, w := range l.queue {
		if w.own {
			rest = append(rest, w)
			continue
		}
		w.work = nil
		w.stand(ownership.Reply{}, err)
		d.tally(l, w, -1)
	}
	clear(l.queue[len(rest):])
	l.queue = rest
}

// settle lets the callers go with this reply while the entry's work goes on.
func (d *queues) settle(e *entry, reply ownership.Reply) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !e.stood {
		e.stand(reply, nil)
	}
}

// stand settles what callers get. The lock is held.
func (e *entry) stand(reply ownership.Reply, err error) {
	e.reply, e.err, e.stood = reply, err, true
	if e.done != nil {
		close(e.done)
	}
}

// await gives the entry's reply. A caller that leaves does not end the
// delivery: the cloud's retry will find it under its message id.
func (d *queues) await(ctx context.Context, h ownership.HandOver, e *entry) (ownership.Reply, error) {
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
func (d *queues) drop(l *line) {
	delete(d.parts[l.partition].lines, l.call)
	d.lines--
	l.dropped, l.kept = true, nil // a round to come may still know the line
}

func (d *queues) over(l *line) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return l.endedAt != 0
}

// touch notes a sign of life. epoch: the bot has taken the call at it; 0: it has not.
func (d *queues) touch(l *line, epoch ownership.Epoch) {
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
