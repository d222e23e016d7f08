package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/leader"
	"tandem/ownership"
)

// Found founds the region, with this node as its first. It is done once in the
// life of a region, on one node; the others join. A node whose disk was emptied
// finds the region by its join list, and founds nothing by itself. Found returns
// when this node leads the region.
//
// The error is ErrConflict when this node has data of a region already, or a node
// of its join list does, or ErrNoLeader when ctx ends first.
func (en *entry) Found(ctx context.Context) error {
	fail := func(err error) error {
		return fmt.Errorf("founding region %s on node %s: %w", en.cfg.Region, en.self, err)
	}
	has, err := en.st.HasState()
	if err != nil {
		return fail(err)
	}
	if has {
		return fail(fmt.Errorf("this node has data of a region already, and goes on in that one: %w", ownership.ErrConflict))
	}
	met, self, _ := en.greetAt(ctx, en.around(), en.me())
	for _, h := range self {
		return fail(fmt.Errorf("another process runs as node %s at %s; stop it, or give this one an id of its own: %w", en.self, h.addr, ownership.ErrConflict))
	}
	for id, h := range met {
		if h.GetHasState() {
			return fail(fmt.Errorf("node %s at %s has a region; this node joins it by itself, so there is nothing to found. "+
				"If that region knows this node with other data, remove it there first: %w", id, h.addr, ownership.ErrConflict))
		}
	}
	if !en.found.grant(en.self, time.Now()) {
		return fail(fmt.Errorf("this node has just agreed that another one founds it: %w", ownership.ErrConflict))
	}
	if err := en.foundRegion(ctx); err != nil {
		return fail(err)
	}
	if err := en.Ready(ctx); err != nil {
		return fail(fmt.Errorf("%w: %w", ownership.ErrNoLeader, err))
	}
	return nil
}

// foundRegion makes this node the only voter of a new region, whose identity is
// random; the others join.
func (en *entry) foundRegion(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leader.HelloLimit)
	defer cancel()
	if err := en.st.Belong(rand.Text()); err != nil {
		return fmt.Errorf("founding the region: %w", err)
	}
	if err := en.stand(); err != nil {
		return fmt.Errorf("founding the region: %w", err)
	}
	err := leader.Await(ctx, func() raft.Future {
		return en.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{
			{ID: raft.ServerID(en.self), Address: raft.ServerAddress(en.addr), Suffrage: raft.Voter},
		}})
	})
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("founding the region: %w", err)
	}
	if err == nil {
		en.admitted()
		en.enterAt.fire()
		en.log.Info("this node founded the region", "deployment", en.cfg.Deployment, "region", string(en.cfg.Region), "identity", en.identity())
	}
	return nil
}

// never is how long a newcomer waits before it stands for election.
const never = 1000 * time.Hour

// stand lets a newcomer stand for election, once it has founded its region, or its log has
// the entries that brought it in. Before that its log may end where another one of its id
// was the only voter, as every founder was once: raft would elect it by its own vote alone,
// and the region would go on twice.
func (en *entry) stand() error {
	if !en.st.Lineage().Newcomer {
		return nil
	}
	rc := en.raft.ReloadableConfig()
	rc.HeartbeatTimeout, rc.ElectionTimeout = en.cfg.Timings.Heartbeat, en.cfg.Timings.Election
	if err := en.raft.ReloadConfig(rc); err != nil {
		return fmt.Errorf("letting this node stand for election: %w", err)
	}
	if err := en.st.Settle(); err != nil { // last: until then the next look tries again
		return fmt.Errorf("noting that this node has caught up: %w", err)
	}
	return nil
}

// admitted lets this process answer raft messages and ask for votes. Raft knows a
// node by its id alone. A node that lost its disk has forgotten its log and its
// vote, and with two nodes of three such a vote is enough to lose acknowledged
// claims; a process on a copied disk is a second vote under one id. So every process
// takes no part until its leader has looked at it, or enough others vouch for it.
func (en *entry) admitted() {
	if en.trans.NotAdmitted.Swap(false) {
		en.log.Info("this process takes part in raft", "process", en.process)
	}
}

// identity is the region's: random, made when it was founded. Empty: this node
// belongs to none yet, or to one that was founded by older software.
func (st *standing) identity() string {
	return cmp.Or(st.tb.Identity(), st.st.Lineage().Identity)
}

// formerly is the region's identity before a snapshot of another founding was
// restored while this process ran; empty: none was. Those who have yet to get that
// snapshot know it by that one.
func (st *standing) formerly() string {
	if id := st.former.Load(); id != nil {
		return *id
	}
	return ""
}

// mayFound founds the region when this node is the one to do it, by the agreement
// of bootstrap_expect. false, nil: the node should ask to join, or wait and look
// again.
//
// Raft would let two nodes that cannot see each other found two regions. So a
// founder needs the word of as many nodes as were expected, a node without state
// gives its word to one founder at a time, and nobody founds who sees a node of
// Join that has state.
func (en *entry) mayFound(ctx context.Context) (join bool, err error) {
	has, err := en.st.HasState()
	if err != nil {
		return false, fmt.Errorf("founding the region: %w", err)
	}
	if has {
		return true, nil // raft has yet to read it
	}
	if en.cfg.BootstrapExpect < 2 { // the word of one empty node is worth nothing: it may have lost its disk
		return true, nil
	}
	around := en.greetAll(ctx, "")
	for _, h := range around {
		if h.GetHasState() {
			return true, nil
		}
	}
	if len(around)+1 < en.cfg.BootstrapExpect {
		return false, fmt.Errorf("founding the region: %d of %d nodes are here", len(around)+1, en.cfg.BootstrapExpect)
	}
	for id := range around {
		if id < en.self {
			return false, fmt.Errorf("founding the region: waiting for node %s to do it", id)
		}
	}
	agreed := map[ownership.NodeID]string{en.self: en.cfg.Node.Incarnation}
	if !en.found.grant(en.self, time.Now()) {
		return false, fmt.Errorf("founding the region: this node gave its word to another founder")
	}
	for id, h := range en.greetAll(ctx, en.self) {
		if h.GetHasState() {
			return true, nil
		}
		if h.GetGranted() {
			agreed[id] = h.GetIncarnation()
		}
	}
	if len(agreed) < en.cfg.BootstrapExpect {
		return false, fmt.Errorf("founding the region: %d of %d nodes agree", len(agreed), en.cfg.BootstrapExpect)
	}
	en.found.agree(agreed)
	return true, en.foundRegion(ctx)
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
