package leader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/lease"
	"tandem/cluster/presence"
	"tandem/ownership"
	"tandem/spelling"
	"tandem/store"
)

// JoinRequest asks for a node to be taken into the region.
type JoinRequest struct {
	Node       ownership.Node
	Partitions int         // to be born on it; 0: this region's default
	Stamp      store.Stamp // of its store
	Identity   string      // of the region that its data belong to; empty: none yet
	HasState   bool        // its table holds a record of it
	Ancestors  []string    // see ownership.Join
	Over       bool        // the last of them ended in order
	LastIndex  uint64      // of its raft log; 0: it does not say
	Settings   map[string]string
	Token      string // with the role join; empty: it has none
}

// Check refuses what can be refused without looking at the table.
func (req JoinRequest) Check(deployment string, region ownership.Region) error {
	switch n, s := req.Node, req.Stamp; {
	case s.Deployment != deployment || s.Region != region || n.Region != region:
		return fmt.Errorf("joining node %s of %s/%s to %s/%s: %w", n.ID, s.Deployment, s.Region, deployment, region, ownership.ErrForeign)
	case n.ID == "" || n.ID != s.Node || n.Incarnation == "" || n.Incarnation != s.Incarnation:
		return fmt.Errorf("joining node %q: its record and its store's stamp name different nodes: %w", n.ID, ownership.ErrConflict)
	case n.ClusterAddr == "":
		return fmt.Errorf("joining node %s: it names no address: %w", n.ID, ownership.ErrConflict)
	case n.PublicURL != "":
		if err := spelling.PublicURL(n.PublicURL); err != nil {
			return fmt.Errorf("joining node %s: its public URL %q %w: %w", n.ID, n.PublicURL, err, ownership.ErrConflict)
		}
	}
	return nil
}

// Admit is the leader's part of a join. The newcomer gets a place in raft's
// configuration without a vote, unless it has one, then its record, and then it is
// told that it is admitted, if it was a member before: until that it answers no
// raft message. The vote comes
// when its table has caught up, see voting.
func (l *Leadership) Admit(ctx context.Context, req JoinRequest) (voter bool, err error) {
	n := req.Node
	fail := func(err error) (bool, error) { return false, fmt.Errorf("joining node %s: %w", n.ID, err) }
	if err := req.Check(l.Deployment, l.Self.Region); err != nil {
		return false, err
	}
	if err := l.Ready(ctx); err != nil {
		return false, err
	}
	l.Leases.Next.Sees(n.ID, time.Now())
	release, err := l.Form(ctx)
	if err != nil {
		return fail(err)
	}
	defer release()
	if err := l.checkNewcomer(req); err != nil {
		// A node may end over it: it is the region's word only while this one leads.
		return fail(cmp.Or(l.Sure(ctx), err))
	}
	used, err := l.letIn(ctx, req)
	if err != nil {
		return fail(err)
	}
	if l.Present.Promised(presence.Bearer{Node: n.ID, Process: n.Process, Ancestors: req.Ancestors, Over: req.Over}, time.Now()) {
		return fail(presence.ErrAlive)
	}
	before, err := l.succeed(req)
	if err != nil {
		return fail(err)
	}
	defer l.Leases.Settle(before, false)
	early := "" // a new incarnation has no vote that could count twice: it may hear raft at once
	if have, ok := l.Table.Node(n.ID); !ok || have.State == ownership.NodeGone {
		early = n.Incarnation
	}
	if n.ID != l.Self.ID {
		if err := l.callBack(ctx, n, early); err != nil {
			return fail(err)
		}
	}
	if err := l.vacate(n); err != nil {
		return fail(err)
	}
	if voter, err = l.seat(ctx, n); err != nil {
		return fail(err)
	}
	n.Voter = voter
	l.Leases.Admit(n.ID, n.Incarnation, time.Now())
	act := ownership.Join{Node: n, Partitions: cmp.Or(req.Partitions, l.Partitions), Ancestors: req.Ancestors}
	if l.Table.Format() < ownership.FormatReservations {
		act.Node.Process, act.Ancestors = "", nil
	}
	out, err := l.Propose(ctx, act)
	if err != nil {
		return fail(err) // it may come true yet: whom it succeeds gets no lease until it is known
	}
	l.Leases.Settle(before, true)
	if out.Err != nil {
		return fail(out.Err)
	}
	l.Leases.Next.Done(n.ID)
	if n.ID == l.Self.ID {
		l.Admitted()
		return voter, nil
	}
	l.Present.Bind(n.ID, n.Process, n.ClusterAddr, time.Now())
	if early == "" {
		if err := l.callBack(ctx, n, n.Incarnation); err != nil {
			return fail(err)
		}
	}
	used(ctx)
	l.Log.Info("a node joined", "peer", string(n.ID), "addr", n.ClusterAddr, "process", n.Process, "voter", voter)
	return voter, nil
}

