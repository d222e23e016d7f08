package node

import (
	"context"
	"fmt"

	"tandem/federation"
	"tandem/ownership"
)

// openWorld begins to follow the other regions.
func (n *Node) openWorld(ctx context.Context) error {
	cfg := federation.Config{Self: n.Region(), Logger: n.log, Metrics: n.cfg.Registry}
	for _, r := range n.cfg.Regions {
		cfg.Regions = append(cfg.Regions, federation.Region{
			Name: ownership.Region(r.Name), URL: r.URL,
			AdminURL: r.AdminURL, AdminURLs: r.AdminURLs, TokenFile: r.AdminTokenFile, CAFile: r.AdminCAFile,
		})
	}
	w, err := federation.Start(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return fmt.Errorf("reading regions: %w", err)
	}
	n.world = w
	n.stops.add("world view", w.Close)
	return nil
}
