package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"tandem/cluster/transport"
	"tandem/ownership"
)

// abroad is this node's part in the regions' link: letters to and from nodes of the
// deployment's other regions, and the question which calls a region knows. Nothing else
// comes in on it, and nothing of raft or the peer link.
type abroad struct {
	in   *proposals
	far  *transport.RegionLinks
	door *http.Server
}

func newAbroad(in *proposals, dial *transport.Dialer, me transport.Identity) *abroad {
	return &abroad{in: in, far: transport.NewRegionLinks(dial, me)}
}

func (a *abroad) open(creds *transport.Credentials, me transport.Identity) {
	a.door = transport.NewRegionServer(creds, transport.RegionConfig{
		Self: me, Handshake: a.in.cfg.Timings.Handshake, Process: a.in.process, Clock: a.in.clock,
		Letter: a.in.deps.Letter, Known: a.known, Refused: a.in.m.refuse, Logger: a.in.log,
	})
}

func (a *abroad) serve(ln net.Listener) {
	if err := a.door.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		a.in.log.Error("serving the regions' link", "err", err)
	}
}

func (a *abroad) shut(ctx context.Context) error {
	defer a.far.Close()
	if err := a.door.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("closing the regions' link: %w", err), a.door.Close())
	}
	return nil
}

// letterTries is how many nodes of a region a letter is brought to: the second one only
// where the first surely did not take it.
const letterTries = 2

// SendAbroad brings a letter to a node of another region, to the first of those given
// that takes it, and gives its answer. The error is ownership.ErrNotTaken when nothing was
// done with the letter, as where nobody there speaks the regions' link; else
// ownership.ErrUnreachable, and it may have been handled: the cloud repeats it, and the
// owner knows it by its message id.
func (a *abroad) SendAbroad(ctx context.Context, to []ownership.Node, l ownership.Letter) (ownership.Reply, error) {
	err := fmt.Errorf("sending a letter: no node of that region is known: %w", ownership.ErrNotTaken)
	for _, n := range to[:min(len(to), letterTries)] {
		var reply ownership.Reply
		reply, err = a.far.To(n.Region, n.ID, n.ClusterAddr).Send(ctx, l)
		if err == nil {
			a.in.m.relays.WithLabelValues("done").Inc()
			return reply, nil
		}
		if !errors.Is(err, ownership.ErrNotTaken) || ctx.Err() != nil {
			break
		}
	}
	a.in.m.relays.WithLabelValues("failed").Inc()
	return ownership.Reply{}, err
}

// KnownAbroad returns those of the calls that the region of the given nodes knows, as the
// first of them says that can tell.
func (a *abroad) KnownAbroad(ctx context.Context, to []ownership.Node, calls []ownership.CallID) ([]ownership.CallID, error) {
	err := fmt.Errorf("asking another region: no node of it is known: %w", ownership.ErrUnreachable)
	for _, n := range to[:min(len(to), letterTries)] {
		var known []ownership.CallID
		if known, err = a.far.To(n.Region, n.ID, n.ClusterAddr).Known(ctx, calls); err == nil {
			return known, nil
		}
	}
	return nil, err
}

// known returns those of the calls that this region knows, by a table that is up to date.
func (a *abroad) known(ctx context.Context, calls []ownership.CallID) ([]ownership.CallID, error) {
	sure := false
	for {
		var known []ownership.CallID
		for _, c := range calls {
			if _, ok := a.in.Find(c); ok {
				known = append(known, c)
			}
		}
		if sure || len(known) == len(calls) {
			return known, nil
		}
		if err := a.in.Fresh(ctx); err != nil {
			return nil, fmt.Errorf("answering which calls are known: %w", err)
		}
		sure = true
	}
}
