package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/batch"
	"tandem/cluster/disk"
	"tandem/cluster/election"
	"tandem/cluster/presence"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store"
	"tandem/store/record"
)

// Cluster is this node's part in its region. Its methods may be called from any
// goroutine and on any node: what only the leader can do is sent to it.
//
// It is made of parts, each of which knows those below it: what all share, the
// standing (what the table says and the lease allows), the proposals (what changes
// the table), and above them moves, entry and renewals.
type Cluster struct {
	*proposals
	*moves
	*entry
	*renewals

	creds *transport.Credentials // nil: plain, loopback only
	port  *transport.Port
	http  *http.Server
	*abroad

	orphans  orphans
	shifts   atomic.Uint64 // counts the acts that may have changed who owns what
	handing  chan struct{} // one element: the lead is being handed on
	handedTo handedTo      // under handing
	disk     *disk.Watchdog
	wal      *disk.Log
	origins  origins

	stopOnce sync.Once
	stopped  chan struct{}
	ended    chan struct{} // nothing uses the store any more
	stopErr  error
}

// Start brings this node's part of the region up: the listener, raft, the lease
// and, until the node stands in the region's table, its attempts to join it. It returns as soon as the node listens; Ready waits for
// the rest. ctx bounds the start only; Stop ends what Start began. The store
// stays the caller's, to be closed after Stop.
func Start(ctx context.Context, cfg Config, st *store.Store, deps Deps) (*Cluster, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	stamp := st.Stamp()
	if stamp.Deployment != cfg.Deployment || stamp.Region != cfg.Region || stamp.Node != cfg.Node.ID {
		return nil, fmt.Errorf("starting the cluster: the store belongs to node %s of %s/%s, this is node %s of %s/%s: %w",
			stamp.Node, stamp.Deployment, stamp.Region, cfg.Node.ID, cfg.Deployment, cfg.Region, ownership.ErrForeign)
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("starting the cluster: registering its metrics: %w", err)
	}
	c := newCluster(&shared{
		cfg: cfg, deps: deps, self: cfg.Node.ID, log: cfg.Logger.With("room", "cluster"),
		born: time.Now(), st: st, tb: st.Table(), m: m,
	})
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.open(ctx, stamp); err != nil {
		c.cancel()
		c.m.unregister(cfg.Metrics)
		return nil, fmt.Errorf("starting the cluster: %w", err)
	}
	c.run()
	return c, nil
}

func newCluster(sh *shared) *Cluster {
	p := &proposals{standing: &standing{shared: sh, pending: newPendingClaims()}}
	return &Cluster{
		proposals: p, moves: &moves{p}, entry: &entry{proposals: p}, renewals: &renewals{proposals: p},
		stopped: make(chan struct{}), ended: make(chan struct{}), handing: make(chan struct{}, 1),
	}
}

