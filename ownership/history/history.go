// Package history says in which words a region's history is told: what happened to
// its table, one event a line. The store writes it, the admin door tells it.
package history

import (
	"time"

	"tandem/ownership"
)

// Kind says in one word what happened.
type Kind string

// The kinds of events.
const (
	Claimed   Kind = "claimed"   // a call got its owner; the reason and the candidates are there
	Answered  Kind = "answered"  // the cloud accepted the owner's answer
	Ended     Kind = "ended"     // a call was released
	Adopted   Kind = "adopted"   // a call went over to its partition's new owner
	Orphaned  Kind = "orphaned"  // a call lost its media with its node
	Joined    Kind = "joined"    // a node came
	Updated   Kind = "updated"   // a node's record changed
	Draining  Kind = "draining"  // a node takes no new calls
	Undrained Kind = "undrained" // a node takes calls again
	Gone      Kind = "gone"      // a node was removed
	Silent    Kind = "silent"    // a node's lease was over, and its partitions went to others
	Born      Kind = "born"      // a partition came into being
	Moved     Kind = "moved"     // a partition has a new owner
	Retired   Kind = "retired"   // a partition is used no more
	Format    Kind = "format"    // the region writes a newer command format
	Founded   Kind = "founded"   // the region got its identity
	Lease     Kind = "lease"     // leases have another length
	Lapsed    Kind = "lapsed"    // calls that were reserved for a silent node are orphans
	Reclaimed Kind = "reclaimed" // a node that came back has calls again that had lapsed
	TakenUp   Kind = "taken-up"  // the bot beside the owner took an orphan
	Forgotten Kind = "forgotten" // a removed node's record was dropped

	TokenMade    Kind = "token-made"    // a token of the admin doors came into being
	TokenUsed    Kind = "token-used"    // a token for one use was used
	TokenRevoked Kind = "token-revoked" // a token was taken back

	RulesSet   Kind = "rules-set"   // an operator set rules in this region
	RulesTaken Kind = "rules-taken" // the region took newer rules of another one
	RulesMet   Kind = "rules-met"   // rules that were set in two regions at once: one of them won
	// Somebody's rules differ from the region's for longer than a change takes to travel,
	// or agree with them again.
	RulesDiffer Kind = "rules-differ"
	RulesAgree  Kind = "rules-agree"

	Certificate   Kind = "certificate"    // the region ordered a public certificate: it came, or why not
	RolloutSet    Kind = "rollout-set"    // the rule for a version of a bot was made or changed
	RolloutHalted Kind = "rollout-halted" // a version gets no new calls any more; the text says why
	RolloutEnded  Kind = "rollout-ended"  // a version is treated as any
	RolloutTold   Kind = "rollout-told"   // a version that is held back is the only one there, or no longer

	// Gap is never in a history: it tells a reader that older events than the next
	// one, which it has not seen, are no longer kept.
	Gap Kind = "gap"
)

// Kinds are all that a history can hold.
var Kinds = []Kind{
	Claimed, Answered, Ended, Adopted, Orphaned, Joined, Updated, Draining, Undrained, Gone, Silent, Born, Moved, Retired, Format, Founded, Lease,
	Lapsed, Reclaimed, TakenUp, Forgotten, TokenMade, TokenUsed, TokenRevoked, RulesSet, RulesTaken, RulesMet, RulesDiffer, RulesAgree, Certificate,
	RolloutSet, RolloutHalted, RolloutEnded, RolloutTold,
}

// Event is one line of the region's history. It is the same on every node of the
// region: ids, times and texts come from the raft log alone. In JSON it is what the
// admin door tells; those names are promised.
type Event struct {
	ID        uint64                `json:"id"` // grows from one event to the next: a reader resumes after the last one it saw
	Index     uint64                `json:"index,omitempty" doc:"Raft index."`
	At        time.Time             `json:"at"` // by the clock of the leader that proposed the act
	Kind      Kind                  `json:"kind"`
	Call      ownership.CallID      `json:"call,omitempty"`
	Partition ownership.PartitionID `json:"partition,omitempty"`
	Node      ownership.NodeID      `json:"node,omitempty"` // the owner, or the node it is about
	Epoch     ownership.Epoch       `json:"epoch,omitempty"`
	Text      string                `json:"text,omitempty"` // a sentence for people

	App        ownership.AppID       `json:"app,omitempty"`
	Tenant     ownership.TenantID    `json:"tenant,omitempty"`
	From       ownership.NodeID      `json:"from,omitempty" doc:"The former owner."`
	Reason     ownership.Reason      `json:"reason,omitempty" doc:"Of a claim: why there."`
	Candidates []ownership.Candidate `json:"candidates,omitempty" doc:"Of a claim: how the nodes compared."`
}
