package webhook

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"tandem/ownership"
)

func (nd *node) Find(id ownership.CallID) (ownership.Known, bool) {
	nd.in.mu.Lock()
	defer nd.in.mu.Unlock()
	k, ok := nd.in.calls[id]
	return k, ok && !nd.forgot.Load()
}

func (nd *node) Room(ownership.AppID) int {
	nd.in.mu.Lock()
	defer nd.in.mu.Unlock()
	if nd.in.room == nil {
		return -1
	}
	return *nd.in.room
}

func (nd *node) Owner(p ownership.PartitionID) (ownership.Owner, bool) {
	nd.in.mu.Lock()
	defer nd.in.mu.Unlock()
	o, ok := nd.in.owners[p]
	if v, stale := nd.view[p]; stale {
		o, ok = v, true
	}
	o.Here = o.Node == nd.id
	o.Acting = o.Here && !nd.leaseOff
	return o, ok
}

// OwnerOf returns the node that a call is reserved for, else the partition's owner.
func (nd *node) OwnerOf(id ownership.CallID, p ownership.PartitionID) (ownership.Owner, bool) {
	if k, ok := nd.Find(id); ok && k.Owner != "" && k.Partition == p {
		o := ownership.Owner{Node: k.Owner, Partition: p, Epoch: k.Epoch, PublicURL: nd.in.nodes[k.Owner].url, Here: k.Owner == nd.id}
		o.Acting = o.Here && !nd.leaseOff
		return o, true
	}
	return nd.Owner(p)
}

func (nd *node) Fresh(context.Context) error {
	nd.dispatcherMu.Lock()
	defer nd.dispatcherMu.Unlock()
	nd.asked++
	if nd.cutOff != nil {
		return nd.cutOff
	}
	nd.forgot.Store(false)
	return nil
}

func (nd *node) Ended(_ context.Context, calls ...ownership.Unclaimed) error {
	nd.in.mu.Lock()
	defer nd.in.mu.Unlock()
	nd.in.ends++
	nd.in.told = calls
	if nd.in.overtake != nil {
		nd.in.overtake()
	}
	if nd.in.deaf != nil {
		return nd.in.deaf
	}
	for _, c := range calls {
		if _, ok := nd.in.calls[c.Call]; !ok {
			nd.in.calls[c.Call] = ownership.Known{App: c.App, Partition: 1, Epoch: 1, State: ownership.CallEnded}
		}
	}
	return nil
}

func (nd *node) Holds(id ownership.CallID, p ownership.PartitionID, e ownership.Epoch) bool {
	o, ok := nd.OwnerOf(id, p)
	return ok && o.Acting && o.Epoch == e
}

func (nd *node) Claim(ctx context.Context, c ownership.Claim) (ownership.Placement, error) {
	if err := ctx.Err(); err != nil {
		return ownership.Placement{}, err
	}
	nd.in.mu.Lock()
	stall := nd.in.stall
	nd.in.mu.Unlock()
	if stall != nil {
		close(stall)
		select {
		case <-ctx.Done():
			return ownership.Placement{}, ctx.Err()
		case <-nd.in.free:
		}
	}
	return nd.in.claim(c, true)
}

func (nd *node) WhatIf(_ context.Context, c ownership.Claim) (ownership.Placement, error) {
	return nd.in.claim(c, false)
}

func (r *region) claim(c ownership.Claim, keep bool) (ownership.Placement, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return ownership.Placement{}, r.refuse
	}
	p := ownership.PartitionID(1)
	if r.place != nil {
		p = r.place(c)
	}
	o := r.owners[p]
	place := ownership.Placement{Partition: p, Epoch: o.Epoch, Owner: o.Node, Reason: ownership.ReasonLeastLoaded}
	if known, ok := r.calls[c.Call]; ok {
		if known.App != c.App {
			return ownership.Placement{}, ownership.ErrOtherApp
		}
		place.Reason = ownership.ReasonKnown
		if known.State == ownership.CallEnded {
			place.Reason = ownership.ReasonEnded
		}
	}
	if r.answer != nil {
		place = r.answer(place)
	}
	if keep {
		r.claims = append(r.claims, c)
		state := ownership.CallClaimed
		if c.Answered {
			state = ownership.CallAnswered
		}
		if place.Reason == ownership.ReasonLeastLoaded {
			r.calls[c.Call] = ownership.Known{App: c.App, Partition: p, Epoch: o.Epoch, State: state}
		}
	}
	return place, nil
}

