package console

import (
	"net/http"
	"strings"

	"tandem/ownership"
	"tandem/ownership/history"
)

// pageEvents is how many events the page of them begins with.
const pageEvents = 100

// EventFilter is what the list of events is narrowed by; empty: all.
type EventFilter struct {
	Kind, Node, Call string
}

// Takes reports whether an event is listed.
func (f EventFilter) Takes(e history.Event) bool {
	return (f.Kind == "" || f.Kind == string(e.Kind)) && (f.Node == "" || f.Node == string(e.Node) || f.Node == string(e.From)) &&
		(f.Call == "" || f.Call == string(e.Call))
}

// Events is the page of them.
type Events struct {
	EventFilter
	Items []history.Event
	After uint64 // the newest that was looked at
	Kinds []history.Kind
}

func events(a *asking) (string, any, error) {
	if a.at != "" {
		return "", nil, &Refusal{http.StatusBadRequest, "Events are shown of this node's own region: open a console of the other one."}
	}
	get := func(name string) string { return strings.TrimSpace(a.q.Get(name)) }
	out := Events{EventFilter: EventFilter{Kind: get("kind"), Node: get("node"), Call: get("call")}, Kinds: history.Kinds}
	if out.Call != "" {
		id, err := ownership.ParseCallID(out.Call)
		if err != nil {
			return "", nil, &Refusal{http.StatusBadRequest, err.Error()}
		}
		out.Call = string(id)
	}
	var err error
	out.Items, out.After, err = a.source.Latest(out.EventFilter, pageEvents)
	return "events", out, err
}
