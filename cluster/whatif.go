package cluster

import (
	"context"
	"errors"
	"fmt"

	"tandem/cluster/peerpb"
	"tandem/ownership"
	"tandem/store"
)

// WhatIf gives the placement that Claim would, and changes nothing. The leader
// says it, for only the leader knows how the nodes fare; the errors are those of
// Claim.
func (c *proposals) WhatIf(ctx context.Context, cl ownership.Claim) (ownership.Placement, error) {
	if p, ok, err := c.known(cl); ok {
		return p, err
	}
	if cl.Via == "" {
		cl.Via = c.self
	}
	var p ownership.Placement
	err := c.persist(ctx, "asking where call "+string(cl.Call)+" would go", anytime, func(ctx context.Context, leader ownership.NodeID, addr string) (err error) {
		if leader == c.self {
			p, err = c.whatIfHere(ctx, cl)
			return err
		}
		p, err = c.whatIfAt(ctx, leader, addr, cl)
		return err
	})
	return p, err
}

func (c *proposals) whatIfHere(ctx context.Context, cl ownership.Claim) (p ownership.Placement, err error) {
	r := c.reign.Load()
	if r == nil {
		return p, ownership.ErrNotLeader
	}
	if err := r.waitReady(ctx); err != nil {
		return p, err
	}
	filled := r.stamp(ownership.Claims{Claims: []ownership.Claim{cl}}).(ownership.Claims)
	c.tb.View(func(v ownership.View) {
		p, err = ownership.Place(v, cl, filled.At, filled.Fitness)
	})
	return p, err
}

func (c *proposals) whatIfAt(ctx context.Context, leader ownership.NodeID, addr string, cl ownership.Claim) (ownership.Placement, error) {
	act, err := store.EncodeAct(ownership.Claims{Claims: []ownership.Claim{cl}}, 1)
	if err != nil {
		return ownership.Placement{}, err
	}
	peer := c.links.To(leader, addr)
	res, err := peer.WhatIf(ctx, &peerpb.ProposeRequest{Act: act})
	if err != nil {
		return ownership.Placement{}, err
	}
	out := outcomeFromWire(res.GetOutcome())
	if len(out.Placements) != 1 || len(out.Errors) != 1 {
		return ownership.Placement{}, fmt.Errorf("asking where call %s would go: the leader gave %d placements for one call", cl.Call, len(out.Placements))
	}
	return out.Placements[0], out.Errors[0]
}

func (c *peerDoor) WhatIf(ctx context.Context, req *peerpb.ProposeRequest) (*peerpb.ProposeReply, error) {
	act, err := store.DecodeAct(req.GetAct())
	if err != nil {
		return nil, err
	}
	claims, ok := act.(ownership.Claims)
	if !ok || len(claims.Claims) != 1 {
		return nil, fmt.Errorf("asking where a call would go: the request carries %T, not one claim", act)
	}
	p, err := c.whatIfHere(ctx, claims.Claims[0])
	if err != nil && !errors.Is(err, ownership.ErrFull) && !errors.Is(err, ownership.ErrNoBot) {
		return nil, err
	}
	return &peerpb.ProposeReply{Outcome: outcomeToWire(&ownership.Outcome{Placements: []ownership.Placement{p}, Errors: []error{err}})}, nil
}
