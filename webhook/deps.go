package webhook

import (
	"context"
	"net/http"
	"time"

	"tandem/ownership"
	"tandem/token"
)

// The interfaces below are what the webhook needs from elsewhere; the node
// introduces the real ones.

// Tokens verifies the bearer token of a request; *token.Verifier does. Its
// errors are *token.Refusal.
type Tokens interface {
	Verify(ctx context.Context, header http.Header) (token.Claims, error)
	// Look judges it without any effect, for explanations.
	Look(ctx context.Context, header http.Header) (token.Claims, error)
}

// Table is the region's ownership table as this node sees it; the cluster is
// one. All but Fresh, Ended, Claim, WhatIf and Relay answer from memory.
type Table interface {
	// Find returns what is known of a call, ended ones too.
	Find(ownership.CallID) (ownership.Known, bool)
	// Owner returns a partition's owner; false: no such partition.
	Owner(ownership.PartitionID) (ownership.Owner, bool)
	// OwnerOf returns who acts for a call of a partition, at which epoch: the call's
	// standing where this node knows the call, else the partition's owner.
	OwnerOf(ownership.CallID, ownership.PartitionID) (ownership.Owner, bool)
	// Fresh returns once Find knows every call that the region knew when it was
	// asked; an error says that nobody could tell within about a second.
	Fresh(context.Context) error
	// Ended makes the region know that calls have ended which it did not know
	// before, so that a claim of one that comes later rings nowhere. After nil Find
	// knows each: as ended, or as what a claim that was quicker has made of it.
	Ended(context.Context, ...ownership.Unclaimed) error
	// Holds reports whether this node acts for the call of the partition at that
	// epoch and has a valid lease now: the fence before every effect.
	Holds(ownership.CallID, ownership.PartitionID, ownership.Epoch) bool
	// Claim records a call, durably, and gives its place.
	Claim(context.Context, ownership.Claim) (ownership.Placement, error)
	// WhatIf returns the place that Claim would, and changes nothing.
	WhatIf(context.Context, ownership.Claim) (ownership.Placement, error)
	// Room returns how many more calls of an app the region can take, as its leader said
	// last; below 0: it is not known.
	Room(ownership.AppID) int
	// Relay sends a notification to another node's HandOver, once.
	Relay(context.Context, ownership.NodeID, ownership.HandOver) (ownership.Reply, error)
}

// Dispatcher takes the notifications of calls that this node owns.
type Dispatcher interface {
	// Incoming takes a new call.
	Incoming(context.Context, ownership.HandOver) (ownership.Reply, error)
	// Update takes any later notification.
	Update(context.Context, ownership.HandOver) (ownership.Reply, error)
	// Handled returns the reply to a message that was handled here, and acts on nothing:
	// it needs no lease.
	Handled(ownership.HandOver) (ownership.Reply, bool)
}

// Regions knows the other regions. Its URLs come from the configuration. All but Relay
// and Knowing answer from memory.
type Regions interface {
	// Alone reports whether there are no other regions.
	Alone() bool
	// Healthy reports whether a region may be given calls now.
	Healthy(ownership.Region) bool
	// URL returns the base URL of a region.
	URL(ownership.Region) (string, bool)
	// Look returns what a new call of an app would find in a region.
	Look(ownership.Region, ownership.AppID) Prospect
	// Relay brings a letter to the door of a node of another region, the owner's of the
	// partition where that is known (0: none is meant), and gives its answer. The error is
	// ownership.ErrNotTaken when surely nothing was done with the letter, as where no node
	// of the region can be reached.
	Relay(context.Context, ownership.Region, ownership.PartitionID, ownership.Letter) (ownership.Reply, error)
	// Knowing returns those of the calls that other regions know, ended ones too. An error
	// says that a region could not be asked which may know more of them.
	Knowing(context.Context, []ownership.CallID) (map[ownership.CallID]ownership.Region, error)
}

// Prospect is what a new call of an app would find in another region, as far as is known.
type Prospect struct {
	Up   bool          // it takes new calls of the app
	Room int           // how many more; below 0: it is not known
	RTT  time.Duration // there and back; 0: it is not known
}
