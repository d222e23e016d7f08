package node

import (
	"context"
	"fmt"

	"tandem/federation"
)

// openWorld begins to follow the other regions.
func (n *Node) openWorld(ctx context.Context) error {
	w, err := federation.Start(context.WithoutCancel(ctx), n.cfg.federationConfig())
	if err != nil {
		return fmt.Errorf("reading regions: %w", err)
	}
	n.world = w
	n.stops.add("world view", w.Close)
	return nil
}
