package node

import (
	"context"
	"fmt"
	"time"

	"tandem/federation"
	"tandem/ownership"
	"tandem/pass"
)

// openRegions begins to follow the other regions.
func (n *Node) openRegions(ctx context.Context) error {
	cfg := n.cfg.federationConfig()
	cfg.Pass = n.pass
	w, err := federation.Start(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return fmt.Errorf("reading regions: %w", err)
	}
	n.regions = w
	n.stops.add("view of the regions", w.Close)
	return nil
}

// passKeys are what passes between regions are signed with: the keys file is the secret
// that all regions share.
func (n *Node) passKeys() [][]byte { return n.handles.Derived("passes between regions") }

// pass signs what opens the admin doors of another region for one request.
func (n *Node) pass(to ownership.Region, operator, method, path string) string {
	return pass.Sign(n.passKeys()[0], pass.Pass{
		Deployment: n.cfg.Deployment, From: n.cfg.Node.Region, Node: n.cfg.Node.ID, To: string(to), Operator: operator,
		Method: method, Path: path, Expires: time.Now().Add(pass.Life),
	})
}
