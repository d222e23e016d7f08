package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	"tandem/ownership"
	"tandem/store/tablepb"
)

// Every value in table.db is sealed: four bytes of CRC-32C over its key and its
// content go in front. bbolt checks only its two meta pages; the seal is what
// finds a flipped bit in a record, or a record under another's key.
const sealLen = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, content []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, content)
}

// seal writes a record as it stands in table.db.
func seal(key []byte, m proto.Message) []byte {
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

// unseal returns the content of a sealed value, which lives as long as the value.
func unseal(key, value []byte) ([]byte, error) {
	if len(value) < sealLen {
		return nil, fmt.Errorf("the record %q is cut short: %w", key, ErrDamaged)
	}
	content := value[sealLen:]
	if checksum(key, content) != binary.LittleEndian.Uint32(value) {
		return nil, fmt.Errorf("the checksum of the record %q does not match: %w", key, ErrDamaged)
	}
	return content, nil
}

// unsealInto reads a sealed record into a message.
func unsealInto(key, value []byte, m proto.Message) error {
	content, err := unseal(key, value)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(content, m); err != nil {
		return fmt.Errorf("the record %q is no %s: %w: %w", key, m.ProtoReflect().Descriptor().Name(), ErrDamaged, err)
	}
	return nil
}

func nodeKey(id ownership.NodeID) []byte { return []byte(id) }

func partitionKey(id ownership.PartitionID) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(id))
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
	if m == nil {
		m = &tablepb.Node{}
	}
	r.known(m)
	return ownership.Node{
		ID: ownership.NodeID(m.GetId()), Region: ownership.Region(m.GetRegion()), Zone: m.GetZone(),
		PublicURL: m.GetPublicUrl(), ClusterAddr: m.GetClusterAddr(), AdminURL: m.GetAdminUrl(),
		Capacity: r.count(m.GetCapacity(), "a node's capacity"), State: ownership.NodeState(m.GetState()), Voter: m.GetVoter(),
		Incarnation: m.GetIncarnation(), Version: m.GetVersion(), Format: m.GetFormat(),
		JoinedAt: readTime(m.GetJoinedAt()), DrainBy: readTime(m.GetDrainBy()),
		Process: m.GetProcess(), GoneAt: readTime(m.GetGoneAt()),
	}
}

// partitionOut leaves out what follows from the calls: the counts of live ones.
func partitionOut(p *ownership.Partition) *tablepb.Partition {
	var w timeWriter // times came in by a command, so they fit
	m := &tablepb.Partition{
		Id: uint32(p.ID), Owner: string(p.Owner), Epoch: uint64(p.Epoch), BornOn: string(p.BornOn), Retired: p.Retired,
		RetiredAt: w.ns(p.RetiredAt),
	}
	for i := range p.Reserved {
		r := &p.Reserved[i]
		m.Reserved = append(m.Reserved, &tablepb.Reservation{
			Node: string(r.Node), Epoch: uint64(r.Epoch), Since: w.ns(r.Since), Lapsed: words[string](r.Lapsed), Final: r.Final,
		})
	}
	return m
}

func partitionIn(m *tablepb.Partition) ownership.Partition {
	p := ownership.Partition{
		ID: ownership.PartitionID(m.GetId()), Owner: ownership.NodeID(m.GetOwner()), Epoch: ownership.Epoch(m.GetEpoch()),
		BornOn: ownership.NodeID(m.GetBornOn()), Retired: m.GetRetired(), RetiredAt: readTime(m.GetRetiredAt()),
	}
	for _, r := range m.GetReserved() {
		p.Reserved = append(p.Reserved, ownership.Reservation{
			Node: ownership.NodeID(r.GetNode()), Epoch: ownership.Epoch(r.GetEpoch()), Since: readTime(r.GetSince()),
			Lapsed: words[ownership.AppID](r.GetLapsed()), Final: r.GetFinal(),
		})
	}
	return p
}

func callOut(c *ownership.Call) *tablepb.Call {
	var w timeWriter // times came in by a command, so they fit
	return &tablepb.Call{
		Partition: uint32(c.Partition), Epoch: uint64(c.Epoch), State: uint32(c.State), Pinned: c.Pinned,
		Groups: words[string](c.Groups), SeenAt: w.ns(c.SeenAt),
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
		Groups: words[ownership.GroupKey](m.GetGroups()), Observed: m.GetObserved(), Thread: m.GetThread(),
		Organizer: m.GetOrganizer(), Modalities: words[string](m.GetModalities()),
		Deadline: readTime(m.GetDeadline()), ClaimedAt: readTime(m.GetClaimedAt()), AnsweredAt: readTime(m.GetAnsweredAt()),
		EndedAt: readTime(m.GetEndedAt()), SeenAt: readTime(m.GetSeenAt()), Via: ownership.NodeID(m.GetVia()), Ending: m.GetEnding(),
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
