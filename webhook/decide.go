package webhook

import (
	"context"
	"errors"
	"slices"
	"time"

	"tandem/ownership"
	"tandem/policy"
)

// action is what happens to one call of a body.
type action uint8

const (
	actionIgnore action = iota + 1 // nothing to do, and 202: repeating it would change nothing
	actionClaim                    // nobody knows the call: it needs an owner
	actionOwner                    // it goes to its owner
	actionRegion                   // it goes to another region
	actionRefuse                   // nobody may answer now
	actionAsk                      // it does not ring, and this node does not know it: does anybody?
)

// decision is the action for one call of a body.
type decision struct {
	part      *part
	action    action
	why       string // one sentence, for explain
	owner     ownership.Owner
	refusal   refusal
	cause     error
	facts     policy.Facts // of calls that nobody knows
	verdict   policy.RegionVerdict
	step      policy.RegionStep
	placement ownership.Placement
	letter    []ownership.CallID // the calls that go to another region together, this one first; see sortOut
}

// foreign reports whether the call is another app's. No part of such a body is
// carried out: the calling cloud never mixes the calls of two apps.
func (d *decision) foreign() bool { return errors.Is(d.cause, ownership.ErrOtherApp) }

// decide finds out where each call of a body goes. It gives the decisions, or
// the whole answer where the body as such cannot be routed.
func (h *Handler) decide(ctx context.Context, q *request) ([]decision, result) {
	ds, res := h.locateAll(ctx, q)
	if ds == nil {
		return nil, res
	}
	h.traffic.record(q, ds)
	for i := range ds {
		h.diary.ruled(q, &ds[i])
		if ds[i].action == actionClaim {
			began := h.now()
			within, end := h.traces.Span(ctx, "claim", ds[i].part.call, 0, 0)
			h.settle(within, q, &ds[i], h.table.Claim)
			end(ds[i].cause)
			h.diary.placed(q, &ds[i], h.now().Sub(began))
			if ds[i].foreign() { // the leader knew it, this node did not yet
				if ds[i].part.incoming {
					ds[i].refusal = refuseOtherApp
				}
				return nil, refused(ds[i].refusal, ds[i].cause)
			}
		}
	}
	return ds, result{}
}

// locateAll does all of decide that needs no claim and has no effect; explain
// uses it as well.
func (h *Handler) locateAll(ctx context.Context, q *request) ([]decision, result) {
	if q.handle != nil {
		if res, bad := h.checkHandle(q); bad {
			return nil, res
		}
	}
	ds := make([]decision, len(q.parts))
	for i := range ds {
		ds[i] = h.locate(q, &q.parts[i], q.hops.region)
		if ds[i].foreign() {
			return nil, refused(ds[i].refusal, ds[i].cause)
		}
	}
	return h.makeSure(ctx, q, ds)
}

// makeSure finds out about calls that this node does not know and that do not ring. A
// node that lags behind, or is cut off, may know less than its region: then to say 202
// to an end would swallow it, and nobody repeats it. And what no region knows alone is
// claimed here: a second claim would give the call two owners.
func (h *Handler) makeSure(ctx context.Context, q *request, ds []decision) ([]decision, result) {
	if !slices.ContainsFunc(ds, asks) {
		return ds, result{}
	}
	here, cancel := context.WithTimeout(ctx, freshLimit)
	defer cancel()
	err := h.table.Fresh(here)
	if no, bad := h.lookAgain(q, ds, err, "nobody knows the call here, and this node cannot make sure that its table is up to date"); bad {
		return nil, no
	}
	h.lookAbroad(ctx, q, ds)
	err = h.remember(here, q, ds)
	if no, bad := h.lookAgain(q, ds, err, "it is the end of a call that the region does not know, and the region could not be told of it"); bad {
		return nil, no
	}
	for i := range ds {
		if asks(ds[i]) {
			ds[i].action, ds[i].why = actionIgnore, "it is the end of a call that the region does not know"
		}
	}
	return ds, result{}
}

func asks(d decision) bool { return d.action == actionAsk }

// lookAgain locates the calls that the table knows by now. Where it may know too little,
// the others are refused.
func (h *Handler) lookAgain(q *request, ds []decision, err error, why string) (result, bool) {
	for i := range ds {
		d := &ds[i]
		if !asks(*d) {
			continue
		}
		if _, known := h.table.Find(d.part.call); known {
			*d = h.locate(q, d.part, true)
		} else if err != nil {
			d.action, d.refusal, d.cause, d.why = actionRefuse, refuseBehind, err, why
		}
		if d.foreign() {
			return refused(d.refusal, d.cause), true
		}
	}
	return result{}, false
}

