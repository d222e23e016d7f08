package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"tandem/admin/api"
	"tandem/ownership"
)

// Rules asks about the rules that travel, and changes them.
type Rules struct{ c *Client }

// Rules returns the doors about the rules.
func (c *Client) Rules() Rules { return Rules{c} }

// Now returns the rules in force and who has them.
func (r Rules) Now(ctx context.Context) (api.RulesNow, error) {
	return get[api.RulesNow](ctx, r.c, "/v1/rules", nil)
}

// History returns the versions that are kept, newest first, without their texts.
func (r Rules) History(ctx context.Context) ([]ownership.Rules, error) {
	return items[ownership.Rules](ctx, r.c, "/v1/rules/history", nil)
}

// Version returns one version with its text.
func (r Rules) Version(ctx context.Context, number uint64) (api.RulesVersion, error) {
	return get[api.RulesVersion](ctx, r.c, "/v1/rules/history/"+strconv.FormatUint(number, 10), nil)
}

// Set gives the region new rules.
func (r Rules) Set(ctx context.Context, ask api.RulesAsk) (api.RulesVersion, error) {
	return exchange[api.RulesVersion](ctx, r.c, http.MethodPut, "/v1/rules", ask)
}

// RollBack makes the text of an earlier version the newest.
func (r Rules) RollBack(ctx context.Context, ask api.RulesBack) (api.RulesVersion, error) {
	return exchange[api.RulesVersion](ctx, r.c, http.MethodPost, "/v1/rules/rollback", ask)
}

// Test asks the rules, or a candidate, about a notification.
func (r Rules) Test(ctx context.Context, ask api.RulesTrial) (api.RulesTried, error) {
	return exchange[api.RulesTried](ctx, r.c, http.MethodPost, "/v1/rules/test", ask)
}

// Diff holds a candidate against the calls that the region's nodes remember.
func (r Rules) Diff(ctx context.Context, text string) (api.RulesDiff, error) {
	return exchange[api.RulesDiff](ctx, r.c, http.MethodPost, "/v1/rules/diff", api.RulesCandidate{Text: text})
}

// exchange sends a body, nil for none, and returns what came back.
func exchange[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	err := c.call(ctx, method, path, body, &out)
	return out, err
}

// Evacuation tells how far a region's evacuation is, or what it would bring. to: who
// would take its new calls; none: those of the rules in force, else the best ones.
func (c *Client) Evacuation(ctx context.Context, region ownership.Region, to ...ownership.Region) (api.Evacuation, error) {
	query := url.Values{}
	if len(to) > 0 {
		query.Set("to", strings.Join(ownership.Words[string](to), ","))
	}
	return get[api.Evacuation](ctx, c, evacuationOf(region), query)
}

// ForecastNode tells what the drain or the loss of a node would bring.
func (c *Client) ForecastNode(ctx context.Context, id ownership.NodeID) (api.NodeForecast, error) {
	return get[api.NodeForecast](ctx, c, "/v1/nodes/"+url.PathEscape(string(id))+"/forecast", nil)
}

// LoseRegion tells what the sudden loss of another region would bring, as the region of
// the node that is asked sees it.
func (c *Client) LoseRegion(ctx context.Context, region ownership.Region) (api.Evacuation, error) {
	return get[api.Evacuation](ctx, c, evacuationOf(region), url.Values{"lost": {"true"}})
}

func evacuationOf(region ownership.Region) string {
	return "/v1/regions/" + url.PathEscape(string(region)) + "/evacuation"
}

// Evacuate sends a region's new calls elsewhere.
func (c *Client) Evacuate(ctx context.Context, region ownership.Region, ask api.EvacuationAsk) (api.RulesVersion, error) {
	return exchange[api.RulesVersion](ctx, c, http.MethodPut, evacuationOf(region), ask)
}

// RestoreRegion ends a region's evacuation.
func (c *Client) RestoreRegion(ctx context.Context, region ownership.Region) (api.RulesVersion, error) {
	return exchange[api.RulesVersion](ctx, c, http.MethodDelete, evacuationOf(region), nil)
}
