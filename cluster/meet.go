package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tandem/cluster/leader"
	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
)

// Meet brings this node and the one at the cluster address into one region: a
// node of a region invites the other in, a node without a region enters the
// other's. It waits until the newcomer stands in the table here, and up to two seconds until
// it acts, and gives its record. Two nodes of one region have met already: nothing
// happens. With expected set, only that node may answer at the address. A node of a
// region lets the other in in the name of the operator whom the context names; a node
// without one shows the token there.
//
// The error is ownership.ErrForeign for a node of another deployment or region,
// ErrConflict when each belongs to a region of its own, ownership.ErrUnreachable when
// nobody answers there, ErrBusy while maxMeetings others are being met, and
// ErrNoLeader when neither has a region yet, or the newcomer did not come in
// within ctx.
func (en *entry) Meet(ctx context.Context, addr string, expected ownership.NodeID, token string) (ownership.Node, error) {
	fail := func(err error) (ownership.Node, error) {
		return ownership.Node{}, fmt.Errorf("meeting the node at %s: %w", addr, err)
	}
	if addr == en.addr {
		return fail(fmt.Errorf("that is this node: %w", ownership.ErrConflict))
	}
	over, ok := en.invites.meet()
	if !ok {
		return fail(fmt.Errorf("%d others are being met: %w", maxMeetings, ownership.ErrBusy))
	}
	defer over()
	inside := len(en.servers()) > 0
	hello := en.me()
	other, err := en.greet(ctx, addr, hello)
	if errors.Is(err, ownership.ErrUnreachable) {
		// Whoever may have nodes met learns nothing of the ports of this network: open,
		// closed and spoken by another program read the same.
		en.log.Info("no node was met", "addr", addr, "err", err)
		err = fmt.Errorf("no node of this deployment answers there; the log of node %s says more: %w", en.self, ownership.ErrUnreachable)
	}
	if err != nil {
		return fail(err)
	}
	newcomer, incarnation := ownership.NodeID(other.GetNode()), other.GetIncarnation()
	switch known, ok := en.tb.Node(newcomer); {
	case other.GetDeployment() != en.cfg.Deployment || other.GetRegion() != string(en.cfg.Region):
		return fail(fmt.Errorf("it is of %s/%s: %w", other.GetDeployment(), other.GetRegion(), ownership.ErrForeign))
	case expected != "" && newcomer != expected:
		return fail(fmt.Errorf("node %s answers there, not %s: %w", newcomer, expected, ownership.ErrConflict))
	case newcomer == en.self:
		return fail(fmt.Errorf("it has this node's id: %w", ownership.ErrConflict))
	case inside && other.GetHasState() && ok && known.Incarnation == incarnation && known.State == ownership.NodeGone:
		return fail(fmt.Errorf("node %s: %w: empty its data directory, then join it anew", newcomer, ownership.ErrGone))
	case inside && other.GetHasState() && ok && known.Incarnation == incarnation:
		return known, nil
	case inside && other.GetHasState():
		return fail(fmt.Errorf("node %s has a region of its own: empty its data directory first: %w", newcomer, ownership.ErrConflict))
	case !inside && !other.GetHasState():
		return fail(fmt.Errorf("neither node has a region yet: found it on one of them (tandem found): %w", ownership.ErrNoLeader))
	case !inside:
		newcomer, incarnation = en.self, en.cfg.Node.Incarnation
		en.invites.take(addr)
		en.invites.show(token)
		en.enterAt.fire()
	default:
		defer en.invites.want(newcomer, incarnation, ownership.Operator(ctx))()
		hello.Invite = en.addr
		if _, err := en.greet(ctx, addr, hello); err != nil {
			return fail(err)
		}
	}
	n, err := en.awaitNode(ctx, newcomer, incarnation)
	if err != nil {
		return fail(err)
	}
	en.awaitActing(ctx, newcomer, addr)
	return n, nil
}

