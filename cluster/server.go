package cluster

import (
	"context"
	"fmt"
	"time"

	"tandem/cluster/leader"
	"tandem/cluster/lease"
	"tandem/cluster/peerpb"
	"tandem/cluster/presence"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store"
	"tandem/store/record"
)

// peerDoor serves the peer link.
type peerDoor struct{ *Cluster }

func (d *peerDoor) Propose(ctx context.Context, req *peerpb.ProposeRequest) (*peerpb.ProposeReply, error) {
	act, err := record.DecodeAct(req.GetAct())
	if err != nil {
		return nil, err
	}
	if err := d.mayPropose(ctx, act); err != nil {
		return nil, err
	}
	var out *ownership.Outcome
	switch a := act.(type) {
	case ownership.Claims:
		out, err = d.claimsFor(ctx, a.Claims)
	case ownership.Records:
		out, err = d.recordsFor(ctx, a.Acts)
	default:
		out, err = d.proposeHere(ctx, act)
	}
	if err != nil {
		return nil, err
	}
	return &peerpb.ProposeReply{Outcome: outcomeToWire(out)}, nil
}

func (d *peerDoor) Renew(ctx context.Context, req *peerpb.RenewRequest) (*peerpb.RenewReply, error) {
	if speaker := transport.SpeakerOf(ctx); string(speaker) != req.GetNode() {
		return nil, fmt.Errorf("renewing the lease of %s: node %s may not ask for it", req.GetNode(), speaker)
	}
	l, err := d.leads()
	if err != nil {
		return nil, err
	}
	if req.GetOver() {
		l.Leases.Next.GaveBack(ownership.NodeID(req.GetNode()), req.GetProcess())
		return &peerpb.RenewReply{Leader: string(d.self), Term: l.Term}, nil
	}
	g, err := l.Renew(ctx, lease.Renewal{
		Node: ownership.NodeID(req.GetNode()), Incarnation: req.GetIncarnation(), Process: req.GetProcess(), Live: int(req.GetLive()),
		Sum: req.GetSum(), Settings: req.GetSettings(),
		Bot: req.GetBot(), Load: req.GetLoad(), Room: int(req.GetRoom()),
		Applied: req.GetApplied(), LastIndex: req.GetLastIndex(), Term: req.GetTerm(), Behind: req.GetBehind(), Apps: appsFromWire(req.GetApps()),
		Away: time.Duration(req.GetAway()), Versions: talliesFromWire(req.GetVersions()),
	})
	if err != nil {
		return nil, err
	}
	res := &peerpb.RenewReply{Leader: string(d.self), Term: g.Term, Applied: g.Applied, Length: int64(g.Length)}
	regionToWire(res, g.Region)
	for h := range g.Holdings {
		res.Holdings = append(res.Holdings, &peerpb.Holding{Partition: uint32(h.Partition), Epoch: uint64(h.Epoch)})
	}
	return res, nil
}

// Term tells a leader which term this voter knows. One that has forgotten
// its vote would confirm any leader, also one whose partitions have long moved.
func (d *peerDoor) Term(context.Context, *peerpb.TermRequest) (*peerpb.TermReply, error) {
	if d.trans.NotAdmitted.Load() {
		return nil, transport.ErrNotAdmitted
	}
	return &peerpb.TermReply{Term: d.raft.CurrentTerm(), Applied: d.tb.Applied(), Acting: d.Leased(), Process: d.process, Clock: d.clock()}, nil
}

// Stand tells another voter whether it may stand for election at once.
func (d *peerDoor) Stand(ctx context.Context, req *peerpb.StandRequest) (*peerpb.StandReply, error) {
	if d.trans.NotAdmitted.Load() {
		return nil, transport.ErrNotAdmitted
	}
	return &peerpb.StandReply{No: d.deaths.Answer(ctx, transport.SpeakerOf(ctx), req)}, nil
}

func (pr *proposals) askToStand(ctx context.Context, id ownership.NodeID, req *peerpb.StandRequest) (*peerpb.StandReply, error) {
	where := pr.where(id)
	if len(where) == 0 {
		return nil, fmt.Errorf("asking node %s: nobody knows where it is: %w", id, ownership.ErrUnreachable)
	}
	return pr.links.To(id, where[0]).Stand(ctx, req)
}

