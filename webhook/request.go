package webhook

import (
	"cmp"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"tandem/graph"
	"tandem/ownership"
	"tandem/policy"
)

// hops are the redirects that a notification has behind it.
type hops struct {
	region bool // it must not be sent to a region again
	node   bool // it must not be sent to a node again
}

// readMark reads the hop mark. One that does not verify still counts as used up
// hops, so that nothing forged, stale or cut off can make a redirect more than
// there would be; but its time is not believed.
func (h *Handler) readMark(q *request) {
	if q.mark == "" {
		q.hops = hops{region: q.letter, node: q.letter}
		return
	}
	m, err := h.handles.ReadMark(h.cfg.Region, q.parts[0].call, q.mark, q.received)
	if err != nil {
		q.hops = hops{region: true, node: true}
		return
	}
	q.hops = hops{region: m.RegionHop || q.letter, node: m.NodeHop || q.letter}
	if m.Received.Before(q.received) { // another node's clock may be ahead of ours
		q.received = m.Received
	}
}

// part is what one body says about one call.
type part struct {
	call      ownership.CallID
	raw       string
	about     *graph.Call // facts of the notification that tells most; may be nil
	incoming  bool        // the call is new, and has not ended within the same body
	ends      bool
	result    string // how it ended, as the cloud has it: code/subcode; empty: it does not tell
	recording bool
}

// split sorts a body's notifications by call, in the order in which the calls
// appear. What names no call belongs to the call of the callback URI, if there is
// one; elsewhere nothing can be done with it.
func split(m graph.Message, of *Handle) []part {
	own := of != nil && !of.Outgoing()
	parts := make([]part, 0, 1)
	var at map[ownership.CallID]int // only for bodies of many
	find := func(id ownership.CallID, raw string) *part {
		k, ok := findPart(parts, at, id)
		if !ok {
			k = len(parts)
			parts = append(parts, part{call: id, raw: raw})
			if at == nil && len(parts) > 8 {
				at = make(map[ownership.CallID]int, len(m.Notifications))
				for j := range parts {
					at[parts[j].call] = j
				}
			}
			if at != nil {
				at[id] = k
			}
		}
		return &parts[k]
	}
	for i := range m.Notifications {
		n := &m.Notifications[i]
		id, raw := ownership.CallID(n.CallID), n.RawCallID
		if own && n.IsJoinNotice() {
			// The invitation to add a participant to a running call belongs to
			// the call on whose callback URI it arrives.
			id, raw = ownership.CallID(of.Ref), of.Ref
		}
		find(id, raw).add(n)
	}
	if own && m.Unknown > 0 {
		find(ownership.CallID(of.Ref), of.Ref)
	}
	return parts
}

func findPart(parts []part, at map[ownership.CallID]int, id ownership.CallID) (int, bool) {
	if at != nil {
		k, ok := at[id]
		return k, ok
	}
	for k := range parts {
		if parts[k].call == id {
			return k, true
		}
	}
	return 0, false
}

func (p *part) add(n *graph.Notification) {
	fresh := n.Kind == graph.NewCall
	p.ends = p.ends || n.Kind == graph.EndOfCall
	if n.Kind == graph.EndOfCall && n.Call != nil {
		p.result = cmp.Or(graph.ResultCode(n.Call.Result), p.result)
	}
	if n.Call != nil && (p.about == nil || fresh) {
		p.about = n.Call
	}
	p.incoming = (p.incoming || fresh) && !p.ends
	p.recording = p.recording || n.Call.Recording()
}

// hurried reports whether a recording rings in the body: its clock is a third of
// the others'.
func (q *request) hurried() bool {
	return slices.ContainsFunc(q.parts, func(p part) bool { return p.incoming && p.recording })
}

// rings reports whether a new call is in the body.
func (q *request) rings() bool {
	return slices.ContainsFunc(q.parts, func(p part) bool { return p.incoming })
}

// facts gathers what the rules may look at.
func (q *request) facts(p *part) policy.Facts { return FactsOf(q.app, q.tenant, q.header, p.about) }

