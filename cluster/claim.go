package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem/cluster/batch"
	"tandem/cluster/leader"
	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store/record"
)

// decided is what became of one claim of a batch.
type decided struct {
	placement ownership.Placement
	index     uint64
}

// How many batches are under way at once: on the leader two, so that one is
// written while the next gathers; on a follower four, for the way there is
// longer.
const (
	leadWidth    = 2
	forwardWidth = 4
)

// questions: two at once. A read must be answered by a question that was put after
// it came in, so it cannot join the one under way.
var questions = batch.Limits{Width: 2, Size: 1 << 16, Closed: ErrStopped}

// batches are the limits of a combiner of acts of which at most so many may wait
// (0: any number).
func batches(width, most int) batch.Limits {
	return batch.Limits{Width: width, Size: maxBatch, Most: most, Full: ownership.ErrBusy, Closed: ErrStopped}
}

// Claim gives a call its owner. A known call is answered from memory. A new one
// goes to the leader, combined with other claims; claiming the same call again,
// here or anywhere, gives the same partition.
//
// Within the bound Timings.Decide the claim outlives an election. The error is
// ErrFull or ErrNoBot (the placement tells in its candidates why), ErrNoLeader when there
// was nobody to decide, ErrOtherApp for a call of another app, or ErrStopped.
// After a nil error Find and Owner know the call on this node.
func (pr *proposals) Claim(ctx context.Context, cl ownership.Claim) (ownership.Placement, error) {
	if p, ok, err := pr.known(cl); ok {
		return p, err
	}
	if cl.Via == "" {
		cl.Via = pr.self
	}
	if pr.leader.gone(time.Now()) > pr.cfg.Timings.Lease {
		// This is no election: the node is cut off, or the region has no quorum. Who
		// asks had better ask again, at another node perhaps, than wait here.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, hopeless)
		defer cancel()
	}
	var d decided
	err := pr.persist(ctx, pr.cfg.Timings.Decide, "claiming call "+string(cl.Call), anytime, func(ctx context.Context, at ownership.NodeID, _ string) (err error) {
		way := pr.forward
		if at == pr.self {
			way = pr.lead
		}
		d, err = way.Do(ctx, cl)
		return err
	})
	pr.m.claim(err)
	if err != nil {
		return d.placement, err
	}
	pr.pending.put(cl, d.placement, d.index, pr.tb.Applied())
	return d.placement, nil
}

// hopeless bounds a claim at a node that has lost its leader for good, it seems.
const hopeless = 100 * time.Millisecond

// known answers for a call that this node knows already.
func (st *standing) known(cl ownership.Claim) (ownership.Placement, bool, error) {
	k, ok := st.Find(cl.Call)
	if !ok {
		return ownership.Placement{}, false, nil
	}
	if k.App != cl.App {
		return ownership.Placement{}, true, fmt.Errorf("claiming call %s: %w", cl.Call, ownership.ErrOtherApp)
	}
	p := ownership.Placement{Partition: k.Partition, Epoch: k.Epoch, Reason: ownership.ReasonKnown}
	if k.State == ownership.CallEnded {
		p.Reason = ownership.ReasonEnded
	}
	if o, ok := st.OwnerOf(cl.Call, k.Partition); ok {
		p.Owner, p.Epoch = o.Node, o.Epoch
	}
	return p, true, nil
}

// Find returns what routing needs of a call, from memory; false: this node knows
// no such call.
func (st *standing) Find(id ownership.CallID) (ownership.Known, bool) {
	applied := st.tb.Applied() // before the table is asked: what it drops later was in it
	if k, ok := st.tb.Known(id); ok {
		return k, true
	}
	return st.pending.call(id, applied)
}

// Owner returns who owns a partition, from memory, with whether this node may act
// as it right now.
func (st *standing) Owner(id ownership.PartitionID) (ownership.Owner, bool) {
	node, epoch := st.ownerOf(id, 0)
	if node == "" {
		return ownership.Owner{}, false
	}
	o := st.owner(node, id, epoch)
	o.Acting = o.Here && st.HoldsPartition(id, epoch)
	return o, true
}

