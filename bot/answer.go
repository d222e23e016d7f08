package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"tandem/graph"
	"tandem/ownership"
	"tandem/ownership/history"
)

const (
	answerClock    = 15 * time.Second // from the first notification; call-answer.md of Graph v1.0
	recordingClock = 5 * time.Second  // the same for policy-based recording
	leasePause     = 100 * time.Millisecond
	verdictTime    = 5 * time.Second // for asking Graph who won
)

// answer accepts the call at Graph: the same bytes with the same callback URI
// until Graph takes it, refuses it, or the deadline is over. While the lease is
// lost it waits for it: if the partition moves meanwhile it never comes back,
// and the new owner answers.
//
// inherited: an earlier owner of the partition may have answered already.
func (d *deliverer) answer(ctx context.Context, l *callQueue, h ownership.HandOver, with json.RawMessage, inherited bool) error {
	ctx, cancel := d.untilDeadline(ctx, h)
	defer cancel()
	payload := graph.AnswerPayload{CallbackURI: h.CallbackURI, With: with}
	ours := inherited // whether an answer that Graph has taken may be our own
	for {
		err := d.answerOnce(ctx, l, h, payload)
		if errors.Is(err, ownership.ErrFenced) {
			ours = true // an attempt before the lease was lost may have got through
			// A dispatcher that closes has no lease to come: its node left or stops.
			if d.open.Err() == nil && graph.Sleep(ctx, leasePause) {
				continue
			}
		}
		d.logAction("answer", h, err)
		if err == nil {
			d.count.answerTime.Observe(d.conf.Now().Sub(h.Received).Seconds())
			return nil
		}
		return d.verdict(l, h, err, ours)
	}
}

// answerOnce is one effect with what follows from it: a move that is planned
// waits until the table has heard of the answer.
func (d *deliverer) answerOnce(ctx context.Context, l *callQueue, h ownership.HandOver, payload graph.AnswerPayload) error {
	defer d.effects.begin(h.Partition)()
	err := l.app.Graph.Answer(d.conf.Traces.From(ctx, h.Header), h.RawCall, payload, d.permit(h, history.AnsweredAt))
	if err == nil {
		d.wasAnswered(l, h)
	}
	return err
}

// verdict decides what an answer that Graph did not take means for the call.
// ours: an earlier answer of this region may have been taken. Then no refusal
// speaks for itself, a 404 no more than a 409: Graph is asked before anything ends.
func (d *deliverer) verdict(l *callQueue, h ownership.HandOver, cause error, ours bool) error {
	var ce *graph.CallError
	switch {
	case errors.Is(cause, ownership.ErrFenced):
		return failed(h, ownership.ErrFenced, cause) // the new owner answers, and keeps the table
	case errors.As(cause, &ce):
		ours = ours || ce.Maybe
	}
	if errors.Is(cause, graph.ErrGone) && !ours {
		d.endAs(l, h, d.unanswered(h, ""), "it had ended at Graph before the answer")
		return cause
	}
	ask := verdictTime
	if ours {
		ask = d.conf.TellFor // as long as it is open, the call's later notifications wait
	}
	ctx, cancel := context.WithTimeout(d.base, ask)
	defer cancel()
	remote, err := l.app.Graph.Get(ctx, h.RawCall)
	switch {
	case errors.Is(err, graph.ErrGone):
		d.endAs(l, h, d.unanswered(h, ""), "it had ended at Graph before the answer")
	case err != nil && ours:
		// Perhaps it was answered by us: the next notification or the reaper will
		// tell. To release it now could cut a live call off.
		d.log.Warn("it is open whether Graph took the answer", "call", h.Call, "epoch", h.Epoch, "err", err)
	case err != nil:
		d.endAs(l, h, d.unanswered(h, ownership.FateLost), fmt.Sprintf("not answered: %v", cause))
	case ringing(remote.State):
		d.endAs(l, h, d.unanswered(h, ownership.FateLost), fmt.Sprintf("not answered: %v", cause))
	case sameBase(remote.CallbackURI, h.CallbackURI), remote.CallbackURI == "" && ours:
		d.log.Info("Graph had taken an earlier answer of this region", "call", h.Call, "epoch", h.Epoch)
		d.wasAnswered(l, h)
		return nil
	default:
		d.count.lost.Inc()
		d.endAs(l, h, ownership.FateLost, "lost: another region or instance had answered it first")
	}
	return cause
}

// ringing reports whether Graph still waits for somebody to answer.
func ringing(state string) bool {
	return strings.EqualFold(state, "incoming") || strings.EqualFold(state, "ringing")
}

// sameBase reports whether two callback URIs start with the same public base:
// then both were made in this region, where a call is claimed once only.
func sameBase(a, b string) bool {
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	return errA == nil && errB == nil && ua.Host != "" && strings.EqualFold(ua.Scheme, ub.Scheme) && strings.EqualFold(ua.Host, ub.Host)
}

// permit is the fence: asked before each attempt at Graph. What an attempt came to is a
// step of the kind; none is kept for an empty one.
func (d *deliverer) permit(h ownership.HandOver, kind history.StepKind) graph.Permit {
	may := graph.Permit{Epoch: uint64(h.Epoch), Check: func() error {
		if d.ledger.Holds(h.Call, h.Partition, h.Epoch) {
			return nil
		}
		return fmt.Errorf("acting on call %s in partition %d at epoch %d: %w", h.Call, h.Partition, h.Epoch, ownership.ErrFenced)
	}}
	if kind != "" {
		may.Heard = func(status int, took time.Duration) { d.stepAction(kind, &h, status, took) }
	}
	return may
}

// untilDeadline bounds an action by the cloud's clock for the call.
func (d *deliverer) untilDeadline(ctx context.Context, h ownership.HandOver) (context.Context, context.CancelFunc) {
	now := d.conf.Now()
	if h.Received.IsZero() {
		h.Received = now
	}
	if h.Deadline.IsZero() {
		h.Deadline = h.Received.Add(answerClock)
		if h.Recording {
			h.Deadline = h.Received.Add(recordingClock)
		}
	}
	return context.WithTimeout(ctx, max(h.Deadline.Sub(now), leastToReply))
}

// actionKinds are the steps of actions; a keepAlive is none.
var actionKinds = map[string]history.StepKind{"answer": history.AnsweredAt, "reject": history.RejectedAt}

func (d *deliverer) logAction(op string, h ownership.HandOver, err error) {
	log := d.log.With("op", op, "call", h.Call, "app", h.App, "partition", h.Partition, "epoch", h.Epoch)
	if err != nil {
		if kind := actionKinds[op]; kind != "" {
			d.stepGivenUp(kind, &h, err)
		}
		log.Warn("Graph action failed", "err", err)
		return
	}
	log.Info("Graph action done")
}
