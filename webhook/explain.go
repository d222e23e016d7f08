package webhook

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"tandem/graph"
	"tandem/ownership"
	"tandem/policy"
	"tandem/spelling"
)

// Explanation is what this door would do with a notification, and why.
type Explanation struct {
	Message  string            `json:"message"` // legacy, graph, unreadable, or not read
	Token    string            `json:"token"`   // valid, absent (then explained as if valid), or why it is refused
	App      ownership.AppID   `json:"app,omitempty"`
	Tenant   string            `json:"tenant,omitempty"`
	Calls    []ExplainedCall   `json:"calls,omitempty"`
	Response ExplainedResponse `json:"response"`
}

// ExplainedCall is the part of an explanation that concerns one call.
type ExplainedCall struct {
	Call      ownership.CallID      `json:"call"`
	RawCall   string                `json:"raw_call"`
	Kind      string                `json:"kind"`  // new call, update, end of call
	Known     bool                  `json:"known"` // it stands in the table, ended or not
	Recording bool                  `json:"recording,omitempty"`
	AnswerIn  float64               `json:"answer_in_seconds,omitempty"` // of a new call
	Decision  string                `json:"decision"`                    // ignore, owner, region, refuse
	Why       string                `json:"why"`
	Facts     *policy.Facts         `json:"facts,omitempty"` // what the rules saw; of calls that are not in the table
	Groups    []ownership.GroupKey  `json:"groups,omitempty"`
	Verdict   *policy.RegionVerdict `json:"verdict,omitempty"`
	Region    *policy.RegionStep    `json:"region,omitempty"`
	Pin       *policy.PinVerdict    `json:"pin,omitempty"`
	Placement *ownership.Placement  `json:"placement,omitempty"`
	Owner     *ExplainedOwner       `json:"owner,omitempty"`
}

// ExplainedOwner is who owns the call's partition now.
type ExplainedOwner struct {
	Node      ownership.NodeID      `json:"node"`
	Partition ownership.PartitionID `json:"partition"`
	Epoch     ownership.Epoch       `json:"epoch"`
	Here      bool                  `json:"here"`
}

// ExplainedResponse is what the caller would get. A hand-over ends with the
// bot's own response, which nobody knows before.
type ExplainedResponse struct {
	Status   int    `json:"status"`             // 0: the bot's own
	Action   string `json:"action"`             // outcome, as in the metrics
	Location string `json:"location,omitempty"` // without its signature
	Error    string `json:"error,omitempty"`
}

// Explain tells what would happen to a notification that arrived now on this
// node. It runs the functions that requests run, with Table.WhatIf in place of
// Table.Claim: nothing is claimed, handed over, relayed, logged or counted.
// Without a token it explains as if there were a valid one.
func (h *Handler) Explain(ctx context.Context, s ownership.Supposed) Explanation {
	return h.explain(ctx, s, nil)
}

// Try is Explain by other rules than those in force.
func (h *Handler) Try(ctx context.Context, s ownership.Supposed, candidate *policy.Compiled) Explanation {
	return h.explain(ctx, s, &policies{candidate.Rules, candidate.Pins})
}

func (h *Handler) explain(ctx context.Context, s ownership.Supposed, by *policies) Explanation {
	q := &request{received: h.now(), header: s.Header, body: s.Body, dry: true, by: by}
	lost := h.readTarget(s.Target, q)
	msg, err := h.decode(q)
	e, no := h.explainToken(ctx, q, s, msg)
	switch {
	case lost != nil:
		e.Message = "not read"
		e.Response = responseOf(refused(refuseNotFound, lost))
	case err != nil:
		e.Message = "unreadable"
		e.Response = responseOf(refused(refusalOfDecode(err), err))
	case msg.Kind == graph.Legacy:
		e.Message = msg.Kind.String()
		e.Response = responseOf(result{status: http.StatusNoContent, outcome: outcomeHandshake})
	default:
		e.Message = msg.Kind.String()
		q.parts = split(msg, q.handle)
		h.readMark(q)
		h.explainCalls(ctx, q, &e)
	}
	if no.code != "" {
		e.Response = responseOf(refused(no, nil))
	}
	return e
}

// readTarget reads a request's target as router and readQuery do.
func (h *Handler) readTarget(target string, q *request) error {
	path, raw, _ := strings.Cut(target, "?")
	rest := path
	for _, p := range h.cfg.paths() {
		if cut, ok := strings.CutPrefix(path, p); ok {
			rest = cut
		}
	}
	if rest != "" {
		seg := strings.Split(rest, "/")
		if len(seg) != 5 || seg[0] != "" || !spelling.IsPath(path) {
			return errors.New("reading a target: it is neither the webhook's path nor a callback URI")
		}
		of, err := ParseHandle(seg[1], seg[2], seg[3], seg[4])
		if err != nil {
			return err
		}
		q.handle = &of
	}
	return h.readQuery(raw, q)
}

