package store

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/record"
	"tandem/store/snapfile"
	"tandem/store/tablepb"
)

// SnapshotInfo is what a snapshot says of itself, verified by its checksum.
type SnapshotInfo struct {
	Deployment string           `json:"deployment"`
	Region     ownership.Region `json:"region"`
	Identity   string           `json:"identity,omitempty"` // of the region, see ownership.Found
	Applied    uint64           `json:"applied"`            // raft index; a restore must name it, see raft.SnapshotMeta.Index
	Term       uint64           `json:"term"`
	Format     uint32           `json:"format"`  // command format that the region wrote
	MadeAt     time.Time        `json:"made_at"` // by the clock of MadeBy
	MadeBy     ownership.NodeID `json:"made_by"`
	Nodes      int              `json:"nodes"`
	Partitions int              `json:"partitions"`
	Calls      int              `json:"calls"`
	Events     int              `json:"events"`
	Live       int              `json:"live"`     // of the calls
	Tokens     int              `json:"tokens"`   // of the admin doors
	Rules      int              `json:"rules"`    // versions of the region's rules
	Deposits   int              `json:"deposits"` // of certificates and their keys, sealed
	Ledger     uint64           `json:"ledger"`   // entries of the ledger that were ever written
	// NodeIDs and DoorTokens say which.
	NodeIDs    []ownership.NodeID `json:"node_ids,omitempty"`
	DoorTokens []TokenNote        `json:"door_tokens,omitempty"`
	Bytes      int64              `json:"bytes"`
	Hash       string             `json:"hash"` // as Table.Hash
}

// TokenNote is what a snapshot says of a token of the admin doors.
type TokenNote struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

func notesOf(tokens []ownership.DoorToken) []TokenNote {
	var out []TokenNote
	for _, t := range tokens {
		out = append(out, TokenNote{t.Name, t.Roles})
	}
	return out
}

// Inspect reads a whole snapshot and verifies its checksum and every record.
// It does not ask whose it is: compare Deployment and Region before a restore.
func Inspect(r io.Reader) (SnapshotInfo, error) {
	info, _, err := readSnapshot(r, nil, func(byte, []byte, []byte) error { return nil })
	if err != nil {
		return SnapshotInfo{}, fmt.Errorf("inspecting a snapshot: %w", err)
	}
	return info, nil
}

// readSnapshot verifies a snapshot and calls put with each record but the meta
// record, which it gives back. begin gets the head, and may refuse it, before
// anything else is read. Keys and values live until put returns.
func readSnapshot(from io.Reader, begin func(*tablepb.SnapshotHead) error, put func(kind byte, key, value []byte) error) (SnapshotInfo, *tablepb.Meta, error) {
	in := snapfile.NewReader(from)
	head, err := in.Head()
	if err == nil {
		err = reads(head)
	}
	if err == nil && begin != nil {
		err = begin(head)
	}
	if err != nil {
		return SnapshotInfo{}, nil, err
	}
	info := infoOf(head)
	check := loader{st: newState()}
	for {
		kind, key, value, err := in.Record()
		if err != nil {
			return info, nil, err
		}
		if kind == snapfile.KindMeta {
			if err := check.readMeta(key, value); err != nil {
				return info, nil, err
			}
			break
		}
		if err := check.visit(bucketOf(kind), key, value); err != nil {
			return info, nil, err
		}
		info.count(kind)
		if err := put(kind, key, value); err != nil {
			return info, nil, err
		}
	}
	if info.Bytes, err = in.End(); err != nil {
		return info, nil, err
	}
	if err := check.check(); err != nil {
		return info, nil, err
	}
	m := check.meta
	if m.GetDeployment() != info.Deployment || m.GetRegion() != string(info.Region) || m.GetApplied() != info.Applied || m.GetTerm() != info.Term ||
		m.GetIdentity() != info.Identity {
		return info, nil, files.Damage("the head and the end of the snapshot tell different stories")
	}
	info.Ledger = check.st.ledger.tree.Size()
	for _, p := range check.st.parts {
		info.Live += p.all()
	}
	info.NodeIDs, info.DoorTokens = slices.Sorted(maps.Keys(check.st.nodes)), notesOf(check.st.tokens)
	info.Hash = fmt.Sprintf("%016x", m.GetSum())
	return info, m, nil
}

// maxIndex is the highest raft index and term that a snapshot may have: at a million
// entries a second a region gets there in nine years. Raft counts on from there.
const maxIndex = 1 << 48

// reads refuses the head of a snapshot that this software cannot read.
func reads(h *tablepb.SnapshotHead) error {
	if h.GetLayout() > LayoutFormat || h.GetFormat() > record.CommandFormat {
		return fmt.Errorf("the snapshot has layout %d and command format %d, this software reads up to %d and %d; upgrade it: %w",
			h.GetLayout(), h.GetFormat(), LayoutFormat, record.CommandFormat, ErrNewerLayout)
	}
	if h.GetApplied() > maxIndex || h.GetTerm() > maxIndex {
		return files.Damage("the snapshot says that it ends at entry %d of term %d, where no region gets", h.GetApplied(), h.GetTerm())
	}
	return nil
}

func infoOf(h *tablepb.SnapshotHead) SnapshotInfo {
	return SnapshotInfo{
		Deployment: h.GetDeployment(), Region: ownership.Region(h.GetRegion()), Identity: h.GetIdentity(), Applied: h.GetApplied(), Term: h.GetTerm(),
		Format: h.GetFormat(), MadeAt: record.Time(h.GetMadeAt()), MadeBy: ownership.NodeID(h.GetMadeBy()),
	}
}

func (s *SnapshotInfo) count(kind byte) {
	switch kind {
	case record.KindNode:
		s.Nodes++
	case record.KindPartition:
		s.Partitions++
	case record.KindCall:
		s.Calls++
	case record.KindEvent:
		s.Events++
	case record.KindToken:
		s.Tokens++
	case record.KindRules:
		s.Rules++
	case record.KindDeposit:
		s.Deposits++
	}
}