// open opens the port and raft, and leaves nothing open when it fails.
func (c *Cluster) open(ctx context.Context, stamp store.Stamp) (err error) {
	me := c.cfg.identity()
	c.before, c.process = c.st.Lineage(), rand.Text()
	if why := c.before.SetBack; why != "" {
		return fmt.Errorf("%w: this disk takes part no more: %s", ownership.ErrDiffers, why)
	}
	if err := c.st.Begin(c.process); err != nil { // before it says or does anything
		return err
	}
	c.present = presence.New(func() time.Duration { return c.longestLease() + c.cfg.Timings.Drift }, c.named)
	if c.cfg.TLS != nil {
		if c.creds, err = transport.Load(*c.cfg.TLS, me); err != nil {
			return err
		}
	}
	ln, err := c.cfg.Ground.Listen(ctx, c.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listening for the other nodes: %w", err)
	}
	c.addr = cmp.Or(c.cfg.Advertise, ln.Addr().String())
	c.cfg.Node.Region, c.cfg.Node.ClusterAddr, c.cfg.Node.Incarnation = c.cfg.Region, c.addr, stamp.Incarnation
	c.cfg.Node.Process = c.process
	c.cfg.Node.Format = cmp.Or(c.cfg.Node.Format, record.CommandFormat)
	c.cfg.Node.State = cmp.Or(c.cfg.Node.State, ownership.NodeActive)
	c.dial = transport.NewDialer(c.creds, c.cfg.Timings.Handshake)
	c.dial.Refused, c.dial.Reach, c.dial.Lookup = c.portRefused, c.cfg.Ground.Dial, c.cfg.Ground.Lookup
	c.links = transport.NewLinks(c.dial, me)
	c.abroad = newAbroad(c.proposals, c.dial, me)
	rlog := store.RaftLogger(c.cfg.Logger)
	c.trans = transport.NewRaft(advertised(c.addr), transport.RaftConfig{
		Open: c.openRaftTo, Welcome: c.welcome, NotMember: c.notMember, Beyond: c.beyond, Outgrown: c.outgrown,
		Refused: c.m.refuse, Logger: rlog,
	})
	c.port = transport.NewPort(ln, c.creds, transport.PortConfig{
		Handshake: c.cfg.Timings.Handshake, MaxConnsPerIP: c.cfg.MaxConnsPerIP, Logger: c.cfg.Logger, Refused: c.m.refuse, Raft: c.trans.Take,
	})
	c.lead = batch.New(batches(leadWidth, 0), c.decide)
	c.forward = batch.New(batches(forwardWidth, 0), c.forwardClaims)
	c.leadRecords = batch.New(batches(leadWidth, maxRecords), c.write)
	c.forwardRecords = batch.New(batches(forwardWidth, maxRecords), c.sendRecords)
	c.barriers = batch.New(questions, c.askBarrier)
	c.disk = disk.NewWatchdog(c.st.LogDir(), c.cfg.Timings.Canary, c.cfg.Timings.DiskStall, c.diskFailed)
	c.wal = disk.NewLog(c.cfg.Ground.Log(c.st.Log()), c.st.Stable(), c.disk, func(err error) { go c.diskFailed(err) })
	if err := c.openRaft(rlog); err != nil {
		_ = c.trans.Close()
		_ = ln.Close()
		return err
	}
	c.deaths = election.New(election.Needs{
		Self: c.self, Raft: candidate{c.entry}, Patience: c.cfg.Timings.Heartbeat, Log: c.log, Refuses: c.refuses, Ask: c.askToStand,
	})
	door := &peerDoor{c}
	c.http = transport.NewServer(c.creds, door, transport.ServerConfig{
		Self: me, Handshake: c.cfg.Timings.Handshake, Guard: door.membersOnly, Refused: c.m.refuse, Logger: c.log,
	})
	c.abroad.open(c.creds, me)
	return nil
}

// run starts the goroutines; Stop waits for each.
func (c *Cluster) run() {
	c.port.Serve()
	c.wg.Go(func() {
		if err := c.http.Serve(c.port.PeerLink()); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			c.log.Error("serving the peer link", "err", err)
		}
	})
	c.wg.Go(func() { c.abroad.serve(c.port.RegionLink()) })
	c.wg.Go(c.watchLeader)
	c.wg.Go(func() { transport.WatchPeers(c.ctx, c.raft, c.log) })
	c.wg.Go(func() { c.deaths.Run(c.ctx) })
	c.wg.Go(c.rule)
	c.wg.Go(c.keepLease)
	c.wg.Go(c.enter)
	c.wg.Go(c.watchPartitions)
	c.wg.Go(c.keepDrain)
	c.disk.Start(c.ctx, &c.wg)
}

// Ready waits until this node stands in the table, knows a leader and holds a
// lease that counts: its table has caught up. It fails when ctx ends or the node cannot go on.
func (en *entry) Ready(ctx context.Context) error {
	for {
		if en.acts() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for node %s to be part of its region: %s: %w", en.self, en.whyNot(), ctx.Err())
		case <-en.ctx.Done():
			return fmt.Errorf("waiting for node %s to be part of its region: %s: %w", en.self, en.whyNot(), ErrStopped)
		case <-time.After(pollEvery):
		}
	}
}

// acts reports whether this node is part of its region, leased and led.
func (en *entry) acts() bool {
	_, _, led := en.Leader()
	return led && en.entered.Load() && en.Leased()
}

// pollEvery is how often a wait looks again at what has no signal of its own.
const pollEvery = 10 * time.Millisecond

func (st *standing) whyNot() string {
	if t := st.trouble.Load(); t != nil {
		return *t
	}
	return "it is still looking for the others"
}

func (st *standing) setTrouble(text string) {
	if text == "" {
		st.trouble.Store(nil)
		return
	}
	st.trouble.Store(&text)
}

// fatal stops this node acting and tells the node, once, that it must end.
func (st *standing) fatal(err error) {
	st.fatalOnce.Do(func() {
		st.lease.Drop()
		st.setTrouble(err.Error())
		st.log.Error("this node cannot go on", "err", err)
		if st.deps.Fatal != nil {
			// Of its own, for it will most likely call Stop.
			go st.deps.Fatal(err)
		}
	})
}

