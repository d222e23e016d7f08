package ownership

import "time"

// The acts below are everything that can happen to the table. The store writes
// them to the raft log; applying one is deterministic, so each carries the time
// and the health that the leader knew.

// Act is one change of the table: one of the types in this file.
type Act interface {
	at() time.Time
	from(time.Time) Act
}

// Moment is the leader's time of an act.
func Moment(a Act) time.Time { return a.at() }

// Stamped returns the act with that time, if it has none.
func Stamped(a Act, at time.Time) Act {
	if a.at().IsZero() {
		return a.from(at)
	}
	return a
}

// Claim asks for an owner of a call.
type Claim struct {
	Call       CallID
	RawCall    string // the id as the cloud spelled it, see Call.RawCall
	App        AppID
	Tenant     TenantID
	Groups     []GroupKey
	Paired     bool // the payload names paired recorders: keep away from the other leg
	Pinned     bool // app-hosted media
	Answered   bool // first seen as an established (outgoing or adopted) call
	Observed   string
	Thread     string
	Organizer  string
	Modalities []string
	Deadline   time.Time
	Received   time.Time // when the first node saw the notification
	Via        NodeID
	Pin        Pin
}

// Pin is an operator's wish for calls that match a rule; empty fields do not
// restrict.
type Pin struct {
	Node    NodeID `json:"node,omitempty"`
	Zone    string `json:"zone,omitempty"`
	Version string `json:"version,omitempty"`
}

// Fitness is what the leader knows of a node at the moment of a claim.
type Fitness struct {
	Leased bool    // it renewed its lease in time
	Bot    bool    // its bot is healthy
	Load   float64 // what the bot reported, 0 to 1; 0 when it reports nothing
	Room   int     // capacity the bot reported; 0: the node's own capacity stands
	Recent int     // calls placed on it within the last seconds and not yet in its load
	// Apps says it app by app. nil: Bot, Load and Room stand for every app, as in a
	// region of command format 2. An app that is not named has no bot there.
	Apps map[AppID]AppFitness
}

// AppFitness is what the leader knows of one app's bot beside a node.
type AppFitness struct {
	Bot  bool    // it is healthy and takes new calls
	Load float64 // what it reported, 0 to 1; 0 when it reports nothing
	Room int     // live calls of the app that it can hold; 0: the node's capacity stands
}

// Claims is a batch of claims combined by the leader.
type Claims struct {
	At      time.Time
	Fitness map[NodeID]Fitness
	Claims  []Claim
	Turns   []Turn // by app and version; since FormatRollouts
}

// FormatReservations is the first command format in which a silent node's calls
// are reserved for it: Fitness.Apps, Release.Told and App, Join.Ancestors, Failover.Lapsed
// and the acts TakeUp, Records, Found, SetLease, Lapse and Reclaim.
const FormatReservations uint32 = 3

// Answered records that the owner's answer was accepted by the cloud, and what
// later notifications told first: where the meeting is and whose, which the first
// one of a recorded call does not say, and without which nobody can rejoin it. A
// repeat may only add to that. A region of command format 1 goes without. From
// format 3 on an answer that the cloud took is a fact at any epoch that the
// partition has had: a call that still rings by the table was answered at Epoch.
// With media of its own, and at an epoch that has passed, it is an orphan of the
// present owner from then on, and not its former owner's again: the present one may
// act for it within an unbroken lease, and learns of the answer later than others.
type Answered struct {
	At        time.Time
	Call      CallID
	Epoch     Epoch
	Thread    string // empty: nothing new
	Organizer string // empty: nothing new
}

// Seen records activity of calls, so that the reaper leaves them alone.
type Seen struct {
	At    time.Time
	Calls []CallID
}

// Release ends a call and leaves a tombstone. An epoch lower than the call's
// is refused: compare before deleting. Epoch 0 is an operator's release. Told
// says that the cloud itself told of the end: that is a fact at any epoch, and
// nothing is compared.
//
// With App, and Told, it is the end of a call of that app that the table did not
// know when it was asked. If it still does not, it keeps a tombstone: a claim of
// the call may be under way, and what it comes to would ring for ever. A call that
// lives by now is refused with ErrConflict, for its owner is to hear of the end. Tenant
// and Chain, the cloud's callChainId, are such a call's, for the ledger.
type Release struct {
	At     time.Time
	Call   CallID
	Epoch  Epoch
	Why    string
	Told   bool     // since format 3
	App    AppID    // since format 3
	Fate   Fate     // since format 5
	Tenant TenantID // since format 5
	Chain  string   // since format 5
}

// Unclaimed is what the end of a call tells of it that nobody has claimed.
type Unclaimed struct {
	Call   CallID
	App    AppID
	Tenant TenantID // empty: nothing told it
	Chain  string   // the cloud's callChainId; empty: nothing told it
}

// TakeUp records that the bot beside the partition's owner has taken an orphaned
// call up: its former owner cannot reclaim it any more. Epoch is the partition's.
// It is refused with ErrConflict for a call that is no orphan (any more).
type TakeUp struct {
	At    time.Time
	Call  CallID
	Epoch Epoch
}

// Records is a batch of what owners report of their calls: Answered, Release,
// Seen and TakeUp. At is the time of all of them. Outcome.Errors runs parallel to
// it.
type Records struct {
	At   time.Time
	Acts []Act
}

// Forget drops tombstones that ended before Before. From format 3 on it also drops
// the records of nodes and partitions that have been out of use since before
// then and that nothing refers to, and it drops so many tombstones at most that a
// call is not kept waiting: whoever finds more due sends another.
type Forget struct {
	At     time.Time
	Before time.Time
}