// explainToken judges the token. Where there is none it takes what was supposed,
// and guesses the app.
func (h *Handler) explainToken(ctx context.Context, q *request, s ownership.Supposed, msg graph.Message) (Explanation, refusal) {
	if len(q.header["Authorization"]) == 0 {
		q.app, q.tenant = s.App, s.Tenant
		if q.app == "" {
			q.app, q.guessed = h.guessApp(msg), true
		}
		return Explanation{Token: "absent", App: q.app, Tenant: string(q.tenant)}, refusal{}
	}
	claims, err := h.tokens.Look(ctx, q.header)
	if err != nil {
		q.app, q.guessed = h.guessApp(msg), true
		return Explanation{Token: err.Error(), App: q.app}, refusalOfToken(err)
	}
	q.app, q.tenant = ownership.AppID(claims.App), ownership.TenantID(claims.Tenant)
	return Explanation{Token: "valid", App: q.app, Tenant: claims.Tenant}, refusal{}
}

// guessApp takes an app of ours that a target names, else the only one there is.
func (h *Handler) guessApp(msg graph.Message) ownership.AppID {
	for _, n := range msg.Notifications {
		if n.Call == nil {
			continue
		}
		for _, id := range n.Call.TargetApps {
			if a, ok := h.apps[ownership.AppID(strings.ToLower(id))]; ok {
				return a.ID
			}
		}
	}
	if len(h.cfg.Apps) == 1 {
		return h.cfg.Apps[0].ID
	}
	return ""
}

func (h *Handler) explainCalls(ctx context.Context, q *request, e *Explanation) {
	ds, res := h.locateAll(ctx, q)
	if ds == nil {
		e.Response = responseOf(res)
		return
	}
	whatIf := h.table.WhatIf
	for i := range ds {
		claimed := ds[i].action == actionClaim
		if claimed {
			h.settle(ctx, q, &ds[i], whatIf)
		}
		e.Calls = append(e.Calls, h.explainCall(q, &ds[i], claimed))
	}
	e.Response = h.explainPlan(q, ds)
}

func (h *Handler) explainCall(q *request, d *decision, claimed bool) ExplainedCall {
	p := d.part
	c := ExplainedCall{
		Call: p.call, RawCall: p.raw, Kind: kindOf(p), Recording: p.recording,
		Decision: d.action.String(), Why: d.why, Groups: q.groups(p, d.facts),
	}
	_, c.Known = h.table.Find(p.call)
	if d.cause != nil {
		c.Why += ": " + d.cause.Error()
	}
	if p.incoming {
		c.AnswerIn = q.deadline(p).Sub(q.received).Round(time.Millisecond).Seconds()
	}
	if d.step.Step != 0 {
		c.Facts, c.Verdict, c.Region = &d.facts, &d.verdict, &d.step
	}
	if claimed {
		pin := q.rules(h).pins.For(d.facts)
		c.Pin = &pin
		if reason := d.placement.Reason; reason != "" {
			c.Placement = &d.placement
			// The leader may know it before this node does.
			c.Known = c.Known || reason == ownership.ReasonKnown || reason == ownership.ReasonEnded
		}
	}
	if d.action == actionOwner {
		c.Owner = &ExplainedOwner{Node: d.owner.Node, Partition: d.owner.Partition, Epoch: d.owner.Epoch, Here: d.owner.Here}
	}
	return c
}

// explainPlan tells the response without bringing it about.
func (h *Handler) explainPlan(q *request, ds []decision) ExplainedResponse {
	p := h.choose(q, ds)
	switch p.route {
	case routeRegion:
		return responseOf(h.redirectToRegion(q, p.live[0].step.Region))
	case routeNode:
		return responseOf(h.redirectToNode(q, p.live[0].part, p.owner))
	case routeIgnore:
		return responseOf(accepted(outcomeIgnored))
	}
	for _, d := range p.live {
		switch {
		case d.action != actionRefuse:
		case p.route == routeHand:
			return responseOf(refused(d.refusal, d.cause))
		default:
			return responseOf(refused(refusePartly, nil))
		}
	}
	switch {
	case p.route == routeEach:
		return ExplainedResponse{Action: string(outcomeSeveral)}
	case p.live[0].action == actionRegion:
		return ExplainedResponse{Action: string(outcomeRegionRelayed)}
	case p.owner.Here && !h.table.Holds(p.live[0].part.call, p.owner.Partition, p.owner.Epoch):
		return responseOf(refused(refuseNoLease, nil))
	case p.owner.Here:
		return ExplainedResponse{Action: string(outcomeHandled)}
	default:
		return ExplainedResponse{Action: string(outcomeRelayed)}
	}
}

func responseOf(res result) ExplainedResponse {
	r := ExplainedResponse{Status: res.status, Action: string(res.outcome)}
	r.Location, _, _ = strings.Cut(res.location, "?")
	if res.refused != nil {
		r.Error = res.refused.text
	}
	return r
}

func kindOf(p *part) string {
	switch {
	case p.ends:
		return graph.EndOfCall.String()
	case p.incoming:
		return graph.NewCall.String()
	default:
		return graph.Update.String()
	}
}

// String returns the word that explain shows.
func (v action) String() string {
	switch v {
	case actionIgnore:
		return "ignore"
	case actionClaim:
		return "claim"
	case actionOwner:
		return "owner"
	case actionRegion:
		return "region"
	default:
		return "refuse"
	}
}
