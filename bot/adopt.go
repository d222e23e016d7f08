package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

// adoption says what Look has to do for a call that is this node's now. The lock
// is held.
func (d *adoptions) adoption(l *callQueue, c ownership.Call, uri func(ownership.Call) string) *todo {
	t := &todo{event: ownership.EventAdopted}
	if c.State == ownership.CallOrphaned || c.Pinned && l.letGo && c.State == ownership.CallAnswered {
		t.event = ownership.EventRejoin
	}
	l.letGo = false
	overdue := c.State == ownership.CallClaimed && l.app.Graph != nil && !c.Deadline.After(d.conf.Now())
	if t.ring = c.State == ownership.CallClaimed && !overdue; c.State == ownership.CallClaimed {
		t.first = c.Epoch // a repeat of the first notification finds it in hand
	}
	t.do = func(ctx context.Context, t *todo, e *delivery) (ownership.Reply, error) {
		// The body is written only now: a dead node leaves many calls at once.
		h, err := eventOf(t.event, c, uri(c))
		if err != nil {
			return ownership.Reply{}, err
		}
		if !d.awaitLease(ctx, l, h) {
			d.log.Info("a call was not adopted: it is another node's, or over", "call", h.Call, "partition", h.Partition, "epoch", h.Epoch)
			d.unhold(l, h)
			return ownership.Reply{}, failed(h, ownership.ErrFenced, nil)
		}
		switch {
		case t.ring:
			return d.adoptRinging(ctx, l, h, e)
		case overdue && !t.owed:
			return d.adoptOverdue(ctx, l, t, h)
		default:
			return d.adoptAnswered(ctx, l, t, c, h)
		}
	}
	return t
}

// unhold forgets that the bot was to be told of a call, so that the next Look may
// begin anew.
func (d *queues) unhold(l *callQueue, h ownership.HandOver) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.held == h.Epoch {
		l.held = 0
	}
}

// awaitLease waits until this node may act for the call, for as long as it is its
// own. A node that starts again learns of its partitions before
// it has a lease, and after a power cut the others may be hours away: nobody
// would tell it again, for its epochs stay the same. What was listed before the lease
// may be over with it: a lease says that the table here has caught up.
func (d *adoptions) awaitLease(ctx context.Context, l *callQueue, h ownership.HandOver) bool {
	for wait := leasePause; ; wait = min(2*wait, time.Second) {
		held := d.ledger.Holds(h.Call, h.Partition, h.Epoch) // asked first: the table may only get newer
		if !d.stands(l, h) {
			return false
		}
		if held || !d.waitToTell(ctx, wait) {
			return held
		}
	}
}

// adoptRinging answers, or has the bot answer. The router's answer comes first
// and by itself: what the bot is told of it waits in the other lane.
func (d *adoptions) adoptRinging(ctx context.Context, l *callQueue, h ownership.HandOver, e *delivery) (ownership.Reply, error) {
	if l.app.Answer == AnswerByRouter {
		d.settle(e, accepted())
		if err := d.answer(ctx, l, h, l.app.AnswerWith, true); err != nil {
			return accepted(), err
		}
		t := &todo{event: h.Event}
		t.do = func(ctx context.Context, t *todo, _ *delivery) (ownership.Reply, error) { return d.tell(ctx, l, t, h) }
		if d.planAlone(l, t) {
			return accepted(), nil
		}
		return d.tell(ctx, l, t, h) // before the notifications that wait behind it
	}
	// Offered once within the call's clock, and again while the bot fails.
	ctx, cancel := d.untilDeadline(ctx, h)
	defer cancel()
	for {
		reply, err := d.offer(ctx, l, h, e, true)
		if (err == nil && handled(reply)) || !d.waitToTell(ctx, firstTellPause) || !d.ledger.Holds(h.Call, h.Partition, h.Epoch) {
			return reply, err
		}
	}
}

// planAlone puts the bot's being told into its lane, if nothing waits in the queue.
func (d *adoptions) planAlone(l *callQueue, t *todo) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.todo != nil || len(l.queue) > 1 {
		return false
	}
	d.plan(l, t)
	return true
}

