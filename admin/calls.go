package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humahttprouter"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// callsAsked is the input of the list of calls.
type callsAsked struct {
	Asking
	Then
	Node      string `query:"node" maxLength:"64" doc:"Who acts for the call now: the owner of its partition, or the silent node that it is reserved for."`
	Partition uint32 `query:"partition" doc:"0: any."`
	Tenant    string `query:"tenant" maxLength:"64"`
	App       string `query:"app" maxLength:"64"`
	Group     string `query:"group" maxLength:"512" doc:"A group key, such as thread:19:meeting_…"`
	State     string `query:"state" enum:"claimed,answered,orphaned,ended"`
	Limit     int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor    string `query:"cursor" maxLength:"4096" doc:"The next of the page before."`
}

// filter turns the query into what the table understands.
func (in callsAsked) filter() (ownership.CallFilter, error) {
	f := ownership.CallFilter{
		Node: ownership.NodeID(in.Node), Partition: ownership.PartitionID(in.Partition), Tenant: ownership.TenantID(strings.ToLower(in.Tenant)),
		App: ownership.AppID(strings.ToLower(in.App)), Group: ownership.GroupKey(in.Group),
	}
	if in.State == "" {
		return f, nil
	}
	var err error
	f.State, err = ownership.ParseCallState(in.State)
	return f, err
}

// callAsked is the input of the operations on one call.
type callAsked struct {
	Asking
	ID string `path:"id" maxLength:"160" doc:"Call id, with or without dashes, in any letter case."`
}

// notificationAsked is the input of POST /v1/explain: the body as it is, and
// the headers that the cloud would have sent.
type notificationAsked struct {
	Target  string `query:"target" maxLength:"2048" doc:"Path and query it would be posted to, to explain a callback URI or a hop mark; absent: the webhook's path."`
	App     string `query:"app" maxLength:"64" doc:"The app that its token would name, where none is given."`
	Tenant  string `query:"tenant" maxLength:"64" doc:"The tenant that its token would name, where none is given."`
	RawBody []byte `contentType:"application/json"`
	Header  http.Header
}

// Resolve takes the headers over. The caller's own Authorization belongs to
// this door; the token to be judged comes in Tandem-Authorization.
func (in *notificationAsked) Resolve(ctx huma.Context) []error {
	r, _, _ := humahttprouter.Unwrap(ctx)
	in.Header = r.Header.Clone()
	in.Header.Del("Cookie")
	in.Header.Del("Authorization")
	if v := in.Header.Get("Tandem-Authorization"); v != "" {
		in.Header.Set("Authorization", v)
		in.Header.Del("Tandem-Authorization")
	}
	return nil
}

// callRoutes puts the reads of calls on the door.
func (d *Door) callRoutes() {
	past{d}.routes()
	trails{d}.routes()
	dry := d.operation("explain-notification", http.MethodPost, "/v1/explain", api.RoleRead, "What the webhook would do with a notification; nothing is changed")
	dry.Errors = append(dry.Errors, http.StatusNotImplemented)
	dry.Description += " The body is the notification as the cloud sends it, well-formed or not. Its headers are taken over, " +
		"with Tandem-Authorization in the place of Authorization."
	dry.SkipValidateBody = true // what is wrong with it is the webhook's to say
	huma.Register(d.api, dry, d.explainNotification)
}

// findCall reads an id as somebody typed it and gives the call's record.
func (d *Door) findCall(raw string) (ownership.Call, error) {
	id, err := ownership.ParseCallID(raw)
	if err != nil {
		return ownership.Call{}, huma.Error400BadRequest(err.Error())
	}
	c, ok := d.deps.Table.Call(id)
	if !ok {
		return ownership.Call{}, huma.Error404NotFound(fmt.Sprintf("The region %s knows no call %s.", d.cfg.Region, id))
	}
	return c, nil
}

// cursorMark stands before the id of a page's last call, so that what is no
// cursor, such as an id alone, is told from one.
const cursorMark = "after-"

// page returns one page of calls. What is no cursor is the reader's mistake: taken
// for one it would look like the end of the list.
func (d *Door) page(f ownership.CallFilter, cursor string, limit int) (api.CallPage, error) {
	last, err := lastOf(cursor)
	if err != nil {
		return api.CallPage{}, err
	}
	items, next, err := d.deps.Table.Calls(f, last, limit)
	if next != "" {
		next = cursorMark + next
	}
	page := api.CallPage{Items: make([]api.CallIn, len(items)), Next: next}
	for i, c := range items {
		page.Items[i].Call = c
	}
	return page, err
}

// lastOf reads a cursor.
func lastOf(cursor string) (string, error) {
	last, marked := strings.CutPrefix(cursor, cursorMark)
	if id, err := ownership.ParseCallID(last); cursor != "" && (!marked || err != nil || string(id) != last) {
		return "", huma.Error400BadRequest(fmt.Sprintf("cursor is %q: give the next of the page before, or leave it out for the first page.", cursor))
	}
	return last, nil
}

