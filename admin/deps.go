package admin

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// Deps is all that the private door needs from the rest of the node. The room
// `node` introduces the real ones; tests hand in fakes.
type Deps struct {
	Table   Table   // required: the region's table as this node holds it
	Journal Journal // required: the table's event history
	Cluster Cluster // required: acts and membership, from any node

	Regions     func() []api.Region                                                // what was last heard of every other region; nil: there are none
	Elsewhere   Elsewhere                                                          // reaches the other regions; nil: nobody does
	Explain     func(context.Context, ownership.Supposed) (api.Explanation, error) // the webhook's dry run; nil: 501
	Callbacks   func(context.Context, api.CallbackBody) (api.CallbackURI, error)   // signs callback URIs; nil: 501
	PassKeys    func() [][]byte                                                    // what passes of other regions' nodes are signed with; nil: none is taken
	Ledger      Ledger                                                             // the region's ledger; nil: 501
	Rulebook    Rulebook                                                           // the region's rules; nil: 501
	Evacuations Evacuations                                                        // what it means to evacuate a region; nil: 501
	Captures    Captures                                                           // tells of calls as they ring; nil: 501
	Trails      Trails                                                             // what nodes remember of notifications; nil: nothing
	Pulse       func(context.Context, api.PulseAsk) []api.PulseNode                // how the nodes were in the last hour; nil: 501
	Rules       func() *api.RulesMark                                              // which rules the region has, for the summary; nil: it is not told
	Promises    func() []api.Promise                                               // promises only the node knows of, added to /v1/guarantees
	Warnings    func() []string                                                    // what an operator should be told loudly, added to /v1/status
	Checks      []Check                                                            // what /readyz asks, in this order
	Config      func() map[string]any                                              // the configuration in force, without secrets; nil: 501
	Reload      func() (api.Reloaded, error)                                       // reads this node's configuration again; nil: 501
	Metrics     prometheus.Gatherer                                                // nil: /metrics answers 501
	LastLog     func() []byte                                                      // the last lines of the log, as JSON lines; nil: 501
	Logger      *slog.Logger                                                       // nil: slog.Default()
	Now         func() time.Time                                                   // nil: time.Now
}

// Table is the region's table as this node holds it, read from memory.
type Table interface {
	// Applied is the raft index of the last act that the table here has seen.
	Applied() uint64
	// Format is the command format that the region writes.
	Format() uint32
	// DoorTokens returns the region's tokens of its admin doors, by name, ended
	// ones too.
	DoorTokens() []ownership.DoorToken
	// Keep is how long the region's ledger is kept; zero: nothing was agreed on yet.
	Keep() ownership.Keep
	// Rollouts returns the rules for versions of bots, by app and version.
	Rollouts() []ownership.Rollout
	// Rules returns the versions of the region's rules that are kept, oldest first.
	Rules() []ownership.Rules
	// Nodes returns all nodes, by id, gone ones too.
	Nodes() []ownership.Node
	// Node returns one node's record.
	Node(ownership.NodeID) (ownership.Node, bool)
	// Partitions returns all partitions, by number, retired ones too.
	Partitions() []ownership.Partition
	// Partition returns one partition's record.
	Partition(ownership.PartitionID) (ownership.Partition, bool)
	// Live counts the live calls on a node's partitions.
	Live(ownership.NodeID) int
	// Overdue counts those of them that were claimed and no longer ring, by app.
	Overdue(ownership.NodeID, time.Time) map[ownership.AppID]int
	// Call returns the full record of a call, tombstones too.
	Call(ownership.CallID) (ownership.Call, bool)
	// Calls returns at most limit calls that match, and the cursor of the next
	// page, empty at the end. The error is the table's, not the reader's.
	Calls(f ownership.CallFilter, cursor string, limit int) (calls []ownership.Call, next string, err error)
}

