package webhook

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"tandem/ownership"
	"tandem/ownership/history"
)

// route is how a body as a whole is dealt with.
type route uint8

const (
	routeRegion route = iota + 1 // redirect to the one region that is the home of all its calls
	routeNode                    // redirect to the node that owns all its calls
	routeIgnore                  // nothing in it concerns anybody
	routeHand                    // hand it over, or relay it, for one call or to one region
	routeEach                    // the same for each of several
)

// plan is the route of a body, and what remains of its decisions.
type plan struct {
	route route
	live  []*decision
	owner ownership.Owner
}

// choose settles the route. It has no effect; explain uses it as well.
func (h *Handler) choose(q *request, ds []decision) plan {
	live, owner, one := sortOut(ds)
	p := plan{live: live, owner: owner}
	switch {
	case len(live) == 0:
		p.route = routeIgnore
	case len(live) == 1 && live[0].action == actionRegion && h.mayRedirectAbroad(live[0], ds):
		p.route = routeRegion
	case one && !owner.Here && h.mayRedirect(q, live, owner):
		p.route = routeNode
	case len(live) == 1:
		p.route = routeHand
	default:
		p.route = routeEach
	}
	return p
}

// respond does what was decided for the calls of one body.
func (h *Handler) respond(ctx context.Context, q *request, ds []decision) result {
	p := h.choose(q, ds)
	switch p.route {
	case routeRegion:
		return h.diary.redirected(q, p, string(p.live[0].step.Region), h.redirectToRegion(q, p.live[0].step.Region))
	case routeNode:
		return h.diary.redirected(q, p, string(p.owner.Node), h.redirectToNode(q, p.live[0].part, p.owner))
	case routeIgnore:
		return accepted(outcomeIgnored)
	case routeHand:
		res := h.hand(ctx, q, p.live[0])
		if errors.Is(res.cause, ownership.ErrNotTaken) && h.mayFollow(p.live[0], ds) {
			return h.diary.redirected(q, p, string(p.live[0].step.Region), h.redirectToRegion(q, p.live[0].step.Region))
		}
		return res
	default:
		return h.handAll(ctx, q, p.live)
	}
}

// sortOut drops what is ignored, puts what goes to one region into one letter, and reports
// whether all the rest has one owner.
func sortOut(ds []decision) (live []*decision, owner ownership.Owner, one bool) {
	one = true
	live = make([]*decision, 0, 1)
	for i := range ds {
		d := &ds[i]
		if d.action == actionIgnore {
			continue
		}
		if d.action == actionRegion {
			one = false
			if of := letterTo(live, d.step.Region); of != nil {
				of.letter = append(of.letter, d.part.call)
				continue
			}
			d.letter = []ownership.CallID{d.part.call}
		}
		if len(live) == 0 {
			owner = d.owner
		}
		one = one && d.action == actionOwner && d.owner.Node == owner.Node
		live = append(live, d)
	}
	return live, owner, one
}

// mayRedirect decides between redirect and relay. A new call is redirected once,
// on the plain path; a follow-up only where the operator chose so.
func (h *Handler) mayRedirect(q *request, live []*decision, owner ownership.Owner) bool {
	if q.hops.node || owner.PublicURL == "" || owner.PublicURL == h.cfg.PublicURL || !h.bases.good(owner.PublicURL) {
		return false
	}
	for _, d := range live {
		if d.part.incoming {
			if q.handle != nil { // its own path says that a redirect brought it here
				return false
			}
		} else if h.cfg.Midcall != MidcallRedirect {
			return false
		}
	}
	return true
}

// redirectToNode sends the caller to the owner's node, with the handle in the
// path, so that the owner needs no table to know the call for its own.
func (h *Handler) redirectToNode(q *request, p *part, owner ownership.Owner) result {
	to := Handle{Region: h.cfg.Region, Partition: owner.Partition, Epoch: owner.Epoch, Ref: string(p.call), Identity: h.shortIdentity()}
	b := append(make([]byte, 0, 512), owner.PublicURL...)
	b = h.handles.appendURI(append(b, h.cfg.Path...), to)
	b = h.handles.appendMark(append(b, "&h="...), h.cfg.Region, q.parts[0].call, Mark{
		RegionHop: q.hops.region, NodeHop: true, Received: q.received, Expires: h.now().Add(MarkLife),
	})
	return result{status: h.cfg.RedirectStatus, outcome: outcomeNodeRedirect, location: string(q.appendTrace(b))}
}

