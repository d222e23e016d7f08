// Package ownership holds Tandem's plain words and the table's pure rules: who owns
// a call, which node gets a new one, and what happens to the calls of a dead node.
// Which region a call belongs to is policy's.
//
// Nothing here reads a clock, a file, the network, the environment or a random
// source: every fact comes in as an argument, so the webhook, explain, dry
// runs, the simulator's oracle and the tests all reach the same verdict.
package ownership

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"tandem/spelling"
)

// Region names one raft group with one public base URL, such as "emea".
type Region string

// NodeID names one running process with the bot beside it, such as "emea-1".
type NodeID string

// PartitionID numbers a container of calls. Numbers start at 1 and are never
// used again within a region; 0 means "no partition".
type PartitionID uint32

// Epoch counts the owners a partition has had. It starts at 1 and grows by one
// whenever the partition changes owner; 0 means "no epoch".
type Epoch uint64

// CallID is a normalised call id: lower case, without dashes. The cloud spells
// the same id 57DAB8B1894C… and 57dab8b1-894c-… within one documentation page.
type CallID string

// AppID is the id of a bot's app registration: a lower-case GUID, the audience
// of its tokens.
type AppID string

// TenantID is the id of the tenant that a call belongs to: a lower-case GUID.
type TenantID string

// GroupKey is one thing that calls of a group share, with its kind in front:
// "chain:…", "thread:…", "transferor:…".
type GroupKey string

// MaxCallIDLen is the longest call id, in bytes, that Tandem accepts.
const MaxCallIDLen = spelling.MaxCallID

// ParseCallID normalises a call id as the cloud wrote it. Anything outside
// [A-Za-z0-9-]{1,128}, or nothing but dashes, is an error: ids reach paths,
// keys and logs.
func ParseCallID(s string) (CallID, error) {
	id, err := spelling.CallID(s)
	if err != nil {
		return "", fmt.Errorf("reading a call id: it %w", err)
	}
	return CallID(id), nil
}

// String returns the partition's number in decimal.
func (p PartitionID) String() string { return strconv.FormatUint(uint64(p), 10) }

// String returns the epoch in decimal.
func (e Epoch) String() string { return strconv.FormatUint(uint64(e), 10) }

// NodeState says what a node may be given. The zero value is no valid state.
type NodeState uint8

// The states of a node. A draining node keeps its calls and gets no new ones,
// except those of its live groups. A gone node is kept so that its id cannot
// come back with an empty disk unnoticed.
const (
	NodeActive NodeState = iota + 1
	NodeDraining
	NodeGone
)

// CallState says how far a call is. The zero value is no valid state.
type CallState uint8

// The states of a call. Orphaned is an answered call with app-hosted media
// whose node died: it cannot be moved, only rejoined. Ended is a tombstone.
const (
	CallClaimed CallState = iota + 1
	CallAnswered
	CallOrphaned
	CallEnded
)

var (
	nodeStates = []string{"", "active", "draining", "gone"}
	callStates = []string{"", "claimed", "answered", "orphaned", "ended"}
)

// String returns the word users meet.
func (s NodeState) String() string { return word(nodeStates, int(s)) }

// String returns the word users meet.
func (s CallState) String() string { return word(callStates, int(s)) }

// ByUrgency is the order in which calls are listed: who needs somebody comes first.
var ByUrgency = []CallState{CallOrphaned, CallClaimed, CallAnswered, CallEnded}

// Live reports whether the call still counts against its node's capacity.
func (s CallState) Live() bool { return s == CallClaimed || s == CallAnswered }

// ParseCallState reads the word users meet: claimed, answered, orphaned, ended.
func ParseCallState(s string) (CallState, error) {
	if i := slices.Index(callStates, s); i > 0 {
		return CallState(i), nil
	}
	return 0, fmt.Errorf("reading a call state: %q is none of claimed, answered, orphaned, ended", s)
}

