// Package record is what the table and the raft log hold, as bytes: the records of
// table.db and of snapshots, sealed, and the acts, as commands. Both are protobuf
// (tablepb). Formats only grow: a field number is never used again.
package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/tablepb"
)

// Every value in table.db is sealed: four bytes of CRC-32C over its key and its
// content go in front. bbolt checks only its two meta pages; the seal is what
// finds a flipped bit in a record, or a record under another's key.
const sealLen = 4

func checksum(key, content []byte) uint32 {
	return crc32.Update(crc32.Update(0, files.Castagnoli, key), files.Castagnoli, content)
}

// The kinds of records, as they enter sums and snapshots.
const (
	KindNode byte = iota + 1
	KindPartition
	KindCall
	KindEvent
	KindToken
	KindRules
	KindLedger
	KindDeposit
)

// SealBytes writes a record whose content is no message.
func SealBytes(key, content []byte) []byte {
	b := make([]byte, sealLen, sealLen+len(content))
	binary.LittleEndian.PutUint32(b, checksum(key, content))
	return append(b, content...)
}

// Seal writes a record as it stands in table.db.
func Seal(key []byte, m proto.Message) []byte {
	b := make([]byte, sealLen, sealLen+proto.Size(m))
	b, err := deterministic.MarshalAppend(b, m)
	if err != nil {
		// The only cause is a string that is not UTF-8, which commands cannot
		// carry: DecodeAct has refused it.
		panic(fmt.Sprintf("writing a record of table.db: %v", err))
	}
	binary.LittleEndian.PutUint32(b, checksum(key, b[sealLen:]))
	return b
}

// Unseal returns the content of a sealed value, which lives as long as the value.
func Unseal(key, value []byte) ([]byte, error) {
	if len(value) < sealLen {
		return nil, fmt.Errorf("the record %q is cut short: %w", key, files.ErrDamaged)
	}
	content := value[sealLen:]
	if checksum(key, content) != binary.LittleEndian.Uint32(value) {
		return nil, fmt.Errorf("the checksum of the record %q does not match: %w", key, files.ErrDamaged)
	}
	return content, nil
}

func unsealInto(key, value []byte, m proto.Message) error {
	content, err := Unseal(key, value)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(content, m); err != nil {
		return fmt.Errorf("the record %q is no %s: %w: %w", key, m.ProtoReflect().Descriptor().Name(), files.ErrDamaged, err)
	}
	return nil
}

// NodeKey is the key of a node's record.
func NodeKey(id ownership.NodeID) []byte { return []byte(id) }

// PartitionKey is the key of a partition's record.
func PartitionKey(id ownership.PartitionID) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(id))
}

// SealNode writes a node's record.
func SealNode(n *ownership.Node) (key, value []byte) {
	var w timeWriter // times came in by a command, so they fit
	key = NodeKey(n.ID)
	return key, Seal(key, nodeOut(n, &w))
}

// ReadNode reads a node's record. The error is files.ErrDamaged.
func ReadNode(key, value []byte) (ownership.Node, error) {
	var m tablepb.Node
	if err := unsealInto(key, value, &m); err != nil {
		return ownership.Node{}, err
	}
	var r reader
	n := r.node(&m)
	if r.bad != nil || string(n.ID) != string(key) {
		return n, files.Damage("the record of node %q is not right: %w", key, r.bad)
	}
	return n, nil
}

func nodeOut(n *ownership.Node, w *timeWriter) *tablepb.Node {
	return &tablepb.Node{
		Id: string(n.ID), Region: string(n.Region), Zone: n.Zone, PublicUrl: n.PublicURL, ClusterAddr: n.ClusterAddr,
		AdminUrl: n.AdminURL, Capacity: int64(clampCount(n.Capacity)), State: uint32(n.State), Voter: n.Voter,
		Incarnation: n.Incarnation, Version: n.Version, Format: n.Format, JoinedAt: w.ns(n.JoinedAt), DrainBy: w.ns(n.DrainBy),
		Process: n.Process, GoneAt: w.ns(n.GoneAt),
	}
}

func (r *reader) node(m *tablepb.Node) ownership.Node {
	known(r, m)
	return ownership.Node{
		ID: ownership.NodeID(m.GetId()), Region: ownership.Region(m.GetRegion()), Zone: m.GetZone(),
		PublicURL: m.GetPublicUrl(), ClusterAddr: m.GetClusterAddr(), AdminURL: m.GetAdminUrl(),
		Capacity: r.count(m.GetCapacity(), "a node's capacity"), State: ownership.NodeState(m.GetState()), Voter: m.GetVoter(),
		Incarnation: m.GetIncarnation(), Version: m.GetVersion(), Format: m.GetFormat(),
		JoinedAt: Time(m.GetJoinedAt()), DrainBy: Time(m.GetDrainBy()),
		Process: m.GetProcess(), GoneAt: Time(m.GetGoneAt()),
	}
}

// SealPartition writes a partition's record. It leaves out what follows from the
// calls: the counts of live ones.
func SealPartition(p *ownership.Partition) (key, value []byte) {
	key = PartitionKey(p.ID)
	return key, Seal(key, partitionOut(p))
}

// ReadPartition reads a partition's record. The error is files.ErrDamaged.
func ReadPartition(key, value []byte) (ownership.Partition, error) {
	var m tablepb.Partition
	if err := unsealInto(key, value, &m); err != nil {
		return ownership.Partition{}, err
	}
	return partitionIn(&m), nil
}

