package node

import (
	"context"
	"fmt"
	"net/http"

	"tandem/graph"
	"tandem/ownership"
	"tandem/token"
	"tandem/webhook"
)

// Tokens makes the verifier of bearer tokens that a node with this
// configuration has. It begins to fetch the issuers' keys; Close ends it.
func Tokens(ctx context.Context, c Config) (*token.Verifier, error) {
	c = c.Filled()
	cfg, apps := c.tokenConfig()
	v, err := token.New(ctx, cfg, apps)
	if err != nil {
		return nil, fmt.Errorf("reading auth and apps: %w", err)
	}
	return v, nil
}

// Homes makes what tells the region that a new call belongs to, by the rules of a
// configuration and as if it had arrived in that one's region; nil: there are no rules.
func Homes(c Config) (func(token.Claims, http.Header, *graph.Call) string, error) {
	if len(c.Rules) == 0 {
		return nil, nil
	}
	compiled, err := c.policy()
	if err != nil {
		return nil, err
	}
	return func(who token.Claims, header http.Header, about *graph.Call) string {
		f := webhook.FactsOf(ownership.AppID(who.App), ownership.TenantID(who.Tenant), header, about)
		return string(compiled.Rules.Home(f, ownership.Region(c.Node.Region)).Region)
	}, nil
}
