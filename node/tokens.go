package node

import (
	"context"
	"fmt"
	"slices"

	"tandem/token"
)

// Tokens makes the verifier of bearer tokens that a node with this
// configuration has. It begins to fetch the issuers' keys; Close ends it.
func Tokens(ctx context.Context, c Config) (*token.Verifier, error) {
	cfg := token.Config{ClockSkew: c.Auth.ClockSkew, Logger: c.Logger, Now: c.Now}
	if c.Auth.ClockSkew == 0 {
		cfg.ClockSkew = -1 // the verifier's word for none at all
	}
	if c.Registry != nil {
		cfg.Metrics = c.Registry
	}
	for _, p := range c.Auth.Profiles {
		urls := slices.Clone(p.OpenIDs)
		if p.OpenIDURL != "" {
			urls = append([]string{p.OpenIDURL}, urls...)
		}
		cfg.Profiles = append(cfg.Profiles, token.Profile{Name: p.Name, OpenIDURL: urls, Issuers: p.Issuers, Audiences: p.Audiences})
	}
	apps := make([]token.App, len(c.Apps))
	for i, a := range c.Apps {
		a = appDefaults(a)
		apps[i] = token.App{ID: a.ID, Tenants: a.Tenants, Profile: a.Profile}
	}
	v, err := token.New(ctx, cfg, apps)
	if err != nil {
		return nil, fmt.Errorf("reading auth and apps: %w", err)
	}
	return v, nil
}