func partitionOut(p *ownership.Partition) *tablepb.Partition {
	var w timeWriter // times came in by a command, so they fit
	m := &tablepb.Partition{
		Id: uint32(p.ID), Owner: string(p.Owner), Epoch: uint64(p.Epoch), BornOn: string(p.BornOn), Retired: p.Retired,
		RetiredAt: w.ns(p.RetiredAt),
	}
	for i := range p.Reserved {
		r := &p.Reserved[i]
		m.Reserved = append(m.Reserved, &tablepb.Reservation{
			Node: string(r.Node), Epoch: uint64(r.Epoch), Since: w.ns(r.Since), Lapsed: ownership.Words[string](r.Lapsed), Final: r.Final,
		})
	}
	return m
}

func partitionIn(m *tablepb.Partition) ownership.Partition {
	p := ownership.Partition{
		ID: ownership.PartitionID(m.GetId()), Owner: ownership.NodeID(m.GetOwner()), Epoch: ownership.Epoch(m.GetEpoch()),
		BornOn: ownership.NodeID(m.GetBornOn()), Retired: m.GetRetired(), RetiredAt: Time(m.GetRetiredAt()),
	}
	for _, r := range m.GetReserved() {
		p.Reserved = append(p.Reserved, ownership.Reservation{
			Node: ownership.NodeID(r.GetNode()), Epoch: ownership.Epoch(r.GetEpoch()), Since: Time(r.GetSince()),
			Lapsed: ownership.Words[ownership.AppID](r.GetLapsed()), Final: r.GetFinal(),
		})
	}
	return p
}

// SealCall writes a call's record.
func SealCall(c *ownership.Call) (key, value []byte) {
	key = []byte(c.ID)
	return key, Seal(key, callOut(c))
}

// CallOf reads the content of a call's record.
func CallOf(content []byte) (ownership.Call, error) {
	var m tablepb.Call
	if err := proto.Unmarshal(content, &m); err != nil {
		return ownership.Call{}, err
	}
	return callIn(&m), nil
}

func callOut(c *ownership.Call) *tablepb.Call {
	var w timeWriter // times came in by a command, so they fit
	return &tablepb.Call{
		Partition: uint32(c.Partition), Epoch: uint64(c.Epoch), State: uint32(c.State), Pinned: c.Pinned,
		Groups: ownership.Words[string](c.Groups), SeenAt: w.ns(c.SeenAt),
		Id: string(c.ID), RawCall: c.RawCall, App: string(c.App), Tenant: string(c.Tenant), Paired: c.Paired,
		Observed: c.Observed, Thread: c.Thread, Organizer: c.Organizer, Modalities: c.Modalities,
		Deadline: w.ns(c.Deadline), ClaimedAt: w.ns(c.ClaimedAt), AnsweredAt: w.ns(c.AnsweredAt), EndedAt: w.ns(c.EndedAt),
		Via: string(c.Via), Ending: c.Ending,
		PlacedIn: uint32(c.Placement.Partition), PlacedEpoch: uint64(c.Placement.Epoch), PlacedOn: string(c.Placement.Owner),
		Reason: string(c.Placement.Reason), Candidates: candidatesOut(c.Placement.Candidates),
	}
}

func callIn(m *tablepb.Call) ownership.Call {
	return ownership.Call{
		ID: ownership.CallID(m.GetId()), RawCall: m.GetRawCall(),
		App: ownership.AppID(m.GetApp()), Tenant: ownership.TenantID(m.GetTenant()),
		Partition: ownership.PartitionID(m.GetPartition()), Epoch: ownership.Epoch(m.GetEpoch()),
		State: ownership.CallState(m.GetState()), Pinned: m.GetPinned(), Paired: m.GetPaired(),
		Groups: ownership.Words[ownership.GroupKey](m.GetGroups()), Observed: m.GetObserved(), Thread: m.GetThread(),
		Organizer: m.GetOrganizer(), Modalities: ownership.Words[string](m.GetModalities()),
		Deadline: Time(m.GetDeadline()), ClaimedAt: Time(m.GetClaimedAt()), AnsweredAt: Time(m.GetAnsweredAt()),
		EndedAt: Time(m.GetEndedAt()), SeenAt: Time(m.GetSeenAt()), Via: ownership.NodeID(m.GetVia()), Ending: m.GetEnding(),
		Placement: ownership.Placement{
			Partition: ownership.PartitionID(m.GetPlacedIn()), Epoch: ownership.Epoch(m.GetPlacedEpoch()),
			Owner: ownership.NodeID(m.GetPlacedOn()), Reason: ownership.Reason(m.GetReason()),
			Candidates: candidatesIn(m.GetCandidates()),
		},
	}
}

func candidatesOut(in []ownership.Candidate) []*tablepb.Candidate {
	if len(in) == 0 {
		return nil
	}
	all := make([]tablepb.Candidate, len(in)) // one allocation for all
	out := make([]*tablepb.Candidate, len(in))
	for i, c := range in {
		all[i].Node, all[i].Score, all[i].Rejected = string(c.Node), c.Score, c.Rejected
		out[i] = &all[i]
	}
	return out
}

func candidatesIn(in []*tablepb.Candidate) []ownership.Candidate {
	if len(in) == 0 {
		return nil
	}
	out := make([]ownership.Candidate, len(in))
	for i, c := range in {
		out[i] = ownership.Candidate{Node: ownership.NodeID(c.GetNode()), Score: c.GetScore(), Rejected: c.GetRejected()}
	}
	return out
}

// Sum is one record's share in the table's sum. The sum over all records
// is the same on every node at the same applied index, in whatever order the
// records were written, and it is kept up to date record by record.
func Sum(kind byte, key, value []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write([]byte{kind, byte(len(key)), byte(len(key) >> 8)})
	_, _ = d.Write(key)
	_, _ = d.Write(value)
	return d.Sum64()
}