// Form waits for the right to change the membership.
func (l *Leadership) Form(ctx context.Context) (release func(), err error) {
	select {
	case l.forming <- struct{}{}:
		return func() { <-l.forming }, nil
	case <-l.ctx.Done():
		return nil, ownership.ErrNotLeader
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// checkNewcomer holds a node against the table before raft hears of it.
func (l *Leadership) checkNewcomer(req JoinRequest) error {
	n := req.Node
	mine := l.Table.Identity()
	if mine != "" && req.Identity != "" && req.Identity != mine && req.Identity != l.Formerly() {
		return fmt.Errorf("its data are of another region of this name (identity %s, here it is %s): empty its data directory, then start it again: %w",
			req.Identity, mine, ownership.ErrForeign)
	}
	if writes := l.Table.Format(); n.Format < writes {
		return fmt.Errorf("it reads command formats up to %d, the region writes %d: upgrade its software first: %w", n.Format, writes, ownership.ErrConflict)
	}
	have, ok := l.Table.Node(n.ID)
	placed := Placed(Servers(l.Raft), n.ID)
	switch {
	case !ok && req.HasState && !placed:
		return fmt.Errorf("it has data of a region, and this one does not know it (any more): %w: empty its data directory, then start it again", ownership.ErrGone)
	case !ok:
		return nil
	case have.Incarnation == n.Incarnation && have.State == ownership.NodeGone:
		return fmt.Errorf("%w: empty its data directory, then join it anew", ownership.ErrGone)
	case have.Incarnation != n.Incarnation && have.State != ownership.NodeGone:
		return fmt.Errorf("the region knows that id with other data at %s; its disk was lost or swapped: remove the node, then join it anew: %w",
			have.ClusterAddr, ownership.ErrConflict)
	}
	return nil
}

// succeed lets a process follow the one that the table names; nil: there is none. That one
// gets no lease until the hold is settled. Its own must be certainly
// over, or it has given it back; and the newcomer must descend from it, with all that
// it said it had.
func (l *Leadership) succeed(req JoinRequest) (*lease.Hold, error) {
	n := req.Node
	have, ok := l.Table.Node(n.ID)
	if !ok || have.State == ownership.NodeGone || have.Process == "" || have.Process == n.Process {
		return nil, nil
	}
	// Whoever leads is alive, whatever lease it has let go.
	if n.ID == l.Self.ID && n.Process != l.Process || !slices.Contains(req.Ancestors, have.Process) {
		return nil, presence.Twin(n.ID, have.ClusterAddr)
	}
	if err := l.Present.SetBack(n.ID, n.Incarnation, n.Process, req.LastIndex); err != nil {
		return nil, err
	}
	now := time.Now()
	if err := l.Leases.Next.Ask(n.ID, n.Process, l.Leases.Waits(), now); err != nil {
		if errors.Is(err, ownership.ErrTwin) {
			err = presence.Twin(n.ID, have.ClusterAddr)
		}
		return nil, err
	}
	if req.Over && req.Ancestors[len(req.Ancestors)-1] == have.Process || l.Leases.Next.IsOver(n.ID, have.Process) {
		return l.Leases.Revoke(n.ID), nil
	}
	h := l.Leases.RevokeIfOver(n.ID, now)
	if h == nil {
		return nil, fmt.Errorf("the process before it may act for another %v, if it lives: asking again", time.Until(l.Leases.Over(n.ID)).Round(time.Millisecond))
	}
	return h, nil
}

// callBack makes sure that the process is where it says, for raft would count a
// voter at a wrong address as a dead one. With admit set it tells the node that it
// is admitted.
func (l *Leadership) callBack(ctx context.Context, n ownership.Node, admit string) error {
	ctx, cancel := context.WithTimeout(ctx, HelloLimit)
	defer cancel()
	hello := l.Me()
	hello.Admit = admit
	h, err := l.Links.To(n.ID, n.ClusterAddr).Hello(ctx, hello)
	if err != nil {
		return fmt.Errorf("calling it back at %s: %w", n.ClusterAddr, err)
	}
	switch {
	case h.GetNode() != string(n.ID) || h.GetIncarnation() != n.Incarnation:
		return fmt.Errorf("calling it back at %s: node %s answers there; asking again", n.ClusterAddr, h.GetNode())
	case h.GetProcess() != n.Process:
		return fmt.Errorf("calling it back at %s: another process of it answers there; asking again", n.ClusterAddr)
	}
	return nil
}

// vacate sees to it that nobody else is at the address where a newcomer has just
// answered. A holder that has a lease and does not say that it is elsewhere keeps
// it for now. Time heals that, so it is no conflict for good.
func (l *Leadership) vacate(n ownership.Node) error {
	for _, other := range l.Table.Nodes() {
		if other.ID == n.ID || other.State == ownership.NodeGone || other.ClusterAddr != n.ClusterAddr {
			continue
		}
		if said := l.Present.Addr(other.ID); said != "" && said != n.ClusterAddr {
			continue
		}
		if l.Leases.Leased(other.ID, time.Now()) {
			return fmt.Errorf("node %s has the address %s and holds a lease: if it is to keep it, give this node another one; asking again", other.ID, n.ClusterAddr)
		}
	}
	return nil
}

// Elsewhere stands in raft's configuration for an address that is another node's
// there: where a node is, is found out by its id.
func Elsewhere(id raft.ServerID) raft.ServerAddress {
	return raft.ServerAddress("unknown:" + string(id))
}

// seat gives the node its place in raft's configuration, at first without a vote. A
// place that it has stays as it is. So does the address in it, however often the node
// moves: it is no more than a hint, and raft reads it without a lock while it is
// being changed.
func (l *Leadership) seat(ctx context.Context, n ownership.Node) (voter bool, err error) {
	id, addr := raft.ServerID(n.ID), raft.ServerAddress(n.ClusterAddr)
	for _, s := range Servers(l.Raft) {
		if s.ID == id {
			return s.Suffrage == raft.Voter, nil
		}
		if s.Address == addr {
			addr = Elsewhere(id)
		}
	}
	return false, l.change(ctx, func() raft.Future { return l.Raft.AddNonvoter(id, addr, 0, l.Timings.Decide) })
}

func (n *Needs) isGone(id ownership.NodeID) bool {
	have, ok := n.Table.Node(id)
	return ok && have.State == ownership.NodeGone
}

func (l *Leadership) change(ctx context.Context, start func() raft.Future) error {
	if err := Await(ctx, start); err != nil {
		return fmt.Errorf("changing raft's configuration: %w", Refusal(err))
	}
	return nil
}

// HelloLimit bounds a round of hellos.
const HelloLimit = 2 * time.Second
