package node

import (
	"context"
	"fmt"

	"tandem/federation"
)

// openRegions begins to follow the other regions.
func (n *Node) openRegions(ctx context.Context) error {
	w, err := federation.Start(context.WithoutCancel(ctx), n.cfg.federationConfig())
	if err != nil {
		return fmt.Errorf("reading regions: %w", err)
	}
	n.regions = w
	n.stops.add("view of the regions", w.Close)
	return nil
}