// remember tells the region of ends of calls that it does not know. The claim of
// one may be under way, or have come to an end that nobody heard of: it must not
// ring when it is carried out after all, for this end is told only once.
func (h *Handler) remember(ctx context.Context, q *request, ds []decision) error {
	var calls []ownership.Unclaimed
	for i := range ds {
		p := ds[i].part
		if _, known := h.table.Find(p.call); asks(ds[i]) && !known {
			f := q.facts(p)
			calls = append(calls, ownership.Unclaimed{Call: p.call, App: q.app, Tenant: f.Tenant, Chain: f.ChainID})
		}
	}
	if q.dry || len(calls) == 0 {
		return nil
	}
	return h.table.Ended(ctx, calls...)
}

// freshLimit bounds the wait for an up-to-date table.
const freshLimit = time.Second

// checkHandle compares a verified callback URI with the table and the body.
func (h *Handler) checkHandle(q *request) (result, bool) {
	if q.handle.Outgoing() && !q.guessed && !madeFor(q.handle.Ref, q.app) {
		return refused(refuseToken, ownership.ErrOtherApp), true
	}
	invite := false
	if !q.handle.Outgoing() && !names(q.parts, q.handle.Ref) {
		if invite = slices.ContainsFunc(q.parts, func(p part) bool { return p.incoming }); !invite {
			return refused(refuseNotFound, errors.New("the callback URI belongs to another call than the body")), true
		}
	}
	if h.isAbroad(q.handle) {
		return result{}, false // its region knows the rest
	}
	if invite {
		if known, ok := h.table.Find(ownership.CallID(q.handle.Ref)); ok && q.foreign(known.App) {
			return refused(refuseToken, ownership.ErrOtherApp), true
		}
	}
	if owner, ok := h.table.Owner(q.handle.Partition); ok && q.handle.Epoch > owner.Epoch {
		return h.aheadOfTable(q, owner.Epoch), true
	}
	return result{}, false
}

// aheadOfTable answers a callback URI with our signature that the table does
// not bear out: this node lags behind, or the table was rolled back.
func (h *Handler) aheadOfTable(q *request, at ownership.Epoch) result {
	if !q.dry {
		h.count.future.Inc()
		h.log.Error("a signed callback URI is ahead of the table: this node lags behind, or the table was rolled back",
			"partition", uint32(q.handle.Partition), "epoch", uint64(q.handle.Epoch), "table_epoch", uint64(at))
	}
	return refused(refuseFutureEpoch, ownership.ErrFutureEpoch)
}

func names(parts []part, ref string) bool {
	for i := range parts {
		if string(parts[i].call) == ref {
			return true
		}
	}
	return false
}

// locate decides as much as memory can tell about one call.
func (h *Handler) locate(q *request, p *part, marked bool) decision {
	d := decision{part: p}
	if h.isAbroad(q.handle) && q.handle.Ref == string(p.call) {
		return h.toHandleRegion(q, d, marked)
	}
	if known, ok := h.table.Find(p.call); ok {
		if q.foreign(known.App) {
			d.action, d.refusal, d.cause = actionRefuse, refuseToken, ownership.ErrOtherApp
			d.why = "the token is not for the call's app"
			// Whoever claimed a call first need not be whose it is: the cloud's own word
			// is who could answer it. Until then the cloud may come again.
			if p.incoming && known.State != ownership.CallAnswered && known.State != ownership.CallOrphaned {
				d.refusal = refuseOtherApp
			}
			return d
		}
		if known.State == ownership.CallEnded {
			d.action, d.why = actionIgnore, "the call has ended"
			return d
		}
		return h.toOwner(d, known.Partition, "the call stands in the table")
	}
	if h.isAbroad(q.handle) {
		return h.toHandleRegion(q, d, marked)
	}
	if q.handle != nil && q.handle.Ref == string(p.call) {
		// The signature does not say whose call it is: its owner's table does, or the
		// line at the owner's dispatcher.
		if d = h.toOwner(d, q.handle.Partition, "the signed callback URI names its partition"); d.action == actionRefuse {
			d.refusal = *h.aheadOfTable(q, 0).refused
		}
		return d
	}
	d.facts = q.facts(p)
	d.verdict = q.rules(h).rules.Home(d.facts, h.cfg.Region)
	// A callback URI of this region holds for any call that comes on it.
	d.step = h.routeRegion(q, &d, marked || q.handle != nil, h.table.Room(q.app))
	switch {
	case !p.incoming && h.mayBeAbroad(q, marked):
		d.action, d.why = actionAsk, "nobody here knows the call"
	case d.step.Step == policy.StepRedirect:
		d.action, d.why = actionRegion, d.step.Why
	case d.step.Step == policy.StepRefuse:
		d.action, d.why, d.refusal = actionRefuse, d.step.Why, refuseResidency
	case p.ends:
		d.action, d.why = actionAsk, "nobody here knows the call"
	default:
		d.action, d.why = actionClaim, "nobody knows the call"
	}
	return d
}

