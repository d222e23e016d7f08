package node

import (
	"context"
	"fmt"

	"tandem/token"
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
