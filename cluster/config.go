package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"tandem/cluster/clocks"
	"tandem/cluster/leader"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/spelling"
)

// Config says which node of which region this is, and how it finds the others.
type Config struct {
	Deployment string
	Region     ownership.Region
	// Node is the own record. Start fills in Region, ClusterAddr and
	// Incarnation from the other settings and the store's stamp.
	Node ownership.Node
	// Listen is the host:port of raft and the peer link; port 0 picks one.
	Listen string
	// Advertise is the host:port where the other nodes reach this one. Empty:
	// the address the listener got.
	Advertise string
	// TLS is mandatory unless Listen and Advertise are loopback addresses.
	TLS *transport.Files
	// BootstrapExpect founds the region as soon as that many nodes without
	// state, this one counted, see each other. Below 2: only Cluster.Found founds one.
	BootstrapExpect int
	// Join lists the cluster addresses of other nodes, in any number and order.
	Join []string
	// JoinToken returns a token with the role join, which this node shows when it asks to
	// be taken in; empty: none. It is asked each time. May be nil.
	JoinToken func() (string, error)
	// JoinByCertificate lets in whoever has a certificate of the region, with nobody's
	// word. The leader's setting counts.
	JoinByCertificate bool
	// Settings are what must be equal on all nodes of the region, by configuration
	// key: the leader says which node differs in which.
	Settings map[string]string
	Timings  clocks.Timings
	// Partitions is how many partitions are born on a joining node.
	Partitions int
	// MaxConnsPerIP bounds the connections of one remote address, or of one /64
	// of IPv6. 0: 128.
	MaxConnsPerIP int
	// SnapshotAfter is how many entries the raft log grows by before a snapshot is
	// due, KeepLog how many stay in it then. 0: raft's own, 8192 and 10240.
	SnapshotAfter, KeepLog uint64
	// SnapshotKeys give what saved snapshots are signed with: the first signs, all
	// verify. nil: they are neither signed nor verified.
	SnapshotKeys func() [][]byte
	// Apps are those that this node serves, and Silence says how long the calls of
	// an app with media of their own wait for a node that has fallen silent before
	// they are orphans; 0: not at all. It is asked for ownership.AllApps too, for apps
	// that the node does not serve.
	Apps    []ownership.AppID
	Silence func(ownership.AppID) time.Duration
	Logger  *slog.Logger          // nil: slog.Default
	Metrics prometheus.Registerer // nil: not registered anywhere
	Ground  Ground
}

// Limits that no setting changes.
const (
	maxBatch     = 512 // claims in one raft entry
	defaultPerIP = 128
)

// Deps are what the cluster needs from the rest of the node. Health may be
// nil (a healthy bot that reports nothing), the others too.
type Deps struct {
	// HandOver takes a notification that another node relayed here. It must not
	// relay it again; the cluster refuses if it tries.
	HandOver func(context.Context, ownership.HandOver) (ownership.Reply, error)
	// Letter is the public door for notifications that nodes of other regions pass on, each
	// as the cloud sent it. It must not pass them on to a region again. nil: there is none.
	Letter http.Handler
	// Health is asked at every renewal and must not block.
	Health func() Health
	// Quiesce waits until no effect of the partition is under way at this node's bot
	// or at Graph. It is asked when a move has begun and Holds says no. May be nil.
	Quiesce func(context.Context, ownership.PartitionID) error
	// Memory returns what this node knows of the handled messages of a partition that
	// is about to move, once it rests; Recall takes it at the next owner, before the
	// partition is its own. May be nil.
	Memory func(ownership.PartitionID) []byte
	Recall func(ownership.PartitionID, []byte)
	// LetIn says whose the join token is that a node shows which the region does not
	// know; done: the node is in, so a token for one use has ended. It is asked of the
	// leader. nil: no token lets a node in.
	LetIn func(ctx context.Context, token string, node ownership.NodeID, done bool) (by string, err error)
	// Consult answers a question of another node, without effect: see Cluster.Consult.
	// nil: ownership.ErrUnknown is the answer to all.
	Consult func(ctx context.Context, topic string, body []byte) ([]byte, error)
	// OnReassigned tells which partitions this node has just got or lost, in
	// the order of the table, from one goroutine.
	OnReassigned func(Change)
	// Fatal tells that this node cannot go on: its disk stalls or fails, it was
	// removed, or the region refuses it. The cluster has already stopped
	// acting; the process should end. Called at most once.
	Fatal func(error)
}

