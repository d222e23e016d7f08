package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"tandem/graph"
	"tandem/ownership"
	"tandem/ownership/history"
)

// Incoming takes the first notification of a call that this node owns.
//
// With answer: router the reply is 202 at once; the dispatcher then answers at Graph,
// records it, and tells the bot before any later notification of the call. With
// answer: bot the bot's own reply comes back, but for an instruction
// ({"answer":{…}}, {"reject":{"reason":"busy"}}): then the reply is 202 and the
// dispatcher does as told.
//
// A repeat of the message gets the first reply. Other messages that tell of the
// same call at the same epoch (the cloud may post from two data centres) wait
// for the first one and get 202.
func (d *Dispatcher) Incoming(ctx context.Context, h ownership.HandOver) (ownership.Reply, error) {
	h.Event = ownership.EventIncoming
	app := d.apps[h.App]
	if app == nil {
		return ownership.Reply{}, failed(h, ErrUnserved, nil)
	}
	k := d.place(&h)
	// Asked before the 202 is promised: without the lease the door can still
	// relay, later only the next owner can help.
	if !d.ledger.Holds(h.Call, h.Partition, h.Epoch) {
		return ownership.Reply{}, failed(h, ownership.ErrFenced, nil)
	}
	e, reply, err := d.first(app, h, k)
	switch {
	case err != nil:
		return ownership.Reply{}, failed(h, err, nil)
	case e == nil:
		return reply, nil
	}
	reply, err = d.await(ctx, h, e)
	if err == nil && e.key != keyOf(h) && handled(reply) {
		return accepted(), nil
	}
	return reply, err
}

// first finds or makes the delivery of the call's first notification. No delivery and
// no error: it was handled, or there is nothing to do; then the reply stands.
func (d *Dispatcher) first(app *served, h ownership.HandOver, k ownership.Known) (*delivery, ownership.Reply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ownership.Reply{}, ErrClosed
	}
	l, err := d.queueOf(app, h)
	if err != nil {
		return nil, ownership.Reply{}, err
	}
	d.bringForward(l)
	if e, old := l.find(keyOf(h)); e != nil || old != nil {
		e, reply := d.repeated(&h, e, old)
		return e, reply, nil
	}
	e, old := l.findFirst(h.Epoch)
	switch {
	case e != nil:
		d.count.repeats.WithLabelValues(string(h.Event)).Inc()
		d.stepRepeated(&h, repeatWaits)
		return e, ownership.Reply{}, nil
	case old != nil, k.State == ownership.CallAnswered, k.State == ownership.CallOrphaned:
		// What the table has as answered is never rung again, whoever answered it.
		d.count.repeats.WithLabelValues(string(h.Event)).Inc()
		d.stepRepeated(&h, repeatRung)
		return nil, accepted(), nil
	case l.endedAt != 0:
		d.count.late.Inc()
		d.stepRepeated(&h, repeatLate)
		d.tellAgain(l, k)
		return nil, accepted(), nil
	case k.State == ownership.CallEnded:
		d.count.late.Inc()
		d.stepRepeated(&h, repeatLate)
		return nil, accepted(), nil
	case l.answered != 0:
		d.stepRepeated(&h, repeatRung)
		d.tellAgain(l, k)
		return nil, accepted(), nil
	}
	inherited := d.partOf(h.Partition).seen < h.Epoch
	e = &delivery{key: keyOf(h), outside: true, first: h.Epoch}
	e.work = func(ctx context.Context, e *delivery) (ownership.Reply, error) {
		return d.offer(ctx, l, h, e, inherited)
	}
	if app.Answer == AnswerByRouter {
		e.own = true
		e.work = func(ctx context.Context, _ *delivery) (ownership.Reply, error) {
			return accepted(), d.pickUp(ctx, l, h, inherited)
		}
	}
	if err := d.push(l, e); err != nil {
		return nil, ownership.Reply{}, err
	}
	d.took(l)
	l.held = h.Epoch
	l.thread, l.organiz = h.Thread != "", h.Organizer != "" // the claim has them
	if e.own {
		e.stand(accepted(), nil)
	}
	return e, ownership.Reply{}, nil
}

