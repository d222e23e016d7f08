package bot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

// Adopt takes over the calls of partitions that this node has just got, or has
// kept over a restart. It returns at once; the work goes on per call, those
// with the nearest deadline first, and waits for the lease if there is none yet. Call.Epoch must be the partition's present
// epoch, and uri gives the callback URI of a call at that epoch.
//
//   - Ringing (claimed, its deadline not over): answered by this node, by the
//     router or by the bot as the app is set up; the bot is told `adopted`.
//   - Claimed, and its deadline over: Graph is asked whether the dead owner had
//     answered it after all; if nobody can ask, the bot is told `adopted`.
//   - Answered and movable: the bot is told `adopted`; keepAlives go on.
//   - Answered and pinned, or orphaned: the bot is told `rejoin`.
func (d *Desk) Adopt(_ context.Context, calls []ownership.Call, uri func(ownership.Call) string) {
	calls = slices.DeleteFunc(slices.Clone(calls), func(c ownership.Call) bool { return c.State == ownership.CallEnded })
	slices.SortStableFunc(calls, func(a, b ownership.Call) int {
		if ra, rb := a.State == ownership.CallClaimed, b.State == ownership.CallClaimed; ra != rb {
			if ra {
				return -1
			}
			return 1
		}
		return a.Deadline.Compare(b.Deadline)
	})
	for _, c := range calls {
		event := ownership.EventAdopted
		if c.State == ownership.CallOrphaned || (c.State == ownership.CallAnswered && c.Pinned) {
			event = ownership.EventRejoin
		}
		if _, err := d.takeOver(event, c, c.Epoch, uri(c)); err != nil {
			d.log.Error("a call was not adopted", "call", c.ID, "partition", c.Partition, "epoch", c.Epoch, "err", err)
		}
	}
}

// Adopted tells the bot of one adopted call, as Adopt does, and waits for the
// bot's reply.
func (d *Desk) Adopted(ctx context.Context, c ownership.Call, epoch ownership.Epoch, callbackURI string) error {
	return d.takeOverAndWait(ctx, ownership.EventAdopted, c, epoch, callbackURI)
}

// Rejoin tells the bot of one call whose media died with its node, and waits
// for the bot's reply. The call stays in the table until the bot, an operator
// or the reaper ends it.
func (d *Desk) Rejoin(ctx context.Context, c ownership.Call, epoch ownership.Epoch, callbackURI string) error {
	return d.takeOverAndWait(ctx, ownership.EventRejoin, c, epoch, callbackURI)
}

func (d *Desk) takeOverAndWait(ctx context.Context, event ownership.Event, c ownership.Call, epoch ownership.Epoch, uri string) error {
	if !d.ledger.Holds(c.ID, c.Partition, epoch) {
		return &Error{Event: event, App: c.App, Call: c.ID, Kind: ownership.ErrFenced}
	}
	e, err := d.takeOver(event, c, epoch, uri)
	if err != nil || e == nil {
		return err
	}
	select {
	case <-e.done:
		return e.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the bot to take call %s over: %w", c.ID, context.Cause(ctx))
	}
}

// takeOver puts the event into the call's line, once for an epoch. No entry and
// no error: the call has ended here, which the table is about to hear.
func (d *Desk) takeOver(event ownership.Event, c ownership.Call, epoch ownership.Epoch, uri string) (*entry, error) {
	h, err := eventOf(event, c, epoch, uri)
	if err != nil {
		return nil, err
	}
	app := d.apps[c.App]
	if app == nil {
		return nil, failed(h, ErrUnserved, nil)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, failed(h, ErrClosed, nil)
	}
	l, err := d.lineOf(app, h)
	if err != nil {
		return nil, failed(h, err, nil)
	}
	if known := l.kept[keyOf(h)]; known != nil {
		return known, nil
	}
	if known := l.first[epoch]; known != nil && c.State == ownership.CallClaimed {
		return known, nil // the cloud's repeat was faster: one answer for an epoch
	}
	if !l.endedAt.IsZero() {
		return nil, nil
	}
	l.answered, l.thread, l.organizer = c.State != ownership.CallClaimed, c.Thread, c.Organizer
	e := &entry{key: keyOf(h), own: true}
	e.work = func(ctx context.Context, e *entry) (ownership.Reply, error) {
		return accepted(), d.adopt(ctx, l, c, h, e)
	}
	if err := d.push(l, e); err != nil {
		return nil, failed(h, err, nil)
	}
	if c.State == ownership.CallClaimed {
		l.first[epoch] = e // a repeat of the first notification finds it in hand
	}
	return e, nil
}

