// Package node is one running node: it builds every room from one Config,
// introduces them to each other, opens the listeners, and stops everything in
// the opposite order. It is a library: `tandem start`, `tandem dev`, tests and
// programs with a bot of their own all start nodes through it.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"tandem/admin"
	"tandem/bot"
	"tandem/cluster"
	"tandem/federation"
	"tandem/ownership"
	"tandem/policy"
	"tandem/rulebook"
	"tandem/store"
	"tandem/token"
	"tandem/webhook"
)

// Node is one running node. Make it with Start.
type Node struct {
	follow
	cfg       Config
	log       *slog.Logger
	logs      logs
	startedAt time.Time

	store      *store.Store
	table      *store.Table
	tokens     *token.Verifier
	handles    *webhook.Handles
	policy     *policy.Compiled // of the configuration
	rules      *rulebook.Book   // which are in force
	dispatcher *bot.Dispatcher
	region     *cluster.Cluster
	regions    *federation.Regions
	door       *webhook.Handler
	private    *admin.Door
	certs      certificates
	outbound   []outbound // the apps' clients at Graph
	announced  announced  // maintenance of the machine
	// botSecrets sign hand-overs, by the app's id; the map is made at the start and
	// its values change with a reload.
	botSecrets  map[string]*atomic.Value
	ownRegistry bool // the metrics are this node's own, so raft's are in it, too

	publicAddr, adminAddr string

	leaving  atomic.Bool   // it drains to stop: /readyz says so
	closing  chan struct{} // closed when the node begins to stop
	opened   chan struct{} // closed once the public door can take relayed notifications
	adopting sync.WaitGroup
	stops    stops
	reloads  sync.Mutex // one at a time
}

// Start starts a node. It returns once its doors are open; Ready waits until
// the node has a place in its region. Errors name the key of the configuration
// they come from.
func Start(ctx context.Context, c Config) (_ *Node, err error) {
	defer func() {
		for _, l := range []net.Listener{c.PublicListener, c.AdminListener} {
			if err != nil && l != nil {
				_ = l.Close() // its door, if it opened, has closed it already
			}
		}
	}()
	c = c.Filled()
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("the configuration does not hold:\n%w", err)
	}
	if err := c.readFiles(); err != nil {
		return nil, fmt.Errorf("the configuration does not hold:\n%w", err)
	}
	n := &Node{startedAt: time.Now(), logs: logs{level: new(slog.LevelVar)}, opened: make(chan struct{}), closing: make(chan struct{}), botSecrets: map[string]*atomic.Value{}}
	if c.Logger == nil {
		c.Logger = newLogger(c.Log, c.LogTo, n.logs.level).With("node", c.Node.ID)
	}
	setLevel(n.logs.level, c.Log.Level)
	c.Logger = n.logs.last.beside(c.Logger, n.logs.level)
	ownRegistry := c.Registry == nil
	if ownRegistry {
		c.Registry = prometheus.NewRegistry()
		c.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	if c.Fatal == nil {
		c.Fatal = func(error) { os.Exit(1) }
	}
	n.cfg, n.log, n.ownRegistry = c, c.Logger, ownRegistry
	defer func() {
		if err != nil {
			// What did start must not linger: the process may try again.
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Public.Grace)
			defer cancel()
			close(n.closing)
			err = errors.Join(err, n.stops.run(stop, n.log))
		}
	}()
	for _, build := range []func(context.Context) error{
		n.openTrail, n.openTraces, n.openPolicy, n.openStore, n.openTokens, n.openDispatcher, n.openRegion, n.openRegions, ruling{n}.open, n.openDoor, n.openAdmin, n.listen, ownClaims{n}.compareClaims, gauges{n}.open, pulses{n}.open, ends{n}.watchEndings, maintenance{n}.maintain, announcements{n}.open, drains{n}.comeBack,
	} {
		if err := build(ctx); err != nil {
			return nil, err
		}
	}
	for _, w := range c.looseSecrets() {
		n.log.Warn(w)
	}
	n.log.Info("the node is up", "public", n.publicAddr, "admin", n.adminAddr, "cluster", n.region.Addr(), "version", c.Version)
	return n, nil
}

// Stop ends the node: its doors close, requests under way finish, leadership is
// handed over, the store is closed. Everything must be over when ctx ends. Its
// partitions stay its own for one lease: Drain hands them over before. Later
// calls give the first one's error.
func (n *Node) Stop(ctx context.Context) error {
	n.stops.once.Do(func() {
		close(n.closing)
		n.stops.err = n.stops.run(ctx, n.log)
	})
	return n.stops.err
}

// Ready waits until the node is a member of its region with a valid lease, and
// can check tokens.
func (n *Node) Ready(ctx context.Context) error {
	if err := n.region.Ready(ctx); err != nil {
		return fmt.Errorf("waiting for node %s to be ready: %w", n.cfg.Node.ID, err)
	}
	if err := n.tokens.WaitReady(ctx); err != nil {
		return fmt.Errorf("waiting for the issuers' keys at node %s: %w", n.cfg.Node.ID, err)
	}
	return nil
}

// Alive returns nil once the table, the region and the dispatcher have answered: a
// supervisor asks whether the process still works, not whether its region is well. The
// error is ctx's, when one of them hangs.
func (n *Node) Alive(ctx context.Context) error {
	answered := make(chan struct{})
	go func() {
		n.table.Live(n.ID())
		n.region.Status()
		n.dispatcher.Health()
		close(answered)
	}()
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("asking the table, the region and the dispatcher: %w", ctx.Err())
	}
}

// ID is the node's id.
func (n *Node) ID() ownership.NodeID { return ownership.NodeID(n.cfg.Node.ID) }

// Region is the node's region.
func (n *Node) Region() ownership.Region { return ownership.Region(n.cfg.Node.Region) }

// Log is where the node tells what happens to it.
func (n *Node) Log() *slog.Logger { return n.log }

// PublicAddr is the host:port of the public door.
func (n *Node) PublicAddr() string { return n.publicAddr }

// AdminAddr is the host:port of the admin door.
func (n *Node) AdminAddr() string { return n.adminAddr }

// ClusterAddr is the host:port where the region's other nodes reach this one.
func (n *Node) ClusterAddr() string { return n.region.Addr() }