// diskFailed silences the node: raft itself would stay leader over a stalled
// disk for ever, for its heartbeats never touch it.
func (c *Cluster) diskFailed(err error) {
	c.lease.Drop()
	_ = c.trans.Close()
	c.dial.CloseAll()
	c.port.CloseAll()
	c.fatal(err)
}

// ReloadTLS reads the certificate, key and CA files again, and puts them in force for
// the open connections too: a peer that the new authority does not vouch for is cut off.
// That is how a stolen key is taken out of use. On an error the old files stay in force.
func (c *Cluster) ReloadTLS() error {
	if c.creds == nil {
		return nil
	}
	if err := c.creds.Reload(); err != nil {
		return err
	}
	for _, err := range append(c.port.Vet(), c.dial.Vet()...) {
		c.log.Warn("a peer's certificate does not hold any more", "err", err)
	}
	return nil
}

// TLSEnds says when this node's certificate in force ends, and the authority that has
// signed it; both zero without TLS.
func (c *Cluster) TLSEnds() (cert, authority time.Time) {
	if c.creds == nil {
		return time.Time{}, time.Time{}
	}
	return c.creds.Ends()
}

// Addr returns the advertised cluster address.
func (c *Cluster) Addr() string { return c.addr }

// Stop ends this node's part: it stops acting, gives leadership away if it has
// it, and closes raft and the port. When ctx ends first, Stop closes what is
// left at once and says so; until Over, some of it may still use the store. The
// partitions stay this node's: it may come back with its calls before its lease is
// over. Later calls wait for the first.
func (c *Cluster) Stop(ctx context.Context) error {
	c.stopOnce.Do(func() {
		defer close(c.stopped)
		c.stopErr = c.stop(ctx)
	})
	<-c.stopped
	return c.stopErr
}

// transferLimit bounds the handing on of leadership when stopping.
const transferLimit = 2 * time.Second

func (c *Cluster) stop(ctx context.Context) error {
	c.stopping.Store(true)
	c.lease.Drop()
	var errs []error
	if c.raft.State() == raft.Leader && len(c.votersHere()) > 1 {
		tctx, cancel := context.WithTimeout(ctx, transferLimit)
		if err := c.handLead(tctx, ""); err != nil {
			c.log.Warn("handing on leadership before stopping", "err", err)
		}
		cancel()
	}
	c.giveBack(ctx)
	c.cancel()
	c.trans.LetGo()
	abroad := make(chan error, 1)
	go func() { abroad <- c.abroad.shut(ctx) }() // each takes its second to say goodbye
	if err := c.http.Shutdown(ctx); err != nil {
		errs = append(errs, fmt.Errorf("closing the peer link: %w", err), c.http.Close())
	}
	errs = append(errs, <-abroad)
	c.leadHanded(ctx)
	// Raft waits for the messages that it has under way, up to their time-outs. It
	// has nothing to say any more, so they are cut short.
	down := c.raft.Shutdown()
	_ = c.trans.Close()
	c.links.Close()
	c.dial.CloseAll()
	c.port.CloseAll()
	go func() {
		defer close(c.ended)
		if err := down.Error(); err != nil {
			c.log.Warn("stopping raft", "err", err)
		}
		c.port.Wait()
		c.trans.Wait()
		c.wg.Wait()
		c.lead.Close()
		c.forward.Close()
		c.leadRecords.Close()
		c.forwardRecords.Close()
		c.barriers.Close()
		if err := c.st.End(c.process); err != nil {
			c.log.Warn("noting that this process ended in order", "err", err)
		}
	}()
	select {
	case <-c.ended:
	case <-ctx.Done():
		errs = append(errs, fmt.Errorf("waiting for raft and what uses it: %w", ctx.Err()))
	}
	c.m.unregister(c.cfg.Metrics)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stopping the cluster: %w", err)
	}
	return nil
}

// Over returns a channel that is closed once nothing of the cluster uses the store
// any more. A store that is closed under a running raft makes raft panic.
func (c *Cluster) Over() <-chan struct{} { return c.ended }

// advertised is the address that other nodes use, as raft wants it.
type advertised string

// Network implements net.Addr.
func (advertised) Network() string { return "tcp" }

// String implements net.Addr.
func (a advertised) String() string { return string(a) }