// FactsOf gathers what the rules may look at of one call, from the token's app and tenant,
// the headers, and what the notification says of it, which may be nil.
func FactsOf(app ownership.AppID, tenant ownership.TenantID, header http.Header, c *graph.Call) policy.Facts {
	f := policy.Facts{
		App: app, Tenant: tenant,
		CallerRegion: strings.ToLower(headerWord(header, "X-Microsoft-Skype-Caller-Region")),
		ChainID:      chainOf(header),
	}
	if c == nil {
		return f
	}
	if c.TenantID != "" {
		f.Tenant = ownership.TenantID(strings.ToLower(c.TenantID))
	}
	f.Observed = cmp.Or(c.ObservedUser, c.ObservedParticipant)
	if c.ChainID != "" {
		f.ChainID = strings.ToLower(c.ChainID)
	}
	f.OnBehalfOf, f.Organizer, f.PolicyIdentifier = c.OnBehalfOf, c.Organizer, c.PolicyIdentifier
	f.Direction, f.Thread = c.Direction, c.ThreadID
	f.CountryCode, f.SourceRegion = c.SourceCountry, c.SourceRegion
	f.MediaHostedRegion, f.ClientLocation = c.MediaHostedRegion, c.ClientLocation
	return f
}

// chain returns the call chain id as the headers tell it. Scenario-Id carries the
// same value and is all that some notifications have.
func (q *request) chain() string { return chainOf(q.header) }

func chainOf(header http.Header) string {
	if v := headerWord(header, "X-Microsoft-Skype-Chain-Id"); v != "" {
		return strings.ToLower(v)
	}
	return strings.ToLower(headerWord(header, "Scenario-Id"))
}

func headerWord(header http.Header, name string) string {
	if v := header[name]; len(v) == 1 && graph.IsPlain(v[0]) {
		return v[0]
	}
	return ""
}

// claim makes the claim for a call that nobody knows.
func (h *Handler) claim(q *request, p *part, f policy.Facts) ownership.Claim {
	c := ownership.Claim{
		Call: p.call, RawCall: p.raw, App: q.app, Tenant: f.Tenant,
		Groups:   q.groups(p, f),
		Pinned:   h.apps[q.app].Pinned,
		Answered: !p.incoming,
		Thread:   f.Thread, Organizer: f.Organizer,
		Received: q.received, Via: h.cfg.Node,
		Pin: q.rules(h).pins.For(f).Pin,
	}
	if p.incoming {
		c.Deadline = q.deadline(p)
	}
	if p.about != nil {
		c.Paired = p.about.PairedRecorders > 0
		c.Observed = p.about.ObservedParticipant
		c.Modalities = p.about.Modalities
	}
	return c
}

// deadline is when the answer to a new call must be out.
func (q *request) deadline(p *part) time.Time {
	if p.recording {
		return q.received.Add(graph.RecordingAnswerIn)
	}
	return q.received.Add(graph.AnswerIn)
}

// groups returns the keys that the call may share with others.
func (q *request) groups(p *part, f policy.Facts) []ownership.GroupKey {
	var keys []ownership.GroupKey
	if f.ChainID != "" {
		keys = append(keys, ownership.ChainKey(f.ChainID))
	}
	if header := q.chain(); header != "" && header != f.ChainID {
		keys = append(keys, ownership.ChainKey(header))
	}
	if f.Thread != "" {
		keys = append(keys, ownership.ThreadKey(f.Thread))
	}
	if p.about != nil && p.about.Transferor != "" {
		keys = append(keys, ownership.TransferorKey(strings.ToLower(p.about.Transferor)))
	}
	return keys
}

// describe returns the access log's line: ids shortened, no body, no token, no
// signature.
func (h *Handler) describe(r *http.Request, res result, q *request) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("outcome", string(res.outcome)), slog.Int("status", res.status),
		slog.String("method", short(r.Method)), slog.String("path", short(r.URL.Path)), slog.String("from", r.RemoteAddr),
	}
	if res.cause != nil {
		attrs = append(attrs, slog.String("cause", short(res.cause.Error())))
	}
	if q == nil {
		return attrs
	}
	attrs = append(attrs, slog.Duration("took", h.now().Sub(q.received)))
	if q.app != "" {
		attrs = append(attrs, slog.String("app", string(q.app)))
	}
	if q.message != "" {
		attrs = append(attrs, slog.String("message", short(q.message)))
	}
	if len(q.parts) == 1 {
		return append(attrs, slog.String("call", string(q.parts[0].call)))
	}
	var calls []string
	for i := range q.parts[:min(len(q.parts), maxLoggedCalls)] {
		calls = append(calls, string(q.parts[i].call))
	}
	if len(calls) > 0 {
		attrs = append(attrs, slog.Any("calls", calls), slog.Int("of", len(q.parts)))
	}
	return attrs
}

// maxLoggedCalls is how many calls of a body are named in the log.
const maxLoggedCalls = 4

// maxLogged bounds a text that a request brings into the log, in bytes.
const maxLogged = 128

func short(s string) string {
	if len(s) <= maxLogged {
		return strings.ToValidUTF8(s, "?")
	}
	return strings.ToValidUTF8(s[:maxLogged], "?") + "…"
}
