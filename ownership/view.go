package ownership

import (
	"errors"
	"time"
)

// View is what the rules may see of the table. The store's table is one; tests
// use small ones made by hand.
type View interface {
	// Known returns what the index in memory holds of a call, ended ones too.
	Known(CallID) (Known, bool)
	// Legs returns the live calls that carry the key, oldest first. It costs as much
	// as the group has calls: only regions before FormatReservations place by it.
	Legs(GroupKey) []Leg
	// Bundles appends the live calls that carry the key, summed up: calls that
	// differ in nothing that a Bundle tells are one, in no certain order. With an
	// observed person it gives only those of a chain that observe that person.
	Bundles(into []Bundle, key GroupKey, observed string) []Bundle
	// Partition returns one partition's record.
	Partition(PartitionID) (Partition, bool)
	// PartitionsOf returns a node's partitions, by number.
	PartitionsOf(NodeID) []Partition
	// Nodes returns all nodes, by id, gone ones too.
	Nodes() []Node
	// Live counts the live calls that a node acts for.
	Live(NodeID) int
	// LiveOf counts those of one app.
	LiveOf(NodeID, AppID) int
	// Overdue counts, app by app, those live calls of a node that nobody answered
	// while they rang: claimed, and at that time past RingsUntil. nil: there are none.
	Overdue(NodeID, time.Time) map[AppID]int
	// Format is the command format that the region writes: replicas of different
	// versions reach the same verdicts by it.
	Format() uint32
}

// Known is the part of a call that routing needs.
type Known struct {
	App       AppID // only notifications for it are about the call
	Partition PartitionID
	Owner     NodeID // who acts for the call now, see Partition.Stands; empty: nobody
	Epoch     Epoch  // at which the owner acts for it
	State     CallState
	Pinned    bool
}

// Leg is a live call as a member of a group.
type Leg struct {
	Call      CallID
	App       AppID
	Partition PartitionID
	State     CallState
	Paired    bool
	Observed  string
	ClaimedAt time.Time
	Deadline  time.Time
}

// Bundle is a number of live calls of one group that placement need not tell
// apart. Several bundles may be alike.
type Bundle struct {
	Partition PartitionID
	Owner     NodeID // who acts for them, see Partition.Stands
	Count     int
	// Of a chain, what makes them other legs of a claim:
	State    CallState // claimed or answered
	Rings    time.Time // until when those ring that are claimed, see RingsUntil
	App      AppID     // right where a person was asked for and they ring
	Paired   bool      // their payload names paired recorders
	Observes bool      // they observe somebody
}

// RingsUntil is how long a call counts as ringing: to the end of the second of
// its deadline. Whole seconds let a table sum calls up, and the end of the second
// is the safe side: two legs of a pair are never taken for a call and its retry.
func RingsUntil(deadline time.Time) time.Time {
	return deadline.Add(time.Second - 1).Truncate(time.Second)
}

// Owner is who owns a partition now, as one node sees it.
type Owner struct {
	Node      NodeID
	Partition PartitionID
	Epoch     Epoch
	PublicURL string // empty: reachable by relay only
	Here      bool   // it is this node
	Acting    bool   // Here, with a valid lease: it may act now
}

// CallFilter chooses calls; an empty field chooses all. Ended calls are chosen too,
// unless State says otherwise.
type CallFilter struct {
	Node      NodeID // who acts for the call now, see Partition.Stands
	Partition PartitionID
	Tenant    TenantID
	App       AppID
	Group     GroupKey
	State     CallState // as it stands now
	Silent    time.Time // of those that have not ended, what was not heard of since
}

// Heard reports whether the filter asks for silent calls, and one that was heard of last at
// that time is none.
func (f *CallFilter) Heard(state CallState, last time.Time) bool {
	return !f.Silent.IsZero() && (state == CallEnded || last.After(f.Silent))
}

// Errors that cross rooms. Each maps to one answer at the doors.
var (
	// ErrFull: no node may take the call now (503 with Retry-After).
	ErrFull = errors.New("no node of the region can take another call")
	// ErrNoLeader: claims cannot be decided now (503 with Retry-After).
	ErrNoLeader = errors.New("the region has no leader right now")
	// ErrFenced: this node has no valid lease (relay or 503).
	ErrFenced = errors.New("this node has no valid lease")
	// ErrStaleEpoch: the caller acts on an epoch that has passed.
	ErrStaleEpoch = errors.New("the partition has a newer epoch")
	// ErrFutureEpoch: the caller names an epoch that the table has not reached.
	ErrFutureEpoch = errors.New("the partition has not reached that epoch")
	// ErrUnknown: no such call, partition or node.
	ErrUnknown = errors.New("not in the table")
	// ErrOtherApp: the call is another app's, which a token for this one says
	// nothing about (401, as to a token that is not ours).
	ErrOtherApp = errors.New("the call belongs to another app")
	// ErrNoBot: no fit node has a healthy bot of the app (503 with Retry-After).
	ErrNoBot = errors.New("no node of the region has a healthy bot of the app")
	// ErrTwin: another process with the same data goes on as that node.
	ErrTwin = errors.New("another process has the data of this node")
	// ErrBehind: this node's table has not caught up with its region's (503).
	ErrBehind = errors.New("this node's table has not caught up yet")
	// ErrForeign: the other belongs to another deployment or region (403).
	ErrForeign = errors.New("the node belongs to another deployment or region")
	// ErrConflict: the change contradicts what the table holds.
	ErrConflict = errors.New("the table holds something else")
	// ErrUnreachable: a peer could not be reached or did not answer in time (503).
	ErrUnreachable = errors.New("the node cannot be reached")
	// ErrNotTaken: nothing was done with a letter, so somebody else may get it.
	ErrNotTaken = errors.New("nobody there has taken it")
	// ErrBusy: a node does as much of it at once as it may (503).
	ErrBusy = errors.New("the node is busy, try again in a moment")
	// ErrGone: the node was removed from the region (409).
	ErrGone = errors.New("the node was removed from the region")
	// ErrNotLeader: this node does not lead, another one may.
	ErrNotLeader = errors.New("this node is not the leader")
	// ErrDiffers: the node's table is not that of its region.
	ErrDiffers = errors.New("the node's table is not the region's")
	// ErrUninvited: the region does not know the node, and nobody has let it in.
	ErrUninvited = errors.New("nobody has let it in: ask for it at a node of the region with 'tandem join', " +
		"or give it a token with the role join in cluster.join_token_file")
)