func (d *peerDoor) Hello(ctx context.Context, req *peerpb.HelloRequest) (*peerpb.HelloReply, error) {
	b := presence.Of(req)
	if b.Node == "" {
		b.Node = transport.SpeakerOf(ctx) // older software says no more
	} else if speaker := transport.SpeakerOf(ctx); speaker != b.Node {
		return nil, fmt.Errorf("answering a hello: node %s speaks for node %s", speaker, b.Node)
	}
	if by := req.GetInvite(); by != "" && len(d.servers()) == 0 {
		d.invites.take(by)
		d.enterAt.fire()
	}
	if b.Node != d.self {
		d.present.Tells(b, time.Now())
	}
	if req.GetAdmit() == d.cfg.Node.Incarnation {
		if err := d.admittedBy(b); err != nil {
			return nil, err
		}
	}
	res := d.replyAs()
	if req.GetVouch() && b.Node != d.self {
		if err := d.meet(b); err != nil {
			res.Refused, res.Refusal = err.Error(), transport.ToFault(err)
		} else {
			res.Vouched = true
		}
	}
	if f := ownership.NodeID(req.GetFounder()); f != "" && !res.HasState {
		res.Granted = d.found.grant(f, time.Now())
	}
	return res, nil
}

// replyAs is this process's answer to a hello, or to a raft connection's first word.
func (en *entry) replyAs() *peerpb.HelloReply {
	leader, addr, _ := en.Leader()
	me := en.me()
	return &peerpb.HelloReply{
		Deployment: en.cfg.Deployment, Region: string(en.cfg.Region), Node: me.GetNode(), Incarnation: me.GetIncarnation(),
		HasState: len(en.servers()) > 0, Expect: uint32(en.cfg.BootstrapExpect), Leader: string(leader), LeaderAddr: addr,
		Process: me.GetProcess(), Ancestors: me.GetAncestors(), Identity: me.GetIdentity(), Applied: me.GetApplied(),
		Confirmed: me.GetConfirmed(), Former: me.GetFormer(), Addr: me.GetAddr(), Nodes: en.present.Addrs(),
		LastIndex: me.GetLastIndex(), LastTerm: en.lastTerm(), Voters: en.votersHere(),
		Acts: en.acts(),
	}
}

// admittedBy takes the leader's word that this process is the node's.
func (en *entry) admittedBy(leader presence.Bearer) error {
	if leader.Identity != "" {
		if mine := en.identity(); mine != "" && mine != leader.Identity && mine != leader.Former {
			return fmt.Errorf("this node has the data of another region of this name: %w", ownership.ErrForeign)
		}
		if err := en.st.Belong(leader.Identity); err != nil {
			return fmt.Errorf("keeping the region's identity: %w", err)
		}
	}
	en.present.Bind(leader.Node, leader.Process, leader.Addr, time.Now())
	en.admitted()
	return nil
}

func (d *peerDoor) Join(ctx context.Context, req *peerpb.JoinRequest) (*peerpb.JoinReply, error) {
	act, err := record.DecodeAct(req.GetAct())
	if err != nil {
		return nil, err
	}
	join, ok := act.(ownership.Join)
	if !ok {
		return nil, fmt.Errorf("joining a node: the request carries %T", act)
	}
	at, _, changed := d.leader.now()
	if at == "" {
		return nil, fmt.Errorf("joining node %s: %w", join.Node.ID, ownership.ErrNoLeader) // at once: it asks again
	}
	ctx, end := until(ctx, changed) // a leader that is lost may be so for want of this very node
	defer end()
	join.Node.Process = req.GetProcess()
	ctx = d.vouching(ctx, join.Node)
	voter, err := d.entry.Join(ctx, leader.JoinRequest{
		Node: join.Node, Partitions: join.Partitions, Identity: req.GetIdentity(), HasState: req.GetHasState(),
		Ancestors: req.GetAncestors(), Over: req.GetOver(), LastIndex: req.GetLastIndex(), Settings: req.GetSettings(),
		Token: req.GetToken(),
		Stamp: store.Stamp{
			Deployment: req.GetDeployment(), Region: ownership.Region(req.GetRegion()), Node: ownership.NodeID(req.GetNode()),
			Incarnation: req.GetIncarnation(), Format: req.GetFormat(),
		},
	})
	if err != nil {
		return nil, err
	}
	return &peerpb.JoinReply{Voter: voter}, nil
}

