package cluster

import (
	"context"
	"fmt"

	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// Consulted is one node's answer to a question.
type Consulted struct {
	Node ownership.NodeID
	Body []byte
	Err  error // it did not answer, or its software does not know the question
}

// Consult asks every node of the region that is not gone, this one too, something that
// rooms above the cluster know, without effect: what Deps.Consult answers there. It
// returns when all have answered or ctx ends, in the order of the nodes' ids.
func (c *Cluster) Consult(ctx context.Context, topic string, body []byte) []Consulted {
	var asked []ownership.Node
	for _, n := range c.tb.Nodes() {
		if n.State != ownership.NodeGone {
			asked = append(asked, n)
		}
	}
	out, done := make([]Consulted, len(asked)), make(chan struct{})
	for i, n := range asked {
		go func() {
			out[i] = Consulted{Node: n.ID}
			out[i].Body, out[i].Err = c.consult(ctx, n, topic, body)
			done <- struct{}{}
		}()
	}
	for range asked {
		<-done
	}
	return out
}

func (c *Cluster) consult(ctx context.Context, n ownership.Node, topic string, body []byte) ([]byte, error) {
	if n.ID == c.self {
		return c.answer(ctx, topic, body)
	}
	res, err := c.links.To(n.ID, n.ClusterAddr).Consult(ctx, &peerpb.ConsultRequest{Topic: topic, Body: body})
	if err != nil {
		return nil, fmt.Errorf("asking node %s: %w", n.ID, err)
	}
	return res.GetBody(), nil
}

func (c *Cluster) answer(ctx context.Context, topic string, body []byte) ([]byte, error) {
	if c.deps.Consult == nil {
		return nil, fmt.Errorf("answering a question about %q: it is %w here", topic, ownership.ErrUnknown)
	}
	return c.deps.Consult(ctx, topic, body)
}

// Consult answers another node.
func (d *peerDoor) Consult(ctx context.Context, req *peerpb.ConsultRequest) (*peerpb.ConsultReply, error) {
	if d.trans.NotAdmitted.Load() {
		return nil, transport.ErrNotAdmitted
	}
	body, err := d.answer(ctx, req.GetTopic(), req.GetBody())
	if err != nil {
		return nil, err
	}
	return &peerpb.ConsultReply{Body: body}, nil
}