// Join puts a node's record into the table and bears its partitions, as many as
// it lacks to own Partitions. A known incarnation is updated; a process of it other
// than the one in the table must descend from that one: Ancestors are the
// processes that went before it on the same disk and that the table may know,
// oldest first. Else the error is ErrTwin: its data are a copy.
type Join struct {
	At         time.Time
	Node       Node
	Partitions int
	Ancestors  []string // since format 3
}

// Found gives a region its identity, once. A second one is refused with
// ErrConflict.
type Found struct {
	At       time.Time
	Identity string // random
}

// SetLease changes how long leases last, for the whole region. The table keeps
// the length before it too: a new leader waits for the longer one.
type SetLease struct {
	At     time.Time
	Length time.Duration
}

// Drain stops new calls for a node; Until zero: no deadline.
type Drain struct {
	At    time.Time
	Node  NodeID
	Until time.Time
}

// Undrain brings a draining node back.
type Undrain struct {
	At   time.Time
	Node NodeID
}

// Depart makes a node gone. Its partitions are assigned to survivors first, as
// by Failover, and whatever is reserved for it lapses for good.
type Depart struct {
	At      time.Time
	Node    NodeID
	Fitness map[NodeID]Fitness
}

// Failover gives every partition of a node whose lease has certainly ended to
// survivors with epoch+1. The node's record stays, and so do, from format 3 on, its
// answered calls with media of their own: they are reserved for it, but for the
// calls of the apps in Lapsed.
type Failover struct {
	At      time.Time
	Node    NodeID
	Fitness map[NodeID]Fitness
	Lapsed  []AppID // apps that wait for no silent node; since format 3
}

// Lapse ends the waiting for a silent node: the calls of the apps that are still
// reserved for it are orphans from now on. Empty Apps: all of them.
type Lapse struct {
	At   time.Time
	Node NodeID
	Apps []AppID
}

// Reclaim gives a node that is back what lapsed while it was silent, but for the
// calls that have been taken up meanwhile.
type Reclaim struct {
	At   time.Time
	Node NodeID
}

// Move gives one partition to a node with epoch+1: the planned hand-over, after
// the owner has stopped acting. Epoch must be the partition's present one.
type Move struct {
	At        time.Time
	Partition PartitionID
	Epoch     Epoch
	To        NodeID
}

// SetFormat raises the command format that the region writes.
type SetFormat struct {
	At     time.Time
	Format uint32
}

func (a Claims) at() time.Time    { return a.At }
func (a Answered) at() time.Time  { return a.At }
func (a Seen) at() time.Time      { return a.At }
func (a Release) at() time.Time   { return a.At }
func (a Forget) at() time.Time    { return a.At }
func (a Join) at() time.Time      { return a.At }
func (a Drain) at() time.Time     { return a.At }
func (a Undrain) at() time.Time   { return a.At }
func (a Depart) at() time.Time    { return a.At }
func (a Failover) at() time.Time  { return a.At }
func (a Move) at() time.Time      { return a.At }
func (a SetFormat) at() time.Time { return a.At }
func (a TakeUp) at() time.Time    { return a.At }
func (a Records) at() time.Time   { return a.At }
func (a Found) at() time.Time     { return a.At }
func (a SetLease) at() time.Time  { return a.At }
func (a Lapse) at() time.Time     { return a.At }
func (a Reclaim) at() time.Time   { return a.At }

// Outcome is what applying one act gave: Placements and Errors run parallel to
// the claims of a batch, Errors alone to its records; Err is the act's own refusal.
type Outcome struct {
	Index      uint64 // raft index at which it was applied
	Placements []Placement
	Errors     []error // nil where the claim has a placement
	Moves      []Reassignment
	Look       []PartitionID // in which a late answer made an orphan, or somebody else ended a call; only where it was applied
	Err        error
}

// Reassignment is one partition's change of owner.
type Reassignment struct {
	Partition PartitionID `json:"partition"`
	From      NodeID      `json:"from"`
	To        NodeID      `json:"to"`
	Epoch     Epoch       `json:"epoch"` // the new one
}

func (a Claims) from(t time.Time) Act    { a.At = t; return a }
func (a Answered) from(t time.Time) Act  { a.At = t; return a }
func (a Seen) from(t time.Time) Act      { a.At = t; return a }
func (a Release) from(t time.Time) Act   { a.At = t; return a }
func (a Forget) from(t time.Time) Act    { a.At = t; return a }
func (a Join) from(t time.Time) Act      { a.At = t; return a }
func (a Drain) from(t time.Time) Act     { a.At = t; return a }
func (a Undrain) from(t time.Time) Act   { a.At = t; return a }
func (a Depart) from(t time.Time) Act    { a.At = t; return a }
func (a Failover) from(t time.Time) Act  { a.At = t; return a }
func (a Move) from(t time.Time) Act      { a.At = t; return a }
func (a SetFormat) from(t time.Time) Act { a.At = t; return a }
func (a TakeUp) from(t time.Time) Act    { a.At = t; return a }
func (a Records) from(t time.Time) Act   { a.At = t; return a }
func (a Found) from(t time.Time) Act     { a.At = t; return a }
func (a SetLease) from(t time.Time) Act  { a.At = t; return a }
func (a Lapse) from(t time.Time) Act     { a.At = t; return a }
func (a Reclaim) from(t time.Time) Act   { a.At = t; return a }
