package cluster

import (
	"context"
	"fmt"
	"time"

	"tandem/cluster/transport"
	"tandem/ownership"
)

// relayedKey marks the context of a notification that came by relay.
type relayedKey struct{}

// Relay hands a notification to the node that owns its partition, over the peer
// link, and gives the reply of the bot there. Arriving by relay is what marks it
// as relayed: with the context that the other side's HandOver got, Relay refuses
// with ErrRelayed, so a notification makes at most one such hop.
//
// The error is ownership.ErrUnreachable when the node cannot be reached or does not answer
// in time (then the notification may or may not have been handled: the cloud
// repeats it, and the owner knows it by its message id), ErrUnknown for a node
// that is not in the table, or what the other side said, such as ErrFenced. What
// arrives there after ctx's deadline is not handed over any more.
func (c *Cluster) Relay(ctx context.Context, to ownership.NodeID, h ownership.HandOver) (ownership.Reply, error) {
	reply, err := c.relay(ctx, to, h)
	if err != nil {
		c.m.relays.WithLabelValues("failed").Inc()
		return ownership.Reply{}, fmt.Errorf("relaying a notification of call %s: %w", h.Call, err)
	}
	c.m.relays.WithLabelValues("done").Inc()
	return reply, nil
}

func (c *Cluster) relay(ctx context.Context, to ownership.NodeID, h ownership.HandOver) (ownership.Reply, error) {
	if ctx.Value(relayedKey{}) != nil {
		return ownership.Reply{}, ErrRelayed
	}
	if to == c.self {
		return ownership.Reply{}, fmt.Errorf("node %s is this node: %w", to, ownership.ErrConflict)
	}
	n, ok := c.tb.Node(to)
	if !ok || n.State == ownership.NodeGone {
		return ownership.Reply{}, fmt.Errorf("node %s: %w", to, ownership.ErrUnknown)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.Timings.Relay)
		defer cancel()
	}
	p := c.links.To(to, n.ClusterAddr)
	s, err := c.signOf(ctx, p, n, h.Call)
	if err != nil {
		return ownership.Reply{}, err
	}
	w := handOverToWire(h)
	limit(ctx, s, w)
	res, err := p.Relay(ctx, w)
	if err != nil {
		p.Sign.CompareAndSwap(s, nil) // another process may be there
		return ownership.Reply{}, err
	}
	if clock := res.GetClock(); clock != 0 && s.Clock != 0 {
		p.Sign.CompareAndSwap(s, &transport.Sign{At: time.Now(), Process: s.Process, Clock: clock})
	}
	return replyFromWire(res), nil
}
