package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/leader"
	"tandem/cluster/peerpb"
	"tandem/cluster/presence"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store"
)

// entry is how this node becomes part of its region and stays it: who it is, whom
// it meets, and what it says of itself.
type entry struct {
	*proposals
	trans      *transport.Raft
	dial       *transport.Dialer
	naming     naming
	swaps      atomic.Uint64 // odd while a snapshot replaces the table
	found      founding
	invites    invites
	leaderless time.Time // since when the entering goroutine knows no leader
}

// enter makes this node part of its region: it founds the region when enough empty
// nodes agree, asks to join until the table holds its record as it is now, and asks again
// when its record or its partitions are gone. The same start command thus does
// for the first node, the others, a restart, and a restart at a new address.
func (c *entry) enter() {
	tick := time.NewTicker(c.cfg.Timings.Announce)
	defer tick.Stop()
	for {
		wake := c.enterAt.next()
		if err := c.enterOnce(c.ctx); err != nil && c.ctx.Err() == nil {
			if errors.Is(err, ownership.ErrUninvited) && c.whyNot() != err.Error() {
				c.log.Warn("this node waits to be let into its region", "err", err)
			}
			c.setTrouble(err.Error())
			c.log.Debug("entering the region", "err", err)
			if forGood(err) {
				c.fatal(err)
				return
			}
		}
		select {
		case <-tick.C:
		case <-wake:
		case <-c.ctx.Done():
			return
		}
	}
}

// forGood reports whether a refusal is one that no time heals.
func forGood(err error) bool {
	return errors.Is(err, ownership.ErrGone) || errors.Is(err, ownership.ErrForeign) || errors.Is(err, ownership.ErrConflict) || errors.Is(err, ownership.ErrTwin) ||
		errors.Is(err, ownership.ErrDiffers)
}

func (c *entry) enterOnce(ctx context.Context) error {
	if c.lease.Dropped() {
		return nil
	}
	trouble := c.trouble.Load()
	if err := c.keepLineage(); err != nil {
		return err
	}
	if c.inTable() && !c.trans.Deaf.Load() {
		if !c.entered.Swap(true) {
			c.setTrouble("")
			c.invites.show("")
			c.log.Info("this node is part of its region", "addr", c.addr)
			c.renewAt.fire()
		}
		if !c.ownsTooFew() && !c.forsaken(time.Now()) {
			// What was wrong has healed; what was said meanwhile stands.
			c.trouble.CompareAndSwap(trouble, nil)
			return nil
		}
		// Others got its partitions while it was silent, or it gave them away at a
		// stop: joining again bears it what it lacks. Or it hears of no leader: one that it asks for
		// may be leading a region that was recovered without it, and say so.
	}
	if len(c.servers()) == 0 {
		founded, err := c.mayFound(ctx)
		if err != nil || !founded {
			return err
		}
	}
	return c.announce(ctx)
}

// announce asks the leader, or any node that knows it, to take this node in. When
// nobody knows a leader, those who vote vouch for each other first.
func (c *entry) announce(ctx context.Context) (err error) {
	req, noToken := c.joining()
	defer func() {
		if noToken != nil && errors.Is(err, ownership.ErrUninvited) {
			err = fmt.Errorf("%w; %w", err, noToken)
		}
	}()
	// A region's only voter leads by itself; it still looks around before it acts.
	if at, addr, ok := c.Leader(); ok && (at != c.self || !c.trans.Deaf.Load()) {
		_, err := c.joinAt(ctx, at, addr, req)
		return err
	}
	err = fmt.Errorf("joining the region: %w", ownership.ErrNoLeader)
	hello := c.me()
	// Whether it has a vote the others may know better: the leader that gave it one may
	// have gone before this node heard of it.
	hello.Vouch = c.trans.Deaf.Load() && len(c.servers()) > 0
	met, self, refused := c.greetAt(ctx, c.around(), hello)
	if len(met) == 0 && len(c.servers()) == 0 && errors.Is(refused, ownership.ErrForeign) {
		return refused // it belongs to no region yet, and knows nobody but strangers
	}
	if hello.GetVouch() && c.needed(met) {
		_ = c.vouched(met, self) // a leader that can decide nothing without this vote cannot admit it first
	}
	for id, h := range met {
		if h.GetLeaderAddr() == "" && h.GetLeader() == "" {
			continue
		}
		if h.GetLeader() == string(c.self) && h.GetLeaderAddr() == c.addr { // it has not noticed the restart
			continue
		}
		// The one that answers passes it on, so that the leader's own address counts
		// only when it calls back.
		if err = askToJoin(ctx, c.links.To(id, h.addr), req); err == nil {
			return nil
		}
		if again, _ := retryable(err); !again && !errors.Is(err, ownership.ErrUninvited) { // another one may have been asked to take it in
			return err
		}
	}
	if hello.GetVouch() && c.trans.Deaf.Load() {
		return c.vouched(met, self)
	}
	return err
}

