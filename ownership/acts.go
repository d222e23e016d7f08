package ownership

import "time"

// The acts below are everything that can happen to the table. The store writes
// them to the raft log; applying one is deterministic, so each carries the time
// and the health that the leader knew.

// Act is one change of the table: one of the types in this file.
type Act interface{ act() }

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
}

// Claims is a batch of claims combined by the leader.
type Claims struct {
	At      time.Time
	Fitness map[NodeID]Fitness
	Claims  []Claim
}

// Answered records that the owner's answer was accepted by the cloud, and what
// later notifications told first: where the meeting is and whose, which the first
// one of a recorded call does not say, and without which nobody can rejoin it. A
// repeat may only add to that. A region of command format 1 goes without.
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
// is refused: compare before deleting. Epoch 0 is an operator's release.
type Release struct {
	At    time.Time
	Call  CallID
	Epoch Epoch
	Why   string
}

// Forget drops tombstones that ended before Before.
type Forget struct {
	At     time.Time
	Before time.Time
}

// Join puts a node's record into the table and bears its partitions. A node
// that is known with the same incarnation is updated and bears none.
type Join struct {
	At         time.Time
	Node       Node
	Partitions int
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
// by Failover.
type Depart struct {
	At      time.Time
	Node    NodeID
	Fitness map[NodeID]Fitness
}

// Failover gives every partition of a node whose lease has certainly ended to
// survivors with epoch+1. The node's record stays.
type Failover struct {
	At      time.Time
	Node    NodeID
	Fitness map[NodeID]Fitness
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

func (Claims) act()    {}
func (Answered) act()  {}
func (Seen) act()      {}
func (Release) act()   {}
func (Forget) act()    {}
func (Join) act()      {}
func (Drain) act()     {}
func (Undrain) act()   {}
func (Depart) act()    {}
func (Failover) act()  {}
func (Move) act()      {}
func (SetFormat) act() {}

// Outcome is what applying one act gave: Placements and Errors run parallel to
// the claims of a batch; Err is the act's own refusal.
type Outcome struct {
	Index      uint64 // raft index at which it was applied
	Placements []Placement
	Errors     []error // nil where the claim has a placement
	Moves      []Reassignment
	Err        error
}

// Reassignment is one partition's change of owner.
type Reassignment struct {
	Partition PartitionID `json:"partition"`
	From      NodeID      `json:"from"`
	To        NodeID      `json:"to"`
	Epoch     Epoch       `json:"epoch"` // the new one
}
