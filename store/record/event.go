package record

import (
	"encoding/binary"
	"time"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/tablepb"
)

// EventKind says in one word what happened.
type EventKind string

// The kinds of events.
const (
	EventClaimed   EventKind = "claimed"   // a call got its owner; the reason and the candidates are there
	EventAnswered  EventKind = "answered"  // the cloud accepted the owner's answer
	EventEnded     EventKind = "ended"     // a call was released
	EventAdopted   EventKind = "adopted"   // a call went over to its partition's new owner
	EventOrphaned  EventKind = "orphaned"  // a call lost its media with its node
	EventJoined    EventKind = "joined"    // a node came
	EventUpdated   EventKind = "updated"   // a node's record changed
	EventDraining  EventKind = "draining"  // a node takes no new calls
	EventUndrained EventKind = "undrained" // a node takes calls again
	EventGone      EventKind = "gone"      // a node was removed
	EventBorn      EventKind = "born"      // a partition came into being
	EventMoved     EventKind = "moved"     // a partition has a new owner
	EventRetired   EventKind = "retired"   // a partition is used no more
	EventFormat    EventKind = "format"    // the region writes a newer command format
	EventFounded   EventKind = "founded"   // the region got its identity
	EventLease     EventKind = "lease"     // leases have another length
	EventLapsed    EventKind = "lapsed"    // calls that were reserved for a silent node are orphans
	EventReclaimed EventKind = "reclaimed" // a node that came back has calls again that had lapsed
	EventTakenUp   EventKind = "taken-up"  // the bot beside the owner took an orphan
	EventForgotten EventKind = "forgotten" // a removed node's record was dropped

	EventTokenMade    EventKind = "token-made"    // a token of the admin doors came into being
	EventTokenUsed    EventKind = "token-used"    // a token for one use was used
	EventTokenRevoked EventKind = "token-revoked" // a token was taken back
)

// Event is one line of the region's history. It is the same on every node of
// the region: ids, times and texts come from the raft log alone.
type Event struct {
	// ID grows from one event to the next: the raft index shifted left by
	// EventIDShift, plus the number of the event within its act. A reader
	// resumes after the last id it saw.
	ID         uint64                `json:"id"`
	Index      uint64                `json:"index"` // raft index of its act
	At         time.Time             `json:"at"`    // by the clock of the leader that proposed the act
	Kind       EventKind             `json:"kind"`
	Call       ownership.CallID      `json:"call,omitempty"`
	App        ownership.AppID       `json:"app,omitempty"`
	Tenant     ownership.TenantID    `json:"tenant,omitempty"`
	Partition  ownership.PartitionID `json:"partition,omitempty"`
	Epoch      ownership.Epoch       `json:"epoch,omitempty"`
	Node       ownership.NodeID      `json:"node,omitempty"` // the owner, or the node it is about
	From       ownership.NodeID      `json:"from,omitempty"` // the former owner
	Reason     ownership.Reason      `json:"reason,omitempty"`
	Candidates []ownership.Candidate `json:"candidates,omitempty"`
	Text       string                `json:"text,omitempty"` // a sentence for people
}

// EventIDShift is how far an event's id is shifted over its raft index: one act
// has room for a million events.
const EventIDShift = 20

// EventKey is the key of an event's record.
func EventKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// SealEvent writes an event's record; the id is the key, not in it.
func SealEvent(id uint64, e *Event) []byte { return Seal(EventKey(id), eventOut(e)) }

func eventOut(e *Event) *tablepb.Event {
	var w timeWriter // times came in by a command, so they fit
	return &tablepb.Event{
		At: w.ns(e.At), Kind: string(e.Kind), Call: string(e.Call), Partition: uint32(e.Partition),
		Node: string(e.Node), From: string(e.From), Epoch: uint64(e.Epoch), App: string(e.App), Tenant: string(e.Tenant),
		Reason: string(e.Reason), Candidates: candidatesOut(e.Candidates), Text: e.Text,
	}
}

func eventIn(id uint64, m *tablepb.Event) Event {
	return Event{
		ID: id, Index: id >> EventIDShift, At: Time(m.GetAt()), Kind: EventKind(m.GetKind()),
		Call: ownership.CallID(m.GetCall()), App: ownership.AppID(m.GetApp()), Tenant: ownership.TenantID(m.GetTenant()),
		Partition: ownership.PartitionID(m.GetPartition()), Epoch: ownership.Epoch(m.GetEpoch()),
		Node: ownership.NodeID(m.GetNode()), From: ownership.NodeID(m.GetFrom()), Reason: ownership.Reason(m.GetReason()),
		Candidates: candidatesIn(m.GetCandidates()), Text: m.GetText(),
	}
}

// ReadEvent reads one event as it stands in the file.
func ReadEvent(key, value []byte) (Event, error) {
	var m tablepb.Event
	if len(key) != 8 {
		return Event{}, files.Damage("an event has a key of %d bytes", len(key))
	}
	if err := unsealInto(key, value, &m); err != nil {
		return Event{}, err
	}
	return eventIn(binary.BigEndian.Uint64(key), &m), nil
}