// hand brings one call's notification to its owner and gives the owner's answer.
func (h *Handler) hand(ctx context.Context, q *request, d *decision) result {
	if d.action == actionRefuse {
		return refused(d.refusal, d.cause)
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.HandOver)
	defer cancel()
	began := h.now()
	if d.action == actionRegion {
		res := h.send(ctx, q, d)
		h.diary.sent(q, history.Lettered, d, string(d.step.Region), began, res)
		return res
	}
	ho := q.handOver(d)
	ho.Header = h.traces.Carry(ctx, ho.Header)
	if d.owner.Here {
		reply, err := h.deliver(ctx, ho)
		return passed(outcomeHandled, reply, err)
	}
	h.count.hops[hopRelay].Inc()
	reply, err := h.table.Relay(ctx, d.owner.Node, ho)
	res := passed(outcomeRelayed, reply, err)
	if err != nil && !isOwnership(err) {
		res = refused(refuseRelay, fmt.Errorf("relaying to %s: %w", d.owner.Node, err))
	}
	h.diary.sent(q, history.Relayed, d, string(d.owner.Node), began, res)
	return res
}

// handOver makes the hand-over of a body for one of its calls.
func (q *request) handOver(d *decision) ownership.HandOver {
	p := d.part
	ho := ownership.HandOver{
		Event: ownership.EventUpdate, App: q.app, Tenant: q.tenant,
		Call: p.call, RawCall: p.raw, Partition: d.owner.Partition, Epoch: d.owner.Epoch,
		MessageID: q.message, Ends: p.ends, Result: p.result, Recording: p.recording,
		Received: q.received, Header: q.header, Body: q.body,
	}
	if p.about != nil {
		ho.Thread, ho.Organizer = p.about.ThreadID, p.about.Organizer
	}
	if p.incoming {
		ho.Event, ho.Deadline = ownership.EventIncoming, q.deadline(p)
	}
	return ho
}

// passed turns the owner's answer into ours.
func passed(how outcome, reply ownership.Reply, err error) result {
	switch {
	case err != nil:
		return refused(refusalOfOwner(err), err)
	case reply.Status == 0:
		return accepted(how)
	case !passable(reply.Status):
		return refused(refuseBadReply, fmt.Errorf("the bot answered with status %d", reply.Status))
	default:
		return result{status: reply.Status, outcome: how, reply: &reply}
	}
}

func isOwnership(err error) bool {
	return errors.Is(err, ownership.ErrFenced) || errors.Is(err, ownership.ErrStaleEpoch) ||
		errors.Is(err, ownership.ErrFutureEpoch) || errors.Is(err, ownership.ErrUnknown) ||
		errors.Is(err, ownership.ErrOtherApp) || errors.Is(err, ownership.ErrBehind) || errors.Is(err, ownership.ErrTwin)
}

func refusalOfOwner(err error) refusal {
	switch {
	case errors.Is(err, ownership.ErrOtherApp):
		return refuseToken
	case errors.Is(err, ownership.ErrFenced), errors.Is(err, ownership.ErrTwin):
		return refuseNoLease
	case errors.Is(err, ownership.ErrBehind):
		return refuseBehind
	case errors.Is(err, ownership.ErrFutureEpoch):
		return refuseFutureEpoch
	case errors.Is(err, ownership.ErrStaleEpoch), errors.Is(err, ownership.ErrUnknown):
		return refuseNoOwner
	default:
		return refuseBot
	}
}

// handAll brings a body with several calls to each call's owner. Only if all
// took it the answer is 202; else 503, the cloud repeats the body, and those who
// had it know the message id.
func (h *Handler) handAll(ctx context.Context, q *request, live []*decision) result {
	results := make([]result, len(live))
	var g errgroup.Group
	g.SetLimit(16)
	for i, d := range live {
		g.Go(func() error {
			results[i] = h.handOrCrash(ctx, q, d)
			return nil
		})
	}
	_ = g.Wait() // none fails
	failed := 0
	for i, res := range results {
		if res.status >= 200 && res.status < 300 {
			continue
		}
		failed++
		h.log.Warn("one call of a body with several was not handled", "call", live[i].part.call,
			"outcome", string(res.outcome), "status", res.status, "message", short(q.message), "cause", res.cause)
	}
	if failed == 0 {
		return accepted(outcomeSeveral)
	}
	h.count.partly.Inc()
	return refused(refusePartly, fmt.Errorf("%d of %d calls of the body were not handled", failed, len(live)))
}

// handOrCrash is hand for a goroutine of its own: there a crash would end the
// process, and with it every other call's notifications.
func (h *Handler) handOrCrash(ctx context.Context, q *request, d *decision) (res result) {
	defer func() {
		if v := recover(); v != nil {
			h.crashed(v)
			res = refused(refuseCrash, nil)
		}
	}()
	return h.hand(ctx, q, d)
}