// Journal is the table's event history, kept for some time only.
type Journal interface {
	// Events returns at most limit events with an ID above after, oldest first; after 0
	// it begins with the oldest that is still kept.
	Events(after uint64, limit int) ([]history.Event, error)
	// Latest returns the newest events, at most limit, oldest first.
	Latest(limit int) ([]history.Event, error)
	// Wait returns nil once an event with an ID above after exists, or the
	// context's error.
	Wait(ctx context.Context, after uint64) error
	// Owning returns the events with an ID above after that say who owns a partition, oldest first.
	Owning(after uint64) ([]history.Event, error)
	// Members returns the events that say how a node stands, oldest first.
	Members() ([]history.Event, error)
	// LivingAt returns the ids of all calls that may have been live at a moment, in order, and
	// of others.
	LivingAt(history.Moment) ([]ownership.CallID, error)
	// Timeline returns the events of one call, oldest first.
	Timeline(ownership.CallID) ([]history.Event, error)
}

// Cluster carries acts to the region's leader, from any node, and changes the
// membership. Errors wrap the ones of package ownership where one fits:
// ErrUnknown becomes 404, ErrConflict 409, ErrForeign 403, ErrNoLeader and ErrFenced 503.
type Cluster interface {
	// Do has the region apply one act.
	Do(context.Context, ownership.Act) (*ownership.Outcome, error)
	// Meet brings this node and the one at the cluster address into one region,
	// and returns the newcomer's record. With an expected id, another node at that
	// address is ErrConflict; a node of another deployment or region is
	// ErrForeign. A node that has no region yet shows the token where it asks.
	Meet(ctx context.Context, addr string, expected ownership.NodeID, token string) (ownership.Node, error)
	// Found founds the region with this node as its first: ErrConflict where there
	// is one already.
	Found(context.Context) error
	// Lease returns how long leases last in the region, and SetLease changes it for all
	// its nodes: ErrConflict for a length that the region cannot live with.
	Lease() time.Duration
	SetLease(context.Context, time.Duration) error
	// Leave takes this node out of the region after handing over its partitions.
	Leave(context.Context) error
	// Remove takes another node out, dead or alive.
	Remove(context.Context, ownership.NodeID) error
	// Drain stops new calls for a node; until zero: no deadline.
	Drain(ctx context.Context, id ownership.NodeID, until time.Time) error
	// Undrain brings a draining node back.
	Undrain(context.Context, ownership.NodeID) error
	// Move hands a partition over to a node.
	Move(context.Context, ownership.PartitionID, ownership.NodeID) error
	// TransferLeader gives the leadership away; to empty: to any voter.
	TransferLeader(ctx context.Context, to ownership.NodeID) error
	// SafeToStop says whether a node may be stopped now.
	SafeToStop(context.Context, ownership.NodeID) (ownership.StopCheck, error)
	// Peers returns the raft configuration with what this node knows of each.
	Peers() []api.Peer
	// ReadBarrier returns once the table here holds everything that the leader had
	// applied when it was asked; a quorum has confirmed by then that it leads.
	ReadBarrier(context.Context) error
	// Fitness returns what the leader said last of all nodes of the region.
	Fitness() ownership.RegionFitness
	// Status says how this node stands in the cluster.
	Status() api.ClusterStatus
	// SaveSnapshot writes the whole table with its stamp and checksum.
	SaveSnapshot(context.Context, io.Writer) error
	// RestoreSnapshot replaces the region's table. A snapshot that is foreign, older,
	// cut short or damaged is refused with an error that says so; so is one of another
	// history, and one that is not signed, unless the terms allow it.
	RestoreSnapshot(ctx context.Context, from io.Reader, terms ownership.RestoreTerms) error
}

// Check is one named question of /readyz; nil means well. An advisory one is told with
// ?verbose, and the node is ready all the same: what is wrong is not wrong with it
// alone, or not with all that it does.
type Check struct {
	Name     string
	Advisory bool
	Ask      func(context.Context) error
}
