package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/cluster/election"
	"tandem/cluster/leader"
	"tandem/cluster/peerpb"
	"tandem/cluster/presence"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store/record"
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
	deaths     *election.Watch
	leaderless time.Time // since when the entering goroutine knows no leader
}

// enter makes this node part of its region: it founds the region when enough empty
// nodes agree, asks to join until the table holds its record as it is now, and asks again
// when its record or its partitions are gone. The same start command thus does
// for the first node, the others, a restart, and a restart at a new address.
func (en *entry) enter() {
	tick := time.NewTicker(en.cfg.Timings.Announce)
	defer tick.Stop()
	for {
		wake := en.enterAt.next()
		if err := en.enterOnce(en.ctx); err != nil && en.ctx.Err() == nil {
			if errors.Is(err, ownership.ErrUninvited) && en.whyNot() != err.Error() {
				en.log.Warn("this node waits to be let into its region", "err", err)
			}
			en.setTrouble(err.Error())
			en.log.Debug("entering the region", "err", err)
			if forGood(err) {
				if errors.Is(err, ownership.ErrDiffers) {
					err = errors.Join(err, en.st.MarkSetBack(err.Error()))
				}
				en.fatal(err)
				return
			}
		}
		select {
		case <-tick.C:
		case <-wake:
		case <-en.ctx.Done():
			return
		}
	}
}

// forGood reports whether a refusal is one that no time heals.
func forGood(err error) bool {
	return errors.Is(err, ownership.ErrGone) || errors.Is(err, ownership.ErrForeign) || errors.Is(err, ownership.ErrConflict) || errors.Is(err, ownership.ErrTwin) ||
		errors.Is(err, ownership.ErrDiffers)
}

func (en *entry) enterOnce(ctx context.Context) error {
	if en.lease.Dropped() {
		return nil
	}
	trouble := en.trouble.Load()
	if err := en.keepLineage(); err != nil {
		return err
	}
	if en.inTable() && !en.trans.NotAdmitted.Load() {
		if err := en.stand(); err != nil {
			return err
		}
		if !en.entered.Swap(true) {
			en.setTrouble("")
			en.invites.show("")
			en.log.Info("this node is part of its region", "addr", en.addr)
			en.renewAt.fire()
		}
		if !en.ownsTooFew() && !en.longLeaderless(time.Now()) {
			// What was wrong has healed; what was said meanwhile stands.
			en.trouble.CompareAndSwap(trouble, nil)
			return nil
		}
		// Others got its partitions while it was silent, or it gave them away at a
		// stop: joining again bears it what it lacks. Or it hears of no leader: one that it asks for
		// may be leading a region that was recovered without it, and say so.
	}
	if len(en.servers()) == 0 {
		founded, err := en.mayFound(ctx)
		if err != nil || !founded {
			return err
		}
	}
	if err := en.announce(ctx); err != nil || en.entered.Load() {
		return err
	}
	en.awaitEntry(ctx)
	return nil
}