// owner makes an owner's words. A caller who is sent to a dead address is lost until
// it begins anew, so a node that is silent, or has not been met since this process began,
// is reachable by relay only: that finds out at once whether it is there.
func (st *standing) owner(node ownership.NodeID, id ownership.PartitionID, epoch ownership.Epoch) ownership.Owner {
	o := ownership.Owner{Node: node, Partition: id, Epoch: epoch, Here: node == st.self}
	if n, ok := st.tb.Node(node); ok && (o.Here || st.present.Met(node) && !st.silent(node)) {
		o.PublicURL = n.PublicURL
	}
	return o
}

// ownerOf returns the newest owner and epoch that this node has heard of; least
// is an epoch known from elsewhere.
func (st *standing) ownerOf(id ownership.PartitionID, least ownership.Epoch) (ownership.NodeID, ownership.Epoch) {
	p, ok := st.tb.Partition(id)
	if owner, epoch, heard := st.pending.partition(id); heard && (!ok || epoch > p.Epoch) {
		return owner, epoch
	}
	if !ok || p.Retired {
		return "", least
	}
	return p.Owner, p.Epoch
}

// Leased reports whether this node may act as an owner at all now.
func (st *standing) Leased() bool { return st.lease.Acts(st.tb.Applied(), time.Now()) }

// Holds is the fence: by its table this node acts for the call at that epoch, and
// its lease is valid now. Ask right before each effect; the answer is worth
// nothing later.
func (st *standing) Holds(call ownership.CallID, id ownership.PartitionID, epoch ownership.Epoch) bool {
	applied := st.tb.Applied() // before the table is asked: it may only look older than it is
	switch {
	case !st.Owns(call, id, epoch):
		return false
	case st.ownsPartition(id, epoch):
		return st.lease.Holds(id, epoch, applied, time.Now())
	default:
		return st.lease.HoldsReserved(id, epoch, applied, time.Now())
	}
}

// Owns reports whether this node's table says that it acts for the call at that
// epoch. Without a lease that is no right to act, but one that may come back. A
// call that the table does not know is its partition's owner's.
func (st *standing) Owns(call ownership.CallID, id ownership.PartitionID, epoch ownership.Epoch) bool {
	if k, ok := st.tb.Known(call); ok {
		return k.Owner == st.self && k.Partition == id && k.Epoch == epoch
	}
	return st.ownsPartition(id, epoch)
}

// HoldsPartition is Holds for the partition as such: new calls in it, and moves.
func (st *standing) HoldsPartition(id ownership.PartitionID, epoch ownership.Epoch) bool {
	applied := st.tb.Applied()
	return st.ownsPartition(id, epoch) && st.lease.Holds(id, epoch, applied, time.Now())
}

func (st *standing) ownsPartition(id ownership.PartitionID, epoch ownership.Epoch) bool {
	p, ok := st.tb.Partition(id)
	return ok && !p.Retired && p.Owner == st.self && p.Epoch == epoch
}

// decide is the leader's end of a claim: one raft entry for the whole batch.
func (pr *proposals) decide(claims []ownership.Claim) []batch.Result[decided] {
	ctx, cancel := context.WithTimeout(pr.ctx, pr.cfg.Timings.Decide)
	defer cancel()
	l, err := pr.leads()
	if err == nil {
		err = l.Settled(ctx)
	}
	if err != nil {
		return batch.FailAll[decided](len(claims), err)
	}
	pr.m.batches.Observe(float64(len(claims)))
	out, err := leader.Place(ctx, l, claims)
	return perClaim(claims, out, err)
}

// forwardClaims is a follower's end of a claim.
func (pr *proposals) forwardClaims(claims []ownership.Claim) []batch.Result[decided] {
	out, err := pr.forwardBatch(ownership.Claims{Claims: claims})
	return perClaim(claims, out, err)
}

// perClaim gives each claim its own part of a batch's outcome.
func perClaim(claims []ownership.Claim, out *ownership.Outcome, err error) []batch.Result[decided] {
	if err == nil {
		err = out.Err
	}
	if err == nil && (len(out.Placements) != len(claims) || len(out.Errors) != len(claims)) {
		err = fmt.Errorf("claiming %d calls: the table placed %d", len(claims), len(out.Placements))
	}
	if err != nil {
		return batch.FailAll[decided](len(claims), err)
	}
	res := make([]batch.Result[decided], len(claims))
	for i := range res {
		res[i] = batch.Result[decided]{Val: decided{out.Placements[i], out.Index}, Err: out.Errors[i]}
	}
	return res
}