// explainCall puts the stored placement, and what came of it, into sentences.
func (d *Door) explainCall(c ownership.Call) (api.CallExplanation, error) {
	events, err := d.deps.Journal.Timeline(c.ID)
	if err != nil {
		return api.CallExplanation{}, err
	}
	if len(c.Placement.Candidates) == 0 { // of an ended call only the history knows them
		if i := slices.IndexFunc(events, func(e history.Event) bool { return len(e.Candidates) > 0 }); i >= 0 {
			c.Placement.Candidates = events[i].Candidates
		}
	}
	out := api.CallExplanation{Call: c.ID, State: c.State, Placement: c.Placement, Timeline: orEmpty(events)}
	out.Why = append(claimSentences(c), candidateSentences(c.Placement)...)
	var since []string
	out.Partition, since = d.sinceSentences(c)
	out.Why = append(append(out.Why, since...), standingSentences(c, out.Partition, events)...)
	if c.State.Live() {
		if text := d.silenceOf(cmp.Or(c.Owner, out.Partition.Owner)); text != "" {
			out.Why = append(out.Why, text)
		}
	}
	return out, nil
}

// claimSentences say how the call came in and where it went.
func claimSentences(c ownership.Call) []string {
	p := c.Placement
	if c.ClaimedAt.IsZero() {
		return []string{"Nobody had claimed it when the cloud told of its end: a claim that comes later is answered with that."}
	}
	return []string{
		fmt.Sprintf("Its first notification reached %s at %s, which claimed it.", c.Via, c.ClaimedAt.UTC().Format(time.RFC3339Nano)),
		fmt.Sprintf("It was placed in partition %d at epoch %d on %s: %s.", p.Partition, p.Epoch, p.Owner, reasonText(p.Reason)),
	}
}

// candidateSentences say how the nodes compared.
func candidateSentences(p ownership.Placement) []string {
	var out []string
	for _, cand := range p.Candidates {
		switch {
		case cand.Rejected != "":
			out = append(out, fmt.Sprintf("%s could not take it: %s.", cand.Node, cand.Rejected))
		case cand.Node == p.Owner:
			out = append(out, fmt.Sprintf("%s scored %.3f and won.", cand.Node, cand.Score))
		default:
			out = append(out, fmt.Sprintf("%s scored %.3f; lower wins.", cand.Node, cand.Score))
		}
	}
	return out
}

// sinceSentences say what has changed since the claim.
func (d *Door) sinceSentences(c ownership.Call) (ownership.Partition, []string) {
	part, ok := d.deps.Table.Partition(c.Partition)
	if !ok {
		return part, []string{fmt.Sprintf("Partition %d has been retired since.", c.Partition)}
	}
	var out []string
	if part.Epoch > c.Placement.Epoch {
		out = append(out, fmt.Sprintf("Partition %d has changed owner since: %s owns it at epoch %d.", part.ID, part.Owner, part.Epoch))
	}
	if c.State == ownership.CallEnded {
		out = append(out, fmt.Sprintf("It ended at %s: %s.", c.EndedAt.UTC().Format(time.RFC3339Nano), cmp.Or(c.Ending, "no reason was given")))
	}
	return part, out
}

// reserved reports whether the call waits for a node that fell silent.
func reserved(c ownership.Call, part ownership.Partition) bool {
	return c.State == ownership.CallAnswered && c.Owner != "" && c.Owner != part.Owner
}

// standingSentences say what became of a call whose media are on a node that fell
// silent.
func standingSentences(c ownership.Call, part ownership.Partition, events []history.Event) []string {
	answered := c.Epoch
	for _, e := range events {
		switch e.Kind {
		case history.Answered:
			answered = e.Epoch
		case history.TakenUp:
			if c.State == ownership.CallOrphaned {
				return []string{fmt.Sprintf("Its media were on a node that fell silent, and the bot beside %s has taken it up since: it stays there.", e.Node)}
			}
		}
	}
	for _, r := range part.Reserved {
		switch {
		case r.Epoch != answered:
		case reserved(c, part):
			return []string{fmt.Sprintf("Its media are on %s, which fell silent at %s: it is reserved for that node at epoch %d. Nobody else acts for it, and its "+
				"notifications get 503 until the node is back or the app's silence is over.", r.Node, r.Since.UTC().Format(time.RFC3339Nano), r.Epoch)}
		case c.State == ownership.CallOrphaned && r.Final:
			return []string{fmt.Sprintf("Its media were on %s, which was removed: the bot beside %s is asked to rejoin.", r.Node, part.Owner)}
		case c.State == ownership.CallOrphaned:
			return []string{fmt.Sprintf("Its media are on %s, which was silent for longer than the app waits: the bot beside %s is asked to rejoin. "+
				"If %s is back before that bot takes it up, the call is its own again.", r.Node, part.Owner, r.Node)}
		}
	}
	return nil
}

// reasonText says in words what a placement's reason means.
func reasonText(r ownership.Reason) string {
	switch r {
	case ownership.ReasonKnown:
		return "the call was known already"
	case ownership.ReasonPinned:
		return "an operator's pin asked for it"
	case ownership.ReasonApart:
		return "it had to stay away from the other leg of its pair"
	case ownership.ReasonTogether:
		return "a live call of its group is there"
	case ownership.ReasonLeastLoaded:
		return "that node had the most room"
	case ownership.ReasonEnded:
		return "the call had ended already"
	default:
		return string(r)
	}
}

func (d *Door) explainNotification(ctx context.Context, in *notificationAsked) (*reply[api.Explanation], error) {
	if d.deps.Explain == nil {
		return nil, absent("The webhook's dry run")
	}
	return within(ctx, d, func(ctx context.Context) (api.Explanation, error) {
		e, err := d.deps.Explain(ctx, ownership.Supposed{
			Target: in.Target, Header: in.Header, Body: in.RawBody,
			App: ownership.AppID(strings.ToLower(in.App)), Tenant: ownership.TenantID(strings.ToLower(in.Tenant)),
		})
		e.Steps = orEmpty(e.Steps)
		return e, err
	})
}