// adopt does what Adopt says for one call.
func (d *Desk) adopt(ctx context.Context, l *line, c ownership.Call, h ownership.HandOver, e *entry) error {
	if !d.awaitLease(ctx, l, h) {
		d.log.Info("a call was not adopted: its partition is another node's", "call", h.Call, "partition", h.Partition, "epoch", h.Epoch)
		return failed(h, ownership.ErrFenced, nil)
	}
	if c.State != ownership.CallClaimed {
		return d.adoptAnswered(ctx, l, c, h)
	}
	if l.app.Graph != nil && !c.Deadline.After(d.conf.Now()) {
		return d.adoptOverdue(ctx, l, h)
	}
	if l.app.Answer == AnswerByRouter {
		if err := d.answer(ctx, l, h, l.app.AnswerWith, true); err != nil {
			return err
		}
		return d.tell(ctx, l, h)
	}
	// Offered once within the call's clock, and again while the bot fails.
	ctx, cancel := d.untilDeadline(ctx, h)
	defer cancel()
	for {
		reply, err := d.offer(ctx, l, h, e)
		if (err == nil && handled(reply)) || !d.waitToTell(ctx, firstTellPause) || !d.ledger.Holds(h.Call, h.Partition, h.Epoch) {
			return err
		}
	}
}

// awaitLease waits until this node may act on the partition, for as long as the
// partition is its own. A node that starts again learns of its partitions before
// it has a lease, and after a power cut the others may be hours away: nobody
// would tell it again, for its epochs stay the same.
func (d *Desk) awaitLease(ctx context.Context, l *line, h ownership.HandOver) bool {
	for wait := leasePause; !d.ledger.Holds(h.Call, h.Partition, h.Epoch); wait = min(2*wait, time.Second) {
		if !d.ledger.Owns(h.Call, h.Partition, h.Epoch) || d.over(l) || !d.waitToTell(ctx, wait) {
			return false
		}
	}
	return true
}

// adoptAnswered begins with the keepAlives, then waits for its turn at the bot:
// a dead node leaves many calls at once.
func (d *Desk) adoptAnswered(ctx context.Context, l *line, c ownership.Call, h ownership.HandOver) error {
	if h.Event == ownership.EventAdopted && l.app.Answer == AnswerByRouter && !c.Pinned {
		d.mu.Lock()
		l.beatAt = d.conf.Now() // nobody knows when the last one was
		d.mu.Unlock()
	}
	select {
	case d.adopts <- struct{}{}:
		defer func() { <-d.adopts }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return d.tell(ctx, l, h)
}

// adoptOverdue asks Graph about a call that the table holds as ringing though
// its time is over: the dead owner may have answered and died before it said so.
func (d *Desk) adoptOverdue(ctx context.Context, l *line, h ownership.HandOver) error {
	cause := &graph.CallError{Op: "answer", Call: h.RawCall, Kind: graph.ErrRetryable}
	if err := d.verdict(l, h, cause, true); err != nil && d.over(l) {
		return err
	}
	return d.tell(ctx, l, h)
}

// eventOf makes the hand-over of an event of Tandem's own. Its body is what the
// table knows of the call.
func eventOf(event ownership.Event, c ownership.Call, epoch ownership.Epoch, uri string) (ownership.HandOver, error) {
	c.Epoch = epoch
	body, err := json.Marshal(struct {
		Event       ownership.Event `json:"event"`
		CallbackURI string          `json:"callback_uri"`
		Call        ownership.Call  `json:"call"`
	}{event, uri, c})
	if err != nil {
		return ownership.HandOver{}, fmt.Errorf("writing what the table knows of call %s: %w", c.ID, err)
	}
	h := ownership.HandOver{
		Event: event, App: c.App, Tenant: c.Tenant, Call: c.ID, RawCall: rawID(c), Partition: c.Partition, Epoch: epoch,
		CallbackURI: uri, MessageID: fmt.Sprintf("tandem-%s-%d", event, epoch), Received: c.ClaimedAt,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: body,
	}
	if c.State == ownership.CallClaimed {
		h.Deadline = c.Deadline
	}
	return h, nil
}

// rawID gives the call's id for Graph's URLs: as the cloud spelled it, or, for
// a record without that, as Graph's documentation writes GUIDs.
func rawID(c ownership.Call) string {
	if c.RawCall != "" {
		return c.RawCall
	}
	id := string(c.ID)
	if len(id) != 32 {
		return id
	}
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}