// Health is what the bot beside the node says of itself.
type Health struct {
	Bot  bool    // it takes new calls
	Load float64 // 0 to 1; 0 when it reports nothing
	Room int     // live calls it has room for; 0: the node's capacity stands
	Live int     // live calls it counts itself
	// Away is for how long from now the machine may stand still, as was announced: its
	// answered calls with media of their own are waited for so long, if Silence is less; 0:
	// nothing was announced.
	Away time.Duration
	// Apps says it app by app; nil: Bot, Load and Room stand for every app.
	Apps map[ownership.AppID]ownership.AppFitness
	// Versions tells what became of the calls that the bots took, by app and version.
	Versions []ownership.VersionTally
}

// Change is a change of what this node owns.
type Change struct {
	Got  []ownership.Reassignment
	Lost []ownership.Reassignment
	// Look lists, by number, the other partitions in which it may have changed who
	// acts for calls of this node: a reservation, its own or another's in a partition
	// of its own, came, lapsed, was reclaimed or went.
	Look []ownership.PartitionID
}

// Errors of this room, beside the ones of ownership.
var (
	// ErrRelayed: a notification that was relayed once is not relayed again.
	ErrRelayed = errors.New("the notification was relayed already")
	// ErrStopped: the cluster is stopping or has stopped.
	ErrStopped = errors.New("this node is stopping")
)

func (c *Config) fill() error {
	c.Timings.Fill()
	c.MaxConnsPerIP, c.Logger = cmp.Or(c.MaxConnsPerIP, defaultPerIP), cmp.Or(c.Logger, slog.Default())
	c.Ground.fill()
	return c.Check()
}

// Check says why Start would refuse the configuration; a setting that may be left out
// may be zero. CheckFiles reads the files.
func (c Config) Check() error {
	switch {
	case c.Deployment == "" || c.Region == "" || c.Node.ID == "":
		return errors.New("configuring the cluster: deployment, region and node id must be set")
	case c.Listen == "":
		return errors.New("configuring the cluster: the listen address must be set")
	case c.BootstrapExpect < 0 || c.BootstrapExpect > leader.MaxVoters:
		return fmt.Errorf("configuring the cluster: bootstrap_expect is %d, allowed are 0 to %d", c.BootstrapExpect, leader.MaxVoters)
	case c.Partitions <= 0 || c.Silence == nil:
		return errors.New("configuring the cluster: the number of partitions must be above zero, and Silence be set")
	case c.Timings.Renew*2 > c.Timings.Lease:
		return fmt.Errorf("configuring the cluster: a lease of %v does not outlive two renewals, one each %v", c.Timings.Lease, c.Timings.Renew)
	case c.Timings.LeaderLease > c.Timings.Heartbeat:
		return fmt.Errorf("configuring the cluster: the leader's own lease %v exceeds the heartbeat timeout %v", c.Timings.LeaderLease, c.Timings.Heartbeat)
	case c.TLS == nil && !spelling.Loopback(c.Listen):
		return fmt.Errorf("configuring the cluster: listening on %s without TLS: plain connections are for loopback addresses only", c.Listen)
	case c.TLS == nil && c.Advertise != "" && !spelling.Loopback(c.Advertise):
		return fmt.Errorf("configuring the cluster: advertising %s without TLS: plain connections are for loopback addresses only", c.Advertise)
	}
	if c.TLS == nil {
		for _, a := range c.Join {
			if !spelling.Loopback(a) {
				return fmt.Errorf("configuring the cluster: joining %s without TLS: plain connections are for loopback addresses only", a)
			}
		}
	}
	return nil
}

// CheckFiles reads the certificates, and says if they are no pair, or name another node.
func (c Config) CheckFiles() error {
	if c.TLS == nil {
		return nil
	}
	_, err := transport.Load(*c.TLS, c.identity())
	return err
}

func (c Config) identity() transport.Identity {
	return transport.Identity{Deployment: c.Deployment, Region: c.Region, Node: c.Node.ID}
}

// Ground is what the cluster stands on: the network and the disk. A field that is
// nil is the machine's own; a simulation puts in what can be cut, delayed and lost.
type Ground struct {
	Listen func(ctx context.Context, addr string) (net.Listener, error)
	Dial   func(ctx context.Context, addr string) (net.Conn, error)
	Lookup func(ctx context.Context, host string) ([]string, error) // all addresses of a name
	Log    func(raft.LogStore) raft.LogStore                        // between raft and the log on disk
	Table  func(raft.FSM) raft.FSM                                  // between raft and the table
}

func (g *Ground) fill() {
	if g.Listen == nil {
		g.Listen = func(ctx context.Context, addr string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp", addr)
		}
	}
	if g.Dial == nil {
		g.Dial = transport.DialTCP
	}
	if g.Lookup == nil {
		g.Lookup = net.DefaultResolver.LookupHost
	}
	if g.Log == nil {
		g.Log = func(log raft.LogStore) raft.LogStore { return log }
	}
	if g.Table == nil {
		g.Table = func(table raft.FSM) raft.FSM { return table }
	}
}