func (h *Handler) toOwner(d decision, p ownership.PartitionID, why string) decision {
	owner, ok := h.table.OwnerOf(d.part.call, p)
	if !ok {
		d.action, d.refusal, d.why = actionRefuse, refuseNoOwner, "this node does not know the partition yet"
		return d
	}
	d.action, d.owner, d.why = actionOwner, owner, why
	return d
}

// settle gives a call its owner.
func (h *Handler) settle(ctx context.Context, q *request, d *decision, ask func(context.Context, ownership.Claim) (ownership.Placement, error)) {
	c := h.claim(q, d.part, d.facts)
	h.pinTo(q, d.part, &c)
	ctx, cancel := context.WithTimeout(ctx, h.cfg.ClaimTimeout)
	defer cancel()
	place, err := ask(ctx, c)
	if err != nil {
		d.action, d.cause, d.refusal = actionRefuse, err, refusalOfClaim(err)
		d.why = "it could not be placed"
		h.overflow(q, d)
		return
	}
	d.placement = place
	if place.Reason == ownership.ReasonEnded {
		d.action, d.why = actionIgnore, "the call has ended"
		return
	}
	d.action, d.owner, d.why = actionOwner, h.ownerOf(d.part.call, place), "the table gave it a place"
}

// pinTo keeps a call on the node of the callback URI that it came on.
func (h *Handler) pinTo(q *request, p *part, c *ownership.Claim) {
	if q.handle == nil {
		return
	}
	switch owner, ok := h.table.OwnerOf(ownership.CallID(q.handle.Ref), q.handle.Partition); {
	case !ok:
	case q.handle.Outgoing(), // the bot asked for this callback URI to get its call on this node
		p.incoming && c.Pin == (ownership.Pin{}): // an invite that comes on a live call's URI belongs beside that call
		c.Pin = ownership.Pin{Node: owner.Node}
	}
}

// ownerOf turns a placement into an owner. One at this node stands: the hand-over asks
// again. Of another's, this node's memory knows the address; but it may not have seen
// the claim applied yet, then the placement is the newer word, and it alone knows where
// a call stands that the region knew already.
func (h *Handler) ownerOf(call ownership.CallID, p ownership.Placement) ownership.Owner {
	if p.Owner == h.cfg.Node {
		return ownership.Owner{Node: p.Owner, Partition: p.Partition, Epoch: p.Epoch, Here: true}
	}
	_, known := h.table.Find(call)
	o, ok := h.table.OwnerOf(call, p.Partition)
	if ok && o.Epoch >= p.Epoch && (known || p.Reason != ownership.ReasonKnown) {
		return o
	}
	return ownership.Owner{Node: p.Owner, Partition: p.Partition, Epoch: p.Epoch}
}

func refusalOfClaim(err error) refusal {
	switch {
	case errors.Is(err, ownership.ErrOtherApp):
		return refuseToken
	case errors.Is(err, ownership.ErrNoBot):
		return refuseNoBot
	case errors.Is(err, ownership.ErrFull):
		return refuseFull
	case errors.Is(err, ownership.ErrBehind):
		return refuseBehind
	case errors.Is(err, ownership.ErrTwin), errors.Is(err, ownership.ErrFenced):
		return refuseNoLease
	case errors.Is(err, ownership.ErrNoLeader), errors.Is(err, context.DeadlineExceeded):
		return refuseNoLeader
	default:
		return refuseClaim
	}
}
