package webhook

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"tandem/graph"
	"tandem/ownership"
	"tandem/ownership/history"
)

// Steps remembers what this door does with notifications, for whoever follows one later.
type Steps interface{ Step(history.Step) }

// diary tells the steps of requests.
type diary struct {
	to  Steps // nil: nobody remembers them
	now func() time.Time
}

func (y diary) note(s history.Step) {
	if y.to != nil {
		y.to.Step(s)
	}
}

// stepsOf bounds the calls of one body of which steps are told.
const stepsOf = 64

// ids are by what a notification can be found beside its calls.
type ids struct{ delivery, chain, scenario, request string }

func idsOf(header http.Header) ids {
	return ids{
		delivery: headerWord(header, graph.HeaderMessage), chain: chainOf(header), scenario: headerWord(header, "Scenario-Id"), request: headerWord(header, graph.HeaderRequest),
	}
}

// step begins a step of one call of the body.
func (q *request) step(kind history.StepKind, p *part) history.Step {
	s := history.Step{
		Kind: kind, Message: short(cmp.Or(q.message, q.ids.delivery)), Chain: q.ids.chain, Scenario: q.ids.scenario, Request: q.ids.request, App: q.app, Tenant: q.tenant,
	}
	if p != nil {
		s.Call = p.call
		if p.about != nil && p.about.ChainID != "" {
			s.Chain = strings.ToLower(p.about.ChainID)
		}
	}
	return s
}

// came tells that a notification is here, with a good token.
func (y diary) came(q *request) {
	for i := range q.parts[:min(len(q.parts), stepsOf)] {
		s := q.step(history.Received, &q.parts[i])
		s.At, s.Text = q.came, q.way()
		if q.handle != nil {
			s.Partition, s.Epoch = q.handle.Partition, q.handle.Epoch
		}
		y.note(s)
	}
}

// way says in words how a notification got here.
func (q *request) way() string {
	switch {
	case q.letter:
		return "in a letter of another region"
	case q.hops.region && q.hops.node:
		return "after redirects by a region and a node"
	case q.hops.region:
		return "after a redirect by another region"
	case q.hops.node:
		return "after a redirect by a node"
	case q.handle != nil:
		return "at the call's callback URI"
	default:
		return "at the webhook's address"
	}
}

// ruled tells what the rules said about a call that nobody here knows.
func (y diary) ruled(q *request, d *decision) {
	if d.step.Step == 0 {
		return
	}
	s := q.step(history.Ruled, d.part)
	s.To, s.Text = string(d.step.Region), d.step.Why
	y.note(s)
}

// placed tells what came of a claim.
func (y diary) placed(q *request, d *decision, took time.Duration) {
	s := q.step(history.Placed, d.part)
	s.Took, s.Partition, s.Epoch, s.To = took, d.placement.Partition, d.placement.Epoch, string(d.placement.Owner)
	if s.Text = string(d.placement.Reason); d.cause != nil {
		s.Text, s.Status = short(d.cause.Error()), d.refusal.status
	}
	y.note(s)
}

// sent tells that a call's notification went to another node or region, and what came back.
func (y diary) sent(q *request, kind history.StepKind, d *decision, to string, began time.Time, res result) {
	s := q.step(kind, d.part)
	s.Partition, s.Epoch, s.To, s.Status, s.Took = d.owner.Partition, d.owner.Epoch, to, res.status, y.now().Sub(began)
	if res.cause != nil {
		s.Text = short(res.cause.Error())
	}
	y.note(s)
}

// redirected tells that the cloud is sent on with all calls of a body.
func (y diary) redirected(q *request, p plan, to string, res result) result {
	for _, d := range p.live {
		y.sent(q, history.Redirected, d, to, q.came, res)
	}
	return res
}

// replied tells what a request was answered with. Redirects say so themselves.
func (y diary) replied(q *request, res result) {
	kind := history.Replied
	switch {
	case res.refused != nil:
		kind = history.Refused
	case res.location != "":
		return
	case res.outcome == outcomeHandshake:
		kind = history.Received // all that happens to it
	}
	now := y.now()
	tell := func(p *part) {
		s := q.step(kind, p)
		s.At, s.Status, s.Took, s.Text = now, res.status, now.Sub(q.came), string(res.outcome)
		if res.cause != nil {
			s.Text += ": " + short(res.cause.Error())
		}
		y.note(s)
	}
	if len(q.parts) == 0 {
		tell(nil)
	}
	for i := range q.parts[:min(len(q.parts), stepsOf)] {
		tell(&q.parts[i])
	}
}

// handed tells of a notification that another node relayed.
func (y diary) handed(ho *ownership.HandOver, kind history.StepKind, text string) {
	q := request{app: ho.App, tenant: ho.Tenant, message: ho.MessageID, ids: idsOf(ho.Header)}
	s := q.step(kind, nil)
	s.Call, s.Partition, s.Epoch, s.Text = ho.Call, ho.Partition, ho.Epoch, text
	y.note(s)
}
