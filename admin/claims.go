package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// Bounds of a page of claims, in events that are read for it.
const (
	claimEvents = 2000
	claimsBack  = 10_000 // from where a reader begins
)

type claimsAsked struct {
	After uint64 `query:"after" doc:"Where the page before this one said that the next begins. 0: as far back as the last 10,000 events."`
}

type claimsAnswer struct {
	Body api.Claims
}

// claims is the part of the history that other regions compare with theirs.
type claims struct{ journal Journal }

// route puts the claims on the door.
func (c claims) route(d *Door) {
	op := d.operation("list-claims", http.MethodGet, "/v1/claims", api.RoleRead, "Which calls were claimed, in the order of the history, page by page")
	huma.Register(d.api, op, func(_ context.Context, in *claimsAsked) (*claimsAnswer, error) {
		events, err := c.events(in.After)
		if err != nil {
			return nil, problem(err)
		}
		page := api.Claims{Calls: []ownership.CallID{}, Next: in.After, More: len(events) == claimEvents}
		for _, e := range events {
			page.Next = e.ID
			if e.Kind == history.Claimed {
				page.Calls = append(page.Calls, e.Call)
			}
		}
		return &claimsAnswer{page}, nil
	})
}

func (c claims) events(after uint64) ([]history.Event, error) {
	if after > 0 {
		return c.journal.Events(after, claimEvents)
	}
	latest, err := c.journal.Latest(claimsBack) // ids have gaps: they cannot be counted back
	return latest[:min(len(latest), claimEvents)], err
}
