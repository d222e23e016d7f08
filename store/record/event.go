package record

import (
	"encoding/binary"

	"tandem/ownership"
	"tandem/ownership/history"
	"tandem/store/files"
	"tandem/store/tablepb"
)

// EventIDShift is how far an event's id is shifted over its raft index: one act
// has room for a million events, numbered in its id.
const EventIDShift = 20

// EventKey is the key of an event's record.
func EventKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// SealEvent writes an event's record; the id is the key, not in it.
func SealEvent(id uint64, e *history.Event) []byte { return Seal(EventKey(id), eventOut(e)) }

func eventOut(e *history.Event) *tablepb.Event {
	var w timeWriter // times came in by a command, so they fit
	return &tablepb.Event{
		At: w.ns(e.At), Kind: string(e.Kind), Call: string(e.Call), Partition: uint32(e.Partition),
		Node: string(e.Node), From: string(e.From), Epoch: uint64(e.Epoch), App: string(e.App), Tenant: string(e.Tenant),
		Reason: string(e.Reason), Candidates: candidatesOut(e.Candidates), Text: e.Text,
	}
}

func eventIn(id uint64, m *tablepb.Event) history.Event {
	return history.Event{
		ID: id, Index: id >> EventIDShift, At: Time(m.GetAt()), Kind: history.Kind(m.GetKind()),
		Call: ownership.CallID(m.GetCall()), App: ownership.AppID(m.GetApp()), Tenant: ownership.TenantID(m.GetTenant()),
		Partition: ownership.PartitionID(m.GetPartition()), Epoch: ownership.Epoch(m.GetEpoch()),
		Node: ownership.NodeID(m.GetNode()), From: ownership.NodeID(m.GetFrom()), Reason: ownership.Reason(m.GetReason()),
		Candidates: candidatesIn(m.GetCandidates()), Text: m.GetText(),
	}
}

// ReadEvent reads one event as it stands in the file.
func ReadEvent(key, value []byte) (history.Event, error) {
	var m tablepb.Event
	if len(key) != 8 {
		return history.Event{}, files.Damage("an event has a key of %d bytes", len(key))
	}
	if err := unsealInto(key, value, &m); err != nil {
		return history.Event{}, err
	}
	return eventIn(binary.BigEndian.Uint64(key), &m), nil
}