func (nd *node) Relay(ctx context.Context, to ownership.NodeID, ho ownership.HandOver) (ownership.Reply, error) {
	nd.dispatcherMu.Lock()
	nd.relays = append(nd.relays, ho)
	err := nd.relayErr
	nd.dispatcherMu.Unlock()
	if err != nil {
		return ownership.Reply{}, err
	}
	other, ok := nd.in.nodes[to]
	if !ok {
		return ownership.Reply{}, fmt.Errorf("dialling %s: no such node", to)
	}
	return other.door.HandOver(ctx, ho)
}

func (nd *node) Incoming(_ context.Context, ho ownership.HandOver) (ownership.Reply, error) {
	return nd.take(ho)
}

func (nd *node) Update(_ context.Context, ho ownership.HandOver) (ownership.Reply, error) {
	return nd.take(ho)
}

func (nd *node) Handled(ho ownership.HandOver) (ownership.Reply, bool) {
	nd.dispatcherMu.Lock()
	defer nd.dispatcherMu.Unlock()
	reply, ok := nd.remembers[ho.MessageID]
	return reply, ok
}

func (nd *node) take(ho ownership.HandOver) (ownership.Reply, error) {
	nd.dispatcherMu.Lock()
	defer nd.dispatcherMu.Unlock()
	nd.got = append(nd.got, ho)
	if nd.reply != nil {
		return nd.reply(ho)
	}
	return ownership.Reply{Status: http.StatusAccepted}, nil
}

// handed returns what the node's dispatcher got.
func (nd *node) handed() []ownership.HandOver {
	nd.dispatcherMu.Lock()
	defer nd.dispatcherMu.Unlock()
	return append([]ownership.HandOver(nil), nd.got...)
}

// relayed returns what the node sent to others.
func (nd *node) relayed() []ownership.HandOver {
	nd.dispatcherMu.Lock()
	defer nd.dispatcherMu.Unlock()
	return append([]ownership.HandOver(nil), nd.relays...)
}

// knows puts a call into the table.
func (r *region) knows(id ownership.CallID, p ownership.PartitionID, state ownership.CallState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[id] = ownership.Known{App: ourApp, Partition: p, Epoch: r.owners[p].Epoch, State: state}
}

// reserves keeps a call for the owner that its partition has now.
func (r *region) reserves(id ownership.CallID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.calls[id]
	k.Owner, k.Pinned = r.owners[k.Partition].Node, true
	r.calls[id] = k
}

// moves gives a partition to another node at the next epoch.
func (r *region) moves(p ownership.PartitionID, to ownership.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owners[p] = ownership.Owner{Node: to, Partition: p, Epoch: r.owners[p].Epoch + 1, PublicURL: r.nodes[to].url}
}

func (r *region) claimed() []ownership.Claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]ownership.Claim(nil), r.claims...)
}

// untouched fails if anything of the region's state was used.
func (r *region) untouched(t testing.TB) {
	t.Helper()
	if c := r.claimed(); len(c) > 0 {
		t.Errorf("%d claims were made", len(c))
	}
	for id, nd := range r.nodes {
		if g := nd.handed(); len(g) > 0 {
			t.Errorf("%d notifications reached the bot of %s", len(g), id)
		}
	}
}

// count reads one counter of a node; label is "" for those without.
func (nd *node) counter(t testing.TB, name, label string) float64 {
	t.Helper()
	families, err := nd.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s{%s}", name, label)
	return 0
}