// votes reports whether raft's configuration, as it is known here, gives a node a
// vote.
func (c *standing) votes(id ownership.NodeID) bool {
	for _, s := range c.servers() {
		if s.ID == raft.ServerID(id) {
			return s.Suffrage == raft.Voter
		}
	}
	return false
}

// needed reports whether too few other voters are here to decide anything without
// this one's vote.
func (c *entry) needed(met map[ownership.NodeID]greeting) bool {
	others := 0
	for id := range met {
		if c.votes(id) {
			others++
		}
	}
	return c.votes(c.self) && others < leader.Quorum(c.voters())
}

// vouched lets this process take part in raft when so many other voters vouch that
// they know no other living process of its id that with it they are a majority.
// No leader is known then who could admit it, or none could without its vote.
// Whoever knows of another one stops it.
func (c *entry) vouched(met map[ownership.NodeID]greeting, self []greeting) error {
	for _, h := range self {
		if h.GetProcess() != c.process {
			return presence.Twin(c.self, h.addr)
		}
	}
	have := 0
	if c.votes(c.self) {
		have++
	}
	for id, h := range met {
		if h.GetRefused() != "" {
			return fmt.Errorf("waiting for the word of node %s: %s", id, h.GetRefused())
		}
		if h.GetVouched() && c.votes(id) {
			have++
		}
	}
	if need := c.voters()/2 + 1; have < need {
		return fmt.Errorf("waiting for a leader, or for enough other voters: %d of the %d that are needed are here: %w", have, need, ownership.ErrNoLeader)
	}
	c.admitted()
	return nil
}

func askToJoin(ctx context.Context, p *transport.Peer, req leader.JoinRequest) error {
	ctx, cancel := context.WithTimeout(ctx, leader.JoinLimit)
	defer cancel()
	n := req.Node
	n.Process, n.GoneAt = "", time.Time{} // the oldest format goes without
	act, err := store.EncodeAct(ownership.Join{Node: n, Partitions: req.Partitions}, 1)
	if err != nil {
		return err
	}
	_, err = p.Join(ctx, &peerpb.JoinRequest{
		Act: act, Deployment: req.Stamp.Deployment, Region: string(req.Stamp.Region), Node: string(req.Stamp.Node),
		Incarnation: req.Stamp.Incarnation, Format: req.Stamp.Format, Identity: req.Identity, HasState: req.HasState,
		Process: req.Node.Process, Ancestors: req.Ancestors, Over: req.Over, LastIndex: req.LastIndex, Settings: req.Settings,
		Token: req.Token,
	})
	return err
}

// mayFound founds the region when this node is the one to do it, by the agreement
// of bootstrap_expect. false, nil: the node should ask to join, or wait and look
// again.
//
// Raft would let two nodes that cannot see each other found two regions. So a
// founder needs the word of as many nodes as were expected, a node without state
// gives its word to one founder at a time, and nobody founds who sees a node of
// Join that has state.
func (c *entry) mayFound(ctx context.Context) (join bool, err error) {
	has, err := c.st.HasState()
	if err != nil {
		return false, fmt.Errorf("founding the region: %w", err)
	}
	if has {
		return true, nil // raft has yet to read it
	}
	if c.cfg.BootstrapExpect < 2 { // the word of one empty node is worth nothing: it may have lost its disk
		return true, nil
	}
	around := c.greetAll(ctx, "")
	for _, h := range around {
		if h.GetHasState() {
			return true, nil
		}
	}
	if len(around)+1 < c.cfg.BootstrapExpect {
		return false, fmt.Errorf("founding the region: %d of %d nodes are here", len(around)+1, c.cfg.BootstrapExpect)
	}
	for id := range around {
		if id < c.self {
			return false, fmt.Errorf("founding the region: waiting for node %s to do it", id)
		}
	}
	agreed := map[ownership.NodeID]string{c.self: c.cfg.Node.Incarnation}
	if !c.found.grant(c.self, time.Now()) {
		return false, fmt.Errorf("founding the region: this node gave its word to another founder")
	}
	for id, h := range c.greetAll(ctx, c.self) {
		if h.GetHasState() {
			return true, nil
		}
		if h.GetGranted() {
			agreed[id] = h.GetIncarnation()
		}
	}
	if len(agreed) < c.cfg.BootstrapExpect {
		return false, fmt.Errorf("founding the region: %d of %d nodes agree", len(agreed), c.cfg.BootstrapExpect)
	}
	c.found.agree(agreed)
	return true, c.foundRegion(ctx)
}