// awaitEntry waits until raft brings the entry by which this node was let in, and has it go
// on at once: the leader's answer may come first. It gives up after the pause between two
// announcements.
func (en *entry) awaitEntry(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, en.cfg.Timings.Announce)
	defer cancel()
	for {
		changed := en.applied.next()
		if en.inTable() && !en.trans.NotAdmitted.Load() {
			en.enterAt.fire()
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// announce asks the leader, or any node that knows it, to take this node in. When
// nobody knows a leader, those who vote vouch for each other first.
func (en *entry) announce(ctx context.Context) (err error) {
	req, noToken := en.joining()
	defer func() {
		if noToken != nil && errors.Is(err, ownership.ErrUninvited) {
			err = fmt.Errorf("%w; %w", err, noToken)
		}
	}()
	// A region's only voter leads by itself; it still looks around before it acts.
	if at, addr, ok := en.Leader(); ok && (at != en.self || !en.trans.NotAdmitted.Load()) {
		_, err := en.joinAt(ctx, at, addr, req)
		return err
	}
	err = fmt.Errorf("joining the region: %w", ownership.ErrNoLeader)
	hello := en.me()
	// Whether it has a vote the others may know better: the leader that gave it one may
	// have gone before this node heard of it.
	hello.Vouch = en.trans.NotAdmitted.Load() && len(en.servers()) > 0
	met, self, refused := en.greetAt(ctx, en.around(), hello)
	if len(met) == 0 && len(en.servers()) == 0 && errors.Is(refused, ownership.ErrForeign) {
		return refused // it belongs to no region yet, and knows nobody but strangers
	}
	if hello.GetVouch() && en.needed(met) {
		_ = en.vouched(met, self) // a leader that can decide nothing without this vote cannot admit it first
	}
	for id, h := range met {
		if h.GetLeaderAddr() == "" && h.GetLeader() == "" {
			continue
		}
		if h.GetLeader() == string(en.self) && h.GetLeaderAddr() == en.addr { // it has not noticed the restart
			continue
		}
		// The one that answers passes it on, so that the leader's own address counts
		// only when it calls back.
		if err = askToJoin(ctx, en.links.To(id, h.addr), req); err == nil {
			return nil
		}
		if again, _ := retryable(err); !again && !errors.Is(err, ownership.ErrUninvited) { // another one may have been asked to take it in
			return err
		}
	}
	if hello.GetVouch() && en.trans.NotAdmitted.Load() {
		return en.vouched(met, self)
	}
	return err
}

// needed reports whether too few other voters are here to decide anything without
// this one's vote.
func (en *entry) needed(met map[ownership.NodeID]greeting) bool {
	voters, others := en.electorate(met), 0
	for id := range met {
		if slices.Contains(voters, string(id)) {
			others++
		}
	}
	return slices.Contains(voters, string(en.self)) && others < leader.Quorum(len(voters))
}

// electorate returns who votes by the newest log among this node's and those of the nodes
// that it met. Its own log may end before the entry that gave it a vote, or that took one
// from a node which is gone for good.
func (en *entry) electorate(met map[ownership.NodeID]greeting) []string {
	voters, term, index := en.votersHere(), en.lastTerm(), en.raft.LastIndex()
	for _, h := range met {
		if len(h.GetVoters()) > 0 && further(h.GetLastTerm(), h.GetLastIndex(), term, index) {
			voters, term, index = h.GetVoters(), h.GetLastTerm(), h.GetLastIndex()
		}
	}
	return voters
}

// further reports whether a raft log goes further than another one.
func further(term, index, otherTerm, otherIndex uint64) bool {
	return cmp.Or(cmp.Compare(term, otherTerm), cmp.Compare(index, otherIndex)) > 0
}

// vouched lets this process take part in raft when so many other voters vouch that
// they know no other living process of its id that with it they are a majority.
// No leader is known then who could admit it, or none could without its vote.
// Whoever knows of another one stops it. Of two processes of this id the one whose log goes
// further waits for the end of the other.
func (en *entry) vouched(met map[ownership.NodeID]greeting, self []greeting) error {
	for _, h := range self {
		switch {
		case h.GetProcess() == en.process:
		case h.GetLastTerm() != 0 && further(en.lastTerm(), en.raft.LastIndex(), h.GetLastTerm(), h.GetLastIndex()):
			return fmt.Errorf("waiting until the process with an older copy of this node's data at %s ends: stop it for good", h.addr)
		default:
			return presence.Twin(en.self, h.addr)
		}
	}
	voters, have := en.electorate(met), 0
	if slices.Contains(voters, string(en.self)) {
		have++
	}
	for id, h := range met {
		if err := transport.FromFault(h.GetRefusal()); errors.Is(err, ownership.ErrDiffers) { // no time heals that
			return fmt.Errorf("node %s says: %w", id, err)
		}
		if h.GetRefused() != "" {
			return fmt.Errorf("waiting for the word of node %s: %s", id, h.GetRefused())
		}
		if h.GetVouched() && slices.Contains(voters, string(id)) {
			have++
		}
	}
	if need := leader.Quorum(len(voters)); have < need {
		return fmt.Errorf("waiting for a leader, or for enough other voters: %d of the %d that are needed are here: %w", have, need, ownership.ErrNoLeader)
	}
	en.admitted()
	return nil
}

func askToJoin(ctx context.Context, p *transport.Peer, req leader.JoinRequest) error {
	ctx, cancel := context.WithTimeout(ctx, leader.JoinLimit)
	defer cancel()
	n := req.Node
	n.Process, n.GoneAt = "", time.Time{} // the oldest format goes without
	act, err := record.EncodeAct(ownership.Join{Node: n, Partitions: req.Partitions}, 1)
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

// greetAll says hello to every address of Join and gives the other nodes of this
// region that answered, by id.
func (en *entry) greetAll(ctx context.Context, founder ownership.NodeID) map[ownership.NodeID]greeting {
	hello := en.me()
	hello.Founder = string(founder)
	met, _, _ := en.greetAt(ctx, en.cfg.Join, hello)
	return met
}

// greetAt says hello at the addresses, this node's own left out, and remembers
// where it met whom. self are answers under this node's own id, refused is what one
// said that takes this node for a stranger.
func (en *entry) greetAt(ctx context.Context, addrs []string, hello *peerpb.HelloRequest) (met map[ownership.NodeID]greeting, self []greeting, refused error) {
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(addr string) bool { return addr == en.addr })
	met, self, refused = greetAt(ctx, en.links, addrs, hello)
	self = slices.DeleteFunc(self, func(h greeting) bool { return h.GetProcess() == en.process }) // by another of its addresses
	for _, h := range met {
		en.present.Tells(presence.ReplyOf(h.HelloReply), time.Now())
		for _, n := range h.GetNodes() {
			if other := ownership.NodeID(n.GetNode()); other != en.self {
				en.present.Hint(other, n.GetAddr())
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
// and returns the other nodes of the region that answered in time, by id, the answers
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
			h, err := l.To("", addr).Hello(ctx, hello)
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
