package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tandem/ownership"
	"tandem/policy"
	"tandem/traces"
)

// What belongs to another region goes there: a new call by redirect, which the cloud
// follows then; everything else as a letter, which is the request as the cloud sent it,
// judged anew by the door of the other region. That door sends nothing on to a region.

// abroad is the part of the door that knows the other regions: which calls go there, and
// how. It decides from memory but for lookAbroad, and changes nothing but by send.
type abroad struct {
	cfg     Config
	regions Regions
	table   Table
	handles *Handles
	bases   baseCache
	now     func() time.Time
	count   *counters
	traces  *traces.Traces
}

// headerCalls lists, in a letter, the calls of the body that it concerns, with commas
// between. It stands in every letter; the first call is the one that the hop mark is
// signed for.
const headerCalls = "Tandem-Calls"

type letterKey struct{}

// Letters is the door for what other regions relay: the public one, but for the list of
// calls that a letter concerns.
func (h *Handler) Letters() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), letterKey{}, true)))
	})
}

func isLetter(ctx context.Context) bool { return ctx.Value(letterKey{}) != nil }

// narrow leaves the parts of a body that a letter concerns, the first of its list first;
// false: there are none.
func (q *request) narrow(concern []string) bool {
	if len(concern) != 1 {
		return false
	}
	first, _, _ := strings.Cut(concern[0], ",")
	listed := map[ownership.CallID]bool{}
	for id := range strings.SplitSeq(concern[0], ",") {
		listed[ownership.CallID(id)] = true
	}
	q.parts = slices.DeleteFunc(q.parts, func(p part) bool { return !listed[p.call] })
	at := slices.IndexFunc(q.parts, func(p part) bool { return string(p.call) == first })
	if at < 0 {
		return false
	}
	q.parts[0], q.parts[at] = q.parts[at], q.parts[0]
	return true
}

// redirectTrips is what a redirect to another region costs the cloud, in times there and
// back: a connection has to be opened before the request. How far this node is from the
// region stands for how far the cloud is.
const redirectTrips = 2

// routeRegion asks the rules where a call that nobody here knows is handled; room is what
// this region can take, see Table.Room.
func (a *abroad) routeRegion(q *request, d *decision, marked bool, room int) policy.RegionStep {
	query := a.query(q.app, marked, room)
	if d.part.incoming {
		if query.Left = q.deadline(d.part).Sub(a.now()); query.Left <= 0 {
			query.Left = -1 // late; 0 would say that there is no clock
		}
	}
	return policy.RouteRegion(d.verdict, query)
}

// query is what routing knows of the moment, without a clock.
func (a *abroad) query(app ownership.AppID, marked bool, room int) policy.RouteQuery {
	return policy.RouteQuery{Here: a.cfg.Region, Marked: marked, Room: max(room, policy.RoomUnknown), Look: func(r ownership.Region) policy.RegionLook {
		there := a.regions.Look(r, app)
		base, ok := a.regions.URL(r)
		return policy.RegionLook{Up: there.Up && ok && a.bases.good(base), Room: max(there.Room, policy.RoomUnknown), Detour: redirectTrips * there.RTT}
	}}
}

// overflow sends a new call on for which this region has turned out to have no room, if its
// rule lets another region stand in.
func (a *abroad) overflow(q *request, d *decision) {
	full := errors.Is(d.cause, ownership.ErrFull) || errors.Is(d.cause, ownership.ErrNoBot)
	if !full || !d.part.incoming || q.handle != nil || q.hops.region {
		return
	}
	if step := a.routeRegion(q, d, false, 0); step.Step == policy.StepRedirect {
		d.step, d.action, d.why, d.cause, d.refusal = step, actionRegion, step.Why, nil, refusal{}
	}
}

// isAbroad reports whether a callback URI is another region's.
func (a *abroad) isAbroad(of *Handle) bool { return of != nil && of.Region != a.cfg.Region }

// toHandleRegion sends a call to the region of the callback URI on which it came.
func (a *abroad) toHandleRegion(q *request, d decision, marked bool) decision {
	to := q.handle.Region
	d.step = policy.RegionStep{Step: policy.StepRedirect, Region: to, Why: "the callback URI is of region " + string(to)}
	d.action, d.why = actionRegion, d.step.Why
	if marked {
		d.action, d.refusal = actionRefuse, refuseResidency
		d.why += ", and it was sent here by another region already"
	}
	return d
}

// mayBeAbroad reports whether another region may know a call that does not ring and that
// nobody here knows. One that came on a callback URI which a bot of this region asked for
// was started here.
func (a *abroad) mayBeAbroad(q *request, marked bool) bool {
	return !marked && !a.regions.Alone() && (q.handle == nil || !q.handle.Outgoing())
}

// abroadLimit bounds the question which other region knows a call.
const abroadLimit = 2 * time.Second