// MarshalText writes the word users meet.
func (s NodeState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalText writes the word users meet.
func (s CallState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word users meet.
func (s *CallState) UnmarshalText(b []byte) error {
	v, err := ParseCallState(string(b))
	*s = v
	return err
}

// UnmarshalText reads the word users meet.
func (s *NodeState) UnmarshalText(b []byte) error {
	if string(b) == unknownWord { // of a node that has no record yet
		*s = 0
		return nil
	}
	if i := slices.Index(nodeStates, string(b)); i > 0 {
		*s = NodeState(i)
		return nil
	}
	return fmt.Errorf("reading a node state: %q is none of active, draining, gone", b)
}

// unknownWord stands for what no word is for.
const unknownWord = "unknown"

func word(words []string, i int) string {
	if i <= 0 || i >= len(words) {
		return unknownWord
	}
	return words[i]
}

// Node is one node's record in the table.
type Node struct {
	ID          NodeID    `json:"id"`
	Region      Region    `json:"region"`
	Zone        string    `json:"zone,omitempty"`
	PublicURL   string    `json:"public_url,omitempty"` // base URL for redirects; empty: peers relay
	ClusterAddr string    `json:"cluster_addr"`         // host:port of raft and the peer link
	AdminURL    string    `json:"admin_url,omitempty"`
	Capacity    int       `json:"capacity"` // live calls it may hold
	State       NodeState `json:"state"`
	Voter       bool      `json:"voter"`
	Incarnation string    `json:"incarnation"`       // random id made with its store: a wiped node shows another
	Process     string    `json:"process,omitempty"` // random id of the process that acts as this node: a copy of its data shows another
	Version     string    `json:"version"`           // software
	Format      uint32    `json:"format"`            // newest command format it can read
	JoinedAt    time.Time `json:"joined_at"`
	DrainBy     time.Time `json:"drain_by,omitzero"` // when its drain ends by force; zero: never
	GoneAt      time.Time `json:"gone_at,omitzero"`  // when it was removed; its record goes some time later
}

// Partition is one partition's record in the table.
type Partition struct {
	ID      PartitionID `json:"id"`
	Owner   NodeID      `json:"owner"`
	Epoch   Epoch       `json:"epoch"`
	BornOn  NodeID      `json:"born_on"`
	Live    int         `json:"live"` // live calls in it that its owner acts for
	Retired bool        `json:"retired,omitempty"`
	// RetiredAt is when it was retired; its record goes some time later.
	RetiredAt time.Time `json:"retired_at,omitzero"`
	// Reserved lists, oldest epoch first, what former owners left in it: answered
	// calls with media on their node. The slice is replaced, never changed.
	Reserved []Reservation `json:"reserved,omitempty"`
}

// Reservation is a former owner's claim on the calls that it left in a partition
// when it fell silent: the answered ones with media on that node, which nobody
// else could act on. Until the reservation lapses they stay that node's, at the
// epoch at which it owned the partition. Then they are orphans of the present
// owner, and the node may reclaim those that nobody has taken up.
type Reservation struct {
	Node   NodeID    `json:"node"`
	Epoch  Epoch     `json:"epoch"`
	Since  time.Time `json:"since"`            // when its partition went to another
	Live   int       `json:"live"`             // such calls that have not ended and that nobody has taken up
	Lapsed []AppID   `json:"lapsed,omitempty"` // apps whose calls are not waited for any more, sorted; AllApps: every app
	Final  bool      `json:"final,omitempty"`  // the node was removed: it gets nothing back
}

// AllApps in Reservation.Lapsed stands for every app.
const AllApps AppID = "*"

// HasLapsed reports whether the calls of an app are no longer waited for.
func (r *Reservation) HasLapsed(app AppID) bool {
	return r.Final || slices.Contains(r.Lapsed, app) || slices.Contains(r.Lapsed, AllApps)
}

// Standing is who acts for a call, at which epoch, and how far the call is,
// as its record and the record of its partition say together.
type Standing struct {
	Owner NodeID
	Epoch Epoch
	State CallState
}

// Stands returns who acts for a call of this partition. A call's own record is not
// rewritten when its partition changes owner, so that a death costs the same
// however many calls it leaves: what it means follows from here. epoch is the
// one in the call's record: when it was claimed, answered or taken up.
//
// A call that rings or can move is the present owner's at the present epoch. An
// answered call with media of its own is its former owner's while that one's
// reservation stands, else an orphan of the present owner.
func (p *Partition) Stands(state CallState, pinned bool, app AppID, epoch Epoch) Standing {
	now := Standing{p.Owner, p.Epoch, state}
	if state != CallAnswered || !pinned || epoch >= p.Epoch {
		return now
	}
	for i := range p.Reserved {
		if r := &p.Reserved[i]; r.Epoch == epoch && !r.HasLapsed(app) {
			return Standing{r.Node, r.Epoch, state}
		}
	}
	now.State = CallOrphaned
	return now
}

// Call is the whole record of a call.
type Call struct {
	ID         CallID      `json:"id"`
	RawCall    string      `json:"raw_call,omitempty"` // the id as the cloud spelled it, for Graph's URLs
	App        AppID       `json:"app"`
	Tenant     TenantID    `json:"tenant"`
	Partition  PartitionID `json:"partition"`
	Owner      NodeID      `json:"owner,omitempty"` // who acts for it now, see Partition.Stands
	Epoch      Epoch       `json:"epoch"`           // at which its owner acts for it
	State      CallState   `json:"state"`
	Pinned     bool        `json:"pinned"` // app-hosted media: can only be rejoined, never moved
	Paired     bool        `json:"paired,omitempty"`
	Groups     []GroupKey  `json:"groups,omitempty"`
	Observed   string      `json:"observed,omitempty"` // participant observed by policy recording
	Thread     string      `json:"thread,omitempty"`
	Organizer  string      `json:"organizer,omitempty"`
	Modalities []string    `json:"modalities,omitempty"`
	Deadline   time.Time   `json:"deadline,omitzero"`   // when the cloud gives up waiting for the answer
	ClaimedAt  time.Time   `json:"claimed_at,omitzero"` // zero: its end came before any claim
	AnsweredAt time.Time   `json:"answered_at,omitzero"`
	EndedAt    time.Time   `json:"ended_at,omitzero"`
	SeenAt     time.Time   `json:"seen_at"` // last notification or keepAlive the table was told of
	Via        NodeID      `json:"via"`     // node that received its first notification
	Placement  Placement   `json:"placement"`
	Ending     string      `json:"ending,omitempty"` // why it ended
}

// Reason says in one word why a call went where it went.
type Reason string

// The reasons of a placement, in the order in which Place tries them.
const (
	ReasonKnown       Reason = "known"        // a repeat: the call stands in the table
	ReasonPinned      Reason = "pinned"       // an operator's pin
	ReasonApart       Reason = "apart"        // kept away from the paired leg
	ReasonTogether    Reason = "together"     // beside a live call of its group
	ReasonLeastLoaded Reason = "least-loaded" // most room
	ReasonEnded       Reason = "ended"        // a late repeat of an ended call
	ReasonFull        Reason = "full"         // nobody may take it: an Unavailable error
	ReasonNoBot       Reason = "no-bot"       // nobody may take it, for no node has a healthy bot of its app
)

// Candidate is one node that Place looked at.
type Candidate struct {
	Node     NodeID  `json:"node"`
	Score    float64 `json:"score"`              // live ÷ capacity with the ramp-up penalty; lower wins
	Rejected string  `json:"rejected,omitempty"` // why it could not win; empty: it could
}

// Placement is the result of a claim.
type Placement struct {
	Partition  PartitionID `json:"partition"`
	Epoch      Epoch       `json:"epoch"`
	Owner      NodeID      `json:"owner"`
	Reason     Reason      `json:"reason"`
	Candidates []Candidate `json:"candidates,omitempty"` // at most MaxCandidates
}

// MaxCandidates bounds the candidates that a placement remembers.
const MaxCandidates = 8

// Words turns one slice of strings into another of a different string type; nil for none.
func Words[Out, In ~string](in []In) []Out {
	if len(in) == 0 {
		return nil
	}
	out := make([]Out, len(in))
	for i, s := range in {
		out[i] = Out(s)
	}
	return out
}
