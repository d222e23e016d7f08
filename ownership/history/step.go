package history

import (
	"time"

	"tandem/ownership"
)

// StepKind says in one word what was done with a notification, or with a call.
type StepKind string

// The kinds of steps, in the order in which a notification meets them.
const (
	Received   StepKind = "received"  // it came in here: by whom it was sent, and on whose token
	Ruled      StepKind = "rule"      // the rules said which region handles the call
	Placed     StepKind = "claim"     // the call was claimed: its place, or why it got none
	Redirected StepKind = "redirect"  // the cloud was sent to another node or region
	Relayed    StepKind = "relay"     // the owner's node had it, over the peer link
	Lettered   StepKind = "letter"    // a node of another region had it
	Repeated   StepKind = "duplicate" // it had been handled, or waited for the first delivery
	Handed     StepKind = "hand-over" // the bot had it: status, or why not
	AnsweredAt StepKind = "answer"    // Graph had the answer: status, attempts, or why not
	RejectedAt StepKind = "reject"    // the same of a rejection
	Told       StepKind = "adopted"   // the bot was told that the call is its own now
	Rejoin     StepKind = "rejoin"    // the bot was told that the call's media died with a node
	Lost       StepKind = "lost"      // the bot was told that the call is another node's
	Over       StepKind = "end"       // the call is over
	Replied    StepKind = "reply"     // what the cloud, or the node that relayed it, was told
	Refused    StepKind = "refused"   // the same, and it was handled by nobody
)

// Step is one thing that a node did with a notification or a call. It is kept in the memory
// of that node, for as long as there is room. It holds no token, secret, signature or body.
// In JSON it is what the admin door tells; those names are promised.
type Step struct {
	At        time.Time             `json:"at"`
	Region    ownership.Region      `json:"region,omitempty"`
	Node      ownership.NodeID      `json:"node"`
	Kind      StepKind              `json:"kind"`
	Call      ownership.CallID      `json:"call,omitempty"`
	Message   string                `json:"notification,omitempty" doc:"The id of the delivery, the same when the cloud repeats it."`
	Partition ownership.PartitionID `json:"partition,omitempty"`
	Epoch     ownership.Epoch       `json:"epoch,omitempty"`
	To        string                `json:"to,omitempty" doc:"The node or region that it went to."`
	Status    int                   `json:"status,omitempty" doc:"HTTP status of whom it went to, or of the reply."`
	Took      time.Duration         `json:"took_ns,omitempty" doc:"Nanoseconds."`
	Text      string                `json:"text,omitempty"`

	// Of a notification that was received: by what else it can be found.
	Chain    string             `json:"chain,omitempty" doc:"The call chain id."`
	Scenario string             `json:"scenario_id,omitempty"`
	Request  string             `json:"client_request_id,omitempty"`
	App      ownership.AppID    `json:"app,omitempty"`
	Tenant   ownership.TenantID `json:"tenant,omitempty" doc:"As the token says."`
}

// Failed reports whether the step says that something went wrong.
func (s *Step) Failed() bool { return s.Kind == Refused || s.Status >= 400 }

// Trail is what a region's nodes remember of one call, or of all that one id names.
type Trail struct {
	Steps []Step             `json:"steps" doc:"Oldest first, each by the clock of its node."`
	Calls []ownership.CallID `json:"calls" doc:"The calls that they are of."`
	// More: there were too many steps, and the oldest are left out.
	More bool `json:"more,omitempty"`
	// Since is how far back the node remembers.
	Since time.Time `json:"since,omitzero"`
}