// lookAbroad decides about the calls that this region does not know: they go to the region
// that knows them, else home. What no region knows and no rule places is claimed here, and
// the end of such a call is left to be asked for. While a region cannot be asked nobody
// can tell: then a call that no rule places gets no second owner, and no end is swallowed.
func (a *abroad) lookAbroad(ctx context.Context, q *request, ds []decision) {
	var calls []ownership.CallID
	for i := range ds {
		if asks(ds[i]) && a.mayBeAbroad(q, q.hops.region) {
			calls = append(calls, ds[i].part.call)
		}
	}
	var where map[ownership.CallID]ownership.Region
	var unsure error
	if len(calls) > 0 {
		ctx, cancel := context.WithTimeout(ctx, abroadLimit)
		defer cancel()
		where, unsure = a.regions.Knowing(ctx, calls)
	}
	for i := range ds {
		d := &ds[i]
		if !asks(*d) {
			continue
		}
		placed := q.handle == nil && d.verdict.Rule >= 0 && d.verdict.Here == "" && !a.regions.Alone()
		at, known := where[d.part.call]
		switch {
		case known:
			d.step = policy.RegionStep{Step: policy.StepRedirect, Region: at, Why: "region " + string(at) + " knows the call"}
			d.action, d.why = actionRegion, d.step.Why
		case placed && d.verdict.Region != a.cfg.Region && !q.hops.region:
			d.step = policy.RegionStep{Step: policy.StepRedirect, Region: d.verdict.Region, Why: d.verdict.Why}
			d.action, d.why = actionRegion, d.step.Why
		case unsure != nil && (d.part.ends || !placed && q.handle == nil):
			d.action, d.refusal, d.cause = actionRefuse, refuseResidency, unsure
			d.why = "nobody knows the call here, and a region that may know it cannot be asked"
		case !d.part.ends:
			d.action, d.why = actionClaim, "nobody knows the call"
		}
	}
}

// letterTo returns the decision whose letter goes to a region, if there is one.
func letterTo(live []*decision, to ownership.Region) *decision {
	for _, d := range live {
		if d.action == actionRegion && d.step.Region == to {
			return d
		}
	}
	return nil
}

// mayRedirectAbroad decides between redirect and letter. New calls are redirected, if the
// whole body goes to one region; follow-ups only where the operator chose so.
func (a *abroad) mayRedirectAbroad(d *decision, ds []decision) bool {
	return a.mayFollow(d, ds) && !slices.ContainsFunc(ds, func(d decision) bool {
		return !d.part.incoming && a.cfg.Midcall != MidcallRedirect
	})
}

// mayFollow reports whether a redirect of the body would reach the region of a letter, and
// concern nothing else.
func (a *abroad) mayFollow(d *decision, ds []decision) bool {
	return len(d.letter) == len(ds) && a.mayRedirectTo(d.step.Region)
}

// mayRedirectTo reports whether a region is healthy and has an address.
func (a *abroad) mayRedirectTo(to ownership.Region) bool {
	base, ok := a.regions.URL(to)
	return ok && a.bases.good(base) && a.regions.Healthy(to)
}

// redirectToRegion sends the caller to another region, where the same path, or
// the same handle, is served.
func (a *abroad) redirectToRegion(q *request, to ownership.Region) result {
	base, ok := a.regions.URL(to)
	if !ok { // it had one when the decision fell
		return refused(refuseResidency, errors.New("the region has lost its address"))
	}
	b := append(make([]byte, 0, 512), base...)
	b = q.appendTrace(a.appendTarget(b, q, to, q.parts[0].call, q.hops.node))
	return result{status: a.cfg.RedirectStatus, outcome: outcomeRegionRedirect, location: string(b)}
}

// appendTarget writes path and query of a request for another region, with a hop mark that
// leads there for a call. A callback URI of that region stays what it is.
func (a *abroad) appendTarget(b []byte, q *request, to ownership.Region, call ownership.CallID, nodeHop bool) []byte {
	b = append(b, a.cfg.Path...)
	if q.handle != nil && q.handle.Region == to {
		b = append(a.handles.appendURI(b, *q.handle), "&h="...)
	} else {
		b = append(b, "?h="...)
	}
	return a.handles.appendMark(b, to, call, Mark{
		RegionHop: true, NodeHop: nodeHop, Received: q.received, Expires: a.now().Add(MarkLife),
	})
}

// send relays the part of a body that belongs to another region, and gives the answer of
// the door there.
func (a *abroad) send(ctx context.Context, q *request, d *decision) result {
	to := d.step.Region
	if until, ok := q.answerBy(d.letter); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, until.Sub(a.now()))
		defer cancel()
	}
	var partition ownership.PartitionID
	if q.handle != nil && q.handle.Region == to {
		partition = q.handle.Partition
	}
	a.count.hops[hopRegionRelay].Inc()
	l := a.letter(q, d, to)
	l.Header = a.traces.Carry(ctx, l.Header)
	reply, err := a.regions.Relay(ctx, to, partition, l)
	switch {
	case err != nil:
		return refused(refuseResidency, fmt.Errorf("relaying to region %s: %w", to, err))
	case !passable(reply.Status):
		return refused(refuseResidency, fmt.Errorf("region %s answered a letter with status %d", to, reply.Status))
	default:
		return result{status: reply.Status, outcome: outcomeRegionRelayed, reply: &reply}
	}
}

// letter makes the letter of a body for another region. All hops are used up by it.
func (a *abroad) letter(q *request, d *decision, to ownership.Region) ownership.Letter {
	header := q.header.Clone()
	header["Authorization"] = q.token
	var calls strings.Builder
	for i, c := range d.letter {
		if i > 0 {
			calls.WriteByte(',')
		}
		calls.WriteString(string(c))
	}
	header[headerCalls] = []string{calls.String()}
	target := a.appendTarget(make([]byte, 0, 512), q, to, d.letter[0], true)
	return ownership.Letter{Target: string(target), Header: header, Body: q.body}
}

// answerBy is when the answer to the first of the new calls among those given must be out.
func (q *request) answerBy(calls []ownership.CallID) (until time.Time, rings bool) {
	for i := range q.parts {
		p := &q.parts[i]
		if !p.incoming || !slices.Contains(calls, p.call) {
			continue
		}
		if by := q.deadline(p); !rings || by.Before(until) {
			until, rings = by, true
		}
	}
	return until, rings
}