// pickUp answers a call by the router's own means, then tells the bot.
func (d *deliverer) pickUp(ctx context.Context, l *callQueue, h ownership.HandOver, inherited bool) error {
	if err := d.answer(ctx, l, h, l.app.AnswerWith, inherited); err != nil {
		return err
	}
	t := &todo{event: h.Event}
	t.do = func(ctx context.Context, t *todo, _ *delivery) (ownership.Reply, error) { return d.tell(ctx, l, t, h) }
	_, err := d.tell(ctx, l, t, h)
	return err
}

// offer hands a new call to the bot and follows its instruction, if it gives
// one. inherited: see answer.
func (d *deliverer) offer(ctx context.Context, l *callQueue, h ownership.HandOver, e *delivery, inherited bool) (ownership.Reply, error) {
	reply, err := d.deliver(ctx, l, h)
	if err != nil || reply.Status/100 != 2 {
		return reply, err
	}
	told, err := readInstruction(reply.Body)
	switch {
	case err != nil:
		return ownership.Reply{}, failed(h, ErrReply, err)
	case told == nil:
		return reply, nil
	case l.app.Graph == nil:
		return ownership.Reply{}, failed(h, ErrReply, errors.New("it wants the router to act, which has no credentials for Graph"))
	}
	d.settle(e, accepted())
	if told.Reject != nil {
		return accepted(), d.reject(ctx, l, h, told.Reject.Reason)
	}
	return accepted(), d.answer(ctx, l, h, told.Answer, inherited)
}

// instruction is what a bot may tell the router to do with a new call.
type instruction struct {
	Answer json.RawMessage `json:"answer"`
	Reject *struct {
		Reason string `json:"reason"` // none, busy or forbidden; empty: none
	} `json:"reject"`
}

// readInstruction returns nil where the body is none: those replies pass through.
func readInstruction(body []byte) (*instruction, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' {
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if !json.Valid(body) || json.Unmarshal(body, &fields) != nil {
		return nil, nil //nolint:nilerr // a body that is no instruction is the bot's reply to the cloud
	}
	_, answer := fields["answer"]
	_, reject := fields["reject"]
	if !answer && !reject {
		return nil, nil
	}
	var told instruction
	if err := json.Unmarshal(body, &told); err != nil {
		return nil, errors.New(`"reject" is no object with a reason`)
	}
	switch {
	case answer && reject:
		return nil, errors.New(`it says both "answer" and "reject"`)
	case reject && told.Reject == nil:
		return nil, errors.New(`"reject" is no object with a reason`)
	case answer && (len(told.Answer) == 0 || told.Answer[0] != '{'):
		return nil, errors.New(`"answer" is no object`)
	case reject:
		switch told.Reject.Reason {
		case "", "none", "busy", "forbidden":
		default:
			return nil, errors.New(`the reason to reject is none of none, busy, forbidden`)
		}
	}
	return &told, nil
}

// reject declines the call as the bot asked. The call is over for this region
// either way: if Graph cannot be reached, the cloud's own clock ends it.
func (d *deliverer) reject(ctx context.Context, l *callQueue, h ownership.HandOver, reason string) error {
	ctx, cancel := d.untilDeadline(ctx, h)
	defer cancel()
	defer d.effects.begin(h.Partition)()
	err := l.app.Graph.Reject(d.conf.Traces.From(ctx, h.Header), h.RawCall, graph.RejectPayload{Reason: reason, CallbackURI: h.CallbackURI}, d.permit(h, history.RejectedAt))
	d.logAction("reject", h, err)
	if errors.Is(err, ownership.ErrFenced) {
		return failed(h, ownership.ErrFenced, err)
	}
	why := "rejected at the bot's word"
	if err != nil {
		why = fmt.Sprintf("%s, but Graph did not take it: %v", why, err)
	}
	d.endAs(l, h, ownership.FateRejected, why)
	return nil
}