// awaitActing waits until a node that came in has its lease, so that whoever asked for it
// finds it at work. It is in, lease or not: nobody waits longer than actingPatience.
func (en *entry) awaitActing(ctx context.Context, newcomer ownership.NodeID, addr string) {
	ctx, cancel := context.WithTimeout(ctx, actingPatience)
	defer cancel()
	if newcomer == en.self {
		_ = en.Ready(ctx)
		return
	}
	for ctx.Err() == nil {
		if h, err := en.greet(ctx, addr, en.me()); err == nil && h.GetActs() {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
}

// actingPatience is well within what the admin door gives a request: a node of older software
// does not say that it acts.
const actingPatience = 2 * time.Second

func (en *entry) greet(ctx context.Context, addr string, req *peerpb.HelloRequest) (*peerpb.HelloReply, error) {
	ctx, cancel := context.WithTimeout(ctx, leader.HelloLimit)
	defer cancel()
	return en.links.To("", addr).Hello(ctx, req)
}

// awaitNode waits until the table here holds the node as present.
func (st *standing) awaitNode(ctx context.Context, id ownership.NodeID, incarnation string) (ownership.Node, error) {
	for {
		changed := st.applied.next()
		if n, ok := st.tb.Node(id); ok && n.Incarnation == incarnation && n.State != ownership.NodeGone {
			return n, nil
		}
		select {
		case <-changed:
		case <-st.ctx.Done():
			return ownership.Node{}, ErrStopped
		case <-ctx.Done():
			if id == st.self {
				return ownership.Node{}, fmt.Errorf("this node has not come in yet: %s: %w", st.whyNot(), ownership.ErrNoLeader)
			}
			return ownership.Node{}, fmt.Errorf("node %s has not come in yet (its own log says why): %w", id, ownership.ErrNoLeader)
		}
	}
}

// Bounds of what callers can have a node remember or do.
const (
	maxInvites  = 16 // addresses that a node without a region remembers
	maxMeetings = 16 // under way at a time
)

// invites are the addresses that this node was asked to enter by, beside those
// of the configuration, the meetings under way, and who is wanted in them.
type invites struct {
	mu       sync.Mutex
	addrs    []string
	meetings int
	token    string // shown by the operator who had this node enter
	wanted   map[wanted]string
}

// wanted is a node, with its data, that an operator has this one meet.
type wanted struct {
	node        ownership.NodeID
	incarnation string
}

// want notes in whose name a node is let in until the meeting is over.
func (v *invites) want(id ownership.NodeID, incarnation, by string) (over func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.wanted == nil {
		v.wanted = make(map[wanted]string)
	}
	v.wanted[wanted{id, incarnation}] = by
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.wanted, wanted{id, incarnation})
	}
}

func (v *invites) wantedBy(id ownership.NodeID, incarnation string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.wanted[wanted{id, incarnation}]
}

func (v *invites) show(token string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.token = token
}

func (v *invites) shown() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.token
}

// meet begins a meeting, unless too many are under way.
func (v *invites) meet() (over func(), ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.meetings == maxMeetings {
		return nil, false
	}
	v.meetings++
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.meetings--
	}, true
}

func (v *invites) take(addr string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.Contains(v.addrs, addr) && len(v.addrs) < maxInvites {
		v.addrs = append(v.addrs, addr)
	}
}

func (v *invites) with(more []string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append(slices.Clone(more), v.addrs...)
}

// A certificate says which node speaks. That the region wants it says an operator at a
// node of the region, a token with the role join, the agreement by which the region was
// founded, or a setting of the region.

// vouching returns the context in which a request to join is passed on: with the name of
// the operator who has the node met here, or of the one whom another member names. A
// newcomer names nobody.
func (en *entry) vouching(ctx context.Context, newcomer ownership.Node) context.Context {
	by := en.invites.wantedBy(newcomer.ID, newcomer.Incarnation)
	if by == "" && en.member(transport.SpeakerOf(ctx)) == nil {
		by = ownership.Operator(ctx)
	}
	return ownership.By(ctx, by)
}

// token returns what this node shows for itself when it asks to be taken in: the token
// of the operator who had it enter, else the one of its configuration. Empty: none.
func (en *entry) token() (string, error) {
	if t := en.invites.shown(); t != "" || en.cfg.JoinToken == nil {
		return t, nil
	}
	t, err := en.cfg.JoinToken()
	if err != nil {
		return "", fmt.Errorf("reading the token to join with: %w", err)
	}
	return t, nil
}