// greetAll says hello to every address of Join and gives the other nodes of this
// region that answered, by id.
func (c *entry) greetAll(ctx context.Context, founder ownership.NodeID) map[ownership.NodeID]greeting {
	hello := c.me()
	hello.Founder = string(founder)
	met, _, _ := c.greetAt(ctx, c.cfg.Join, hello)
	return met
}

// greetAt says hello at the addresses, this node's own left out, and remembers
// where it met whom. self are answers under this node's own id, refused is what one
// said that takes this node for a stranger.
func (c *entry) greetAt(ctx context.Context, addrs []string, hello *peerpb.HelloRequest) (met map[ownership.NodeID]greeting, self []greeting, refused error) {
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(addr string) bool { return addr == c.addr })
	met, self, refused = greetAt(ctx, c.links, addrs, hello)
	self = slices.DeleteFunc(self, func(h greeting) bool { return h.GetProcess() == c.process }) // by another of its addresses
	for _, h := range met {
		c.present.Tells(presence.ReplyOf(h.HelloReply), time.Now())
		for _, n := range h.GetNodes() {
			if other := ownership.NodeID(n.GetNode()); other != c.self {
				c.present.Hint(other, n.GetAddr())
			}
		}
	}
	return met, self, refused
}

// greeting is what a node answered to a hello, and where.
type greeting struct {
	*peerpb.HelloReply
	addr string
}

// greetAt says hello at all the addresses at once, each that a name resolves to,
// and gives the other nodes of the region that answered in time, by id, the answers
// under the own id, and a refusal by a node of another deployment or region.
func greetAt(ctx context.Context, l *transport.Links, addrs []string, hello *peerpb.HelloRequest) (map[ownership.NodeID]greeting, []greeting, error) {
	ctx, cancel := context.WithTimeout(ctx, leader.HelloLimit)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := make(map[ownership.NodeID]greeting)
	var self []greeting
	var refused error
	for _, addr := range l.Dialer.Resolved(ctx, addrs) {
		wg.Go(func() {
			p := l.To("", addr)
			h, err := p.Hello(ctx, hello)
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, ownership.ErrForeign) {
				refused = fmt.Errorf("greeting the node at %s: %w", addr, err)
			}
			if err != nil || h.GetDeployment() != l.Self.Deployment || h.GetRegion() != string(l.Self.Region) {
				return
			}
			if h.GetNode() == string(l.Self.Node) {
				self = append(self, greeting{h, addr})
				return
			}
			out[ownership.NodeID(h.GetNode())] = greeting{h, addr}
		})
	}
	wg.Wait()
	return out, self, refused
}

// founding remembers to whom this node gave its word, and who gave theirs to it when
// it founded the region.
type founding struct {
	mu    sync.Mutex
	to    ownership.NodeID
	until time.Time
	with  map[ownership.NodeID]string // the incarnations
}

func (f *founding) agree(with map[ownership.NodeID]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.with = with
}

// agreed reports whether a node, with these data, is one of those whose word this one
// founded the region on.
func (f *founding) agreed(id ownership.NodeID, incarnation string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	with, ok := f.with[id]
	return ok && with == incarnation
}

// wordLasts is how long a node keeps its word to a founder that then does not
// found. It is far longer than a founder needs.
const wordLasts = 30 * time.Second

func (f *founding) grant(to ownership.NodeID, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.to != to && now.Before(f.until) {
		return false
	}
	f.to, f.until = to, now.Add(wordLasts)
	return true
}