// forwardBatch is a follower's end: one request to the leader, for as long as it leads.
func (pr *proposals) forwardBatch(act ownership.Act) (*ownership.Outcome, error) {
	ctx, cancel := context.WithTimeout(pr.ctx, pr.cfg.Timings.Decide)
	defer cancel()
	at, addr, changed := pr.leader.now()
	if at == "" || at == pr.self {
		return nil, ownership.ErrNotLeader
	}
	ctx, end := until(ctx, changed)
	defer end()
	return pr.forwardAct(ctx, pr.links.To(at, addr), act)
}

func (pr *proposals) forwardAct(ctx context.Context, p *transport.Peer, act ownership.Act) (*ownership.Outcome, error) {
	b, err := record.EncodeAct(act, pr.tb.Format())
	if err != nil {
		return nil, err
	}
	res, err := p.Propose(ctx, &peerpb.ProposeRequest{Act: b})
	if err != nil {
		return nil, err
	}
	return outcomeFromWire(res.GetOutcome()), nil
}

// claimsFor is the leader's answer to another node's batch: each claim goes
// into the leader's own combiner, so that batches of several nodes become one.
func (pr *proposals) claimsFor(ctx context.Context, claims []ownership.Claim) (*ownership.Outcome, error) {
	out := &ownership.Outcome{Placements: make([]ownership.Placement, len(claims)), Errors: make([]error, len(claims))}
	for i, w := range pr.lead.All(claims) {
		select {
		case r := <-w:
			if errors.Is(r.Err, ownership.ErrNotLeader) || errors.Is(r.Err, ownership.ErrNoLeader) {
				return nil, r.Err
			}
			out.Placements[i], out.Errors[i] = r.Val.placement, r.Err
			out.Index = max(out.Index, r.Val.index)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return out, nil
}

// WhatIf returns the placement that Claim would, and changes nothing. The leader
// says it, for only the leader knows how the nodes fare; the errors are those of
// Claim.
func (pr *proposals) WhatIf(ctx context.Context, cl ownership.Claim) (ownership.Placement, error) {
	if p, ok, err := pr.known(cl); ok {
		return p, err
	}
	if cl.Via == "" {
		cl.Via = pr.self
	}
	var p ownership.Placement
	err := pr.persist(ctx, pr.cfg.Timings.Decide, "asking where call "+string(cl.Call)+" would go", anytime, func(ctx context.Context, at ownership.NodeID, addr string) (err error) {
		p, err = askLeader(pr, at, addr, func(l *leader.Leadership) (ownership.Placement, error) {
			return l.WhatIf(ctx, cl)
		}, func(peer *transport.Peer) (ownership.Placement, error) {
			return whatIfBy(ctx, peer, cl)
		})
		return err
	})
	return p, err
}

func whatIfBy(ctx context.Context, peer *transport.Peer, cl ownership.Claim) (ownership.Placement, error) {
	act, err := record.EncodeAct(ownership.Claims{Claims: []ownership.Claim{cl}}, 1)
	if err != nil {
		return ownership.Placement{}, err
	}
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

func (d *peerDoor) WhatIf(ctx context.Context, req *peerpb.ProposeRequest) (*peerpb.ProposeReply, error) {
	act, err := record.DecodeAct(req.GetAct())
	if err != nil {
		return nil, err
	}
	claims, ok := act.(ownership.Claims)
	if !ok || len(claims.Claims) != 1 {
		return nil, fmt.Errorf("asking where a call would go: the request carries %T, not one claim", act)
	}
	l, err := d.leads()
	if err != nil {
		return nil, err
	}
	p, err := l.WhatIf(ctx, claims.Claims[0])
	if err != nil && !errors.Is(err, ownership.ErrFull) && !errors.Is(err, ownership.ErrNoBot) {
		return nil, err
	}
	return &peerpb.ProposeReply{Outcome: outcomeToWire(&ownership.Outcome{Placements: []ownership.Placement{p}, Errors: []error{err}})}, nil
}