// adoptOverdue asks Graph about a call that the table holds as ringing though
// its time is over: the dead owner may have answered and died before it said so.
func (d *adoptions) adoptOverdue(ctx context.Context, l *callQueue, t *todo, h ownership.HandOver) (ownership.Reply, error) {
	cause := &graph.CallError{Op: "answer", Call: h.RawCall, Kind: graph.ErrRetryable}
	if err := d.verdict(l, h, cause, true); err != nil && d.over(l) {
		return ownership.Reply{}, err
	}
	return d.tell(ctx, l, t, h)
}

// adoptAnswered tells the bot, asks it as it were whether it has the call's media,
// and tells the table of an orphan that the bot has taken up.
func (d *adoptions) adoptAnswered(ctx context.Context, l *callQueue, t *todo, c ownership.Call, h ownership.HandOver) (ownership.Reply, error) {
	reply, err := d.tell(ctx, l, t, h)
	if err == nil && reply.Status/100 == 4 && t.event == ownership.EventAdopted && c.Pinned {
		d.log.Info("the bot does not know a call of its own: it is told to rejoin", "call", h.Call, "epoch", h.Epoch, "status", reply.Status)
		t.event = ownership.EventRejoin // also if it has to be told later
		again, wrong := eventOf(t.event, c, h.CallbackURI)
		if wrong != nil {
			return ownership.Reply{}, wrong
		}
		return d.tell(ctx, l, t, again)
	}
	if err != nil {
		return reply, err
	}
	if k, ok := d.ledger.Find(h.Call); ok && k.Owner != "" && d.compare(l, k) {
		d.tellLost([]*callQueue{l}) // it went while the bot was told
		return reply, nil
	}
	if reply.Status/100 == 2 && c.State == ownership.CallOrphaned {
		d.takeUp(ctx, l, h)
	}
	return reply, err
}

// takeUp has the table know that the bot has taken an orphan before anything more of the
// call is handed over. Else the node that it was lost with could come back and get it
// again, at an older epoch than that at which the bot here has acted.
func (d *adoptions) takeUp(ctx context.Context, l *callQueue, h ownership.HandOver) {
	defer d.effects.begin(h.Partition)()
	d.setUntaken(l, true)
	act := ownership.TakeUp{At: d.conf.Now(), Call: h.Call, Epoch: h.Epoch}
	for wait := firstRecordPause; ; wait = min(2*wait, longestRecordPause) {
		err := d.apply(ctx, act)
		switch {
		case err == nil:
			d.setUntaken(l, false)
			return
		case final(err): // it is another node's again, or over: this node's own table has yet to hear of it
			d.log.Info("the table refused a record", "act", nameOf(act), "call", h.Call, "err", err)
			return
		}
		d.log.Debug("the table has yet to take up a call", "call", h.Call, "err", err)
		if d.over(l) {
			return
		}
		if errors.Is(err, ErrOver) || !d.waitToTell(ctx, wait) { // this node closes: its next start tells it
			d.record(act, h)
			return
		}
	}
}

func (d *queues) setUntaken(l *callQueue, untaken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.untaken = untaken
}

// undecided reports whether it is open, here or in the table, that this node's bot has
// an orphan: nothing of it is handed over before.
func (d *queues) undecided(l *callQueue) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return l.untaken || l.orphan && l.todo != nil && l.todo.event == ownership.EventRejoin
}

// eventOf makes the hand-over of an event of Tandem's own. Its body is what the
// table knows of the call.
func eventOf(event ownership.Event, c ownership.Call, uri string) (ownership.HandOver, error) {
	body, err := json.Marshal(struct {
		Event       ownership.Event `json:"event"`
		CallbackURI string          `json:"callback_uri,omitempty"`
		Call        ownership.Call  `json:"call"`
	}{event, uri, c})
	if err != nil {
		return ownership.HandOver{}, fmt.Errorf("writing what the table knows of call %s: %w", c.ID, err)
	}
	h := ownership.HandOver{
		Event: event, App: c.App, Tenant: c.Tenant, Call: c.ID, RawCall: rawID(c), Partition: c.Partition, Epoch: c.Epoch,
		CallbackURI: uri, MessageID: fmt.Sprintf("tandem-%s-%d", event, c.Epoch), Received: c.ClaimedAt,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: body,
	}
	if c.State == ownership.CallClaimed {
		h.Deadline = c.Deadline
	}
	return h, nil
}
