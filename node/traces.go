package node

import (
	"context"
	"net/http"
	"os"

	"tandem/traces"
)

// openTraces begins to make traces, if the environment asks for them. That they cannot be
// made keeps no node from its work.
func (n *Node) openTraces(ctx context.Context) error {
	wanted, err := traces.Wanted(os.Getenv)
	if err == nil && wanted {
		n.traces, err = traces.Start(context.WithoutCancel(ctx), n.Region(), n.ID(), n.cfg.Version, n.log)
	}
	if err != nil {
		n.log.Warn("no traces are made", "err", err)
		return nil
	}
	n.stops.addWaiting("traces", n.traces.Close)
	return nil
}

// watched makes spans of what goes out; nil: none are made.
func (n *Node) watched(name string) func(http.RoundTripper) http.RoundTripper {
	if n.traces == nil {
		return nil
	}
	return func(t http.RoundTripper) http.RoundTripper { return n.traces.Transport(name, t) }
}
