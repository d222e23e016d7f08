package bot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"tandem/ownership"
)

// line is one call at the desk: its queue and what is remembered of it. All
// fields are guarded by Desk.mu.
type line struct {
	app       *App
	call      ownership.CallID
	rawCall   string
	partition ownership.PartitionID
	epoch     ownership.Epoch

	queue []*entry          // the first is under way
	busy  bool              // a goroutine works through the queue
	kept  map[string]*entry // by message key: under way, or handled with its reply
	order []*entry          // kept entries, oldest first
	first map[ownership.Epoch]*entry

	answered  bool   // the table was told, or is being told
	thread    string // as the table has it, or is being told
	organizer string
	endedAt   time.Time // zero: it lives
	active    time.Time // last sign of life
	seenTold  time.Time // when the table last heard of one
	beatAt    time.Time // next keepAlive; zero: the router sends none

	owed *ownership.HandOver // an event that the bot could not be told in time
}

// entry is one hand-over in a line.
type entry struct {
	key   string
	own   bool // Tandem's own event or promise: no caller would send it again
	work  func(ctx context.Context, e *entry) (ownership.Reply, error)
	done  chan struct{} // closed when reply and err stand
	stood bool          // done is closed
	reply ownership.Reply
	err   error
	at    time.Time
}

// keyOf names a hand-over for the memory of repeats. The cloud keeps the message
// id on its retries (X-Microsoft-Skype-Message-ID, Skype Calling API); where it
// sent none, the body stands in.
func keyOf(h ownership.HandOver) string {
	if h.MessageID != "" {
		return "id:" + h.MessageID
	}
	sum := sha256.Sum256(h.Body)
	return "body:" + hex.EncodeToString(sum[:])
}

// accepted is the reply to what is taken without asking the bot.
func accepted() ownership.Reply { return ownership.Reply{Status: http.StatusAccepted} }

// handled reports whether a reply ends the matter. A 5xx makes the cloud send
// the notification again, so it must be delivered again.
func handled(r ownership.Reply) bool { return r.Status < http.StatusInternalServerError }

// lineOf gives the call's line, made if need be, and brings its place up to the
// hand-over's. A line belongs to one app: the error is ownership.ErrOtherApp, for
// no bot may hear or end another's call, nor see what was replied. The lock is
// held.
func (d *Desk) lineOf(app *App, h ownership.HandOver) (*line, error) {
	l := d.lines[h.Call]
	if l != nil && l.app != app {
		return nil, ownership.ErrOtherApp
	}
	if l == nil {
		now := d.conf.Now()
		l = &line{app: app, call: h.Call, rawCall: h.RawCall, kept: map[string]*entry{},
			first: map[ownership.Epoch]*entry{}, active: now, seenTold: now}
		d.lines[h.Call] = l
	}
	if h.Epoch >= l.epoch {
		l.partition, l.epoch = h.Partition, h.Epoch
	}
	if l.rawCall == "" {
		l.rawCall = h.RawCall
	}
	return l, nil
}

// push puts an entry at the end of the line and starts the line's goroutine if
// it rests. The lock is held.
func (d *Desk) push(l *line, e *entry) error {
	switch {
	case d.closed:
		return ErrClosed
	case !e.own && (len(l.queue) >= d.conf.QueueLimit || d.waiting >= d.conf.TotalLimit):
		return ErrBusy
	}
	e.done, e.at = make(chan struct{}), d.conf.Now()
	l.remember(e)
	l.queue = append(l.queue, e)
	d.waiting++
	if !l.busy {
		l.busy = true
		d.work.Go(func() { d.run(l) })
	}
	return nil
}

// run works through the line until it is empty.
func (d *Desk) run(l *line) {
	for {
		d.mu.Lock()
		if len(l.queue) == 0 {
			l.busy = false
			d.mu.Unlock()
			return
		}
		e := l.queue[0]
		d.mu.Unlock()
		reply, err := e.work(d.base, e)
		d.finish(l, e, reply, err)
	}
}

// finish takes the entry off the line and lets those know who wait for it.
func (d *Desk) finish(l *line, e *entry, reply ownership.Reply, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.queue[0] = nil
	l.queue = l.queue[1:]
	d.waiting--
	e.work = nil // it holds the body
	if e.stood {
		return
	}
	if err != nil || !handled(reply) {
		l.forget(e)
	}
	e.stand(reply, err)
	if err == nil || e.own {
		return
	}
	rest := l.queue[:0]
	for _, w := range l.queue {
		if w.own {
			rest = append(rest, w)
			continue
		}
		l.forget(w)
		w.work = nil
		w.stand(ownership.Reply{}, err)
		d.waiting--
	}
	clear(l.queue[len(rest):])
	l.queue = rest
}

// settle lets the callers go with this reply while the entry's work goes on.
func (d *Desk) settle(e *entry, reply ownership.Reply) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !e.stood {
		e.stand(reply, nil)
	}
}

func (e *entry) stand(reply ownership.Reply, err error) {
	e.reply, e.err, e.stood = reply, err, true
	close(e.done)
}

// await gives the entry's reply. A caller that leaves does not end the
// delivery: the cloud's retry will find it under its message id.
func (d *Desk) await(ctx context.Context, h ownership.HandOver, e *entry) (ownership.Reply, error) {
	limit := time.NewTimer(d.conf.WaitLimit)
	defer limit.Stop()
	select {
	case <-e.done:
		return e.reply, e.err
	case <-ctx.Done():
		return ownership.Reply{}, failed(h, ErrTimeout, context.Cause(ctx))
	case <-limit.C:
		return ownership.Reply{}, failed(h, ErrTimeout, nil)
	}
}

// remember keeps the entry under its key; the oldest finished ones go when
// there are too many or they are too old for a retry.
func (l *line) remember(e *entry) {
	l.kept[e.key] = e
	l.order = append(l.order, e)
	for len(l.order) > 0 {
		old := l.order[0]
		if l.kept[old.key] == old {
			if !old.stood || (len(l.order) <= rememberIDs && e.at.Sub(old.at) <= rememberFor) {
				return
			}
			delete(l.kept, old.key)
		}
		l.order[0] = nil
		l.order = l.order[1:]
	}
}

// forget makes room for the same message to be delivered again.
func (l *line) forget(e *entry) {
	if l.kept[e.key] == e {
		delete(l.kept, e.key)
	}
	for epoch, f := range l.first {
		if f == e {
			delete(l.first, epoch)
		}
	}
}
