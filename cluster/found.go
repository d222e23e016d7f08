package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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