func (d *peerDoor) Dismiss(ctx context.Context, req *peerpb.DismissRequest) (*peerpb.DismissReply, error) {
	id := ownership.NodeID(req.GetNode())
	if req.GetLeft() && transport.SpeakerOf(ctx) != id {
		return nil, fmt.Errorf("dismissing node %s: only the node itself may say that it has stopped", id)
	}
	if transport.SpeakerOf(ctx) != id {
		if err := d.operators(ctx, "remove", "node "+string(id)); err != nil {
			return nil, err
		}
	}
	l, err := d.leads()
	if err != nil {
		return nil, err
	}
	return &peerpb.DismissReply{}, dismiss(ctx, l, req)
}

func (d *peerDoor) Yield(ctx context.Context, req *peerpb.YieldRequest) (*peerpb.YieldReply, error) {
	if err := d.operators(ctx, "move", "partition "+ownership.PartitionID(req.GetPartition()).String()+" to node "+req.GetTo()); err != nil {
		return nil, err
	}
	out, _, err := d.yield(ctx, ownership.PartitionID(req.GetPartition()), ownership.Epoch(req.GetEpoch()), ownership.NodeID(req.GetTo()))
	if err != nil {
		return nil, err
	}
	return &peerpb.YieldReply{Outcome: outcomeToWire(out)}, nil
}

func (d *peerDoor) Direct(ctx context.Context, req *peerpb.DirectRequest) (*peerpb.DirectReply, error) {
	l, err := d.leads()
	if err != nil {
		return nil, err
	}
	to, err := l.Fittest(ctx, ownership.PartitionID(req.GetPartition()), nodeIDs(req.GetBut()))
	if err != nil {
		return nil, err
	}
	return &peerpb.DirectReply{Node: string(to)}, nil
}

func (d *peerDoor) Transfer(ctx context.Context, req *peerpb.TransferRequest) (*peerpb.TransferReply, error) {
	if err := d.operators(ctx, "hand on the lead", "to node "+req.GetTo()); err != nil {
		return nil, err
	}
	return &peerpb.TransferReply{}, d.transferHere(ctx, ownership.NodeID(req.GetTo()))
}

func (d *peerDoor) Barrier(ctx context.Context, _ *peerpb.BarrierRequest) (*peerpb.BarrierReply, error) {
	l, err := d.leads()
	if err != nil {
		return nil, err
	}
	index, err := l.Barrier(ctx)
	if err != nil {
		return nil, err
	}
	return &peerpb.BarrierReply{Applied: index}, nil
}

func (d *peerDoor) Relay(ctx context.Context, req *peerpb.HandOver) (*peerpb.Reply, error) {
	if d.deps.HandOver == nil {
		return nil, fmt.Errorf("taking a relayed notification: this node has no door for it: %w", ownership.ErrFenced)
	}
	ctx, end, err := d.inTime(ctx, req)
	if err != nil {
		return nil, err
	}
	defer end()
	reply, err := d.deps.HandOver(context.WithValue(ctx, relayedKey{}, true), handOverFromWire(req))
	if err != nil {
		return nil, err
	}
	w := replyToWire(reply)
	w.Clock = d.clock()
	return w, nil
}

func (pr *proposals) barrierAt(ctx context.Context, at ownership.NodeID, addr string) (index uint64, err error) {
	return askLeader(pr, at, addr, func(l *leader.Leadership) (uint64, error) { return l.Barrier(ctx) },
		func(p *transport.Peer) (uint64, error) {
			res, err := p.Barrier(ctx, &peerpb.BarrierRequest{})
			return res.GetApplied(), err
		})
}
