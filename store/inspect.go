package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"tandem/ownership"
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
	Live       int              `json:"live"`   // of the calls
	Tokens     int              `json:"tokens"` // of the admin doors
	// NodeIDs and DoorTokens say which.
	NodeIDs    []ownership.NodeID `json:"node_ids,omitempty"`
	DoorTokens []TokenNote        `json:"door_tokens,omitempty"`
	Bytes      int64              `json:"bytes"`
	Hash       string             `json:"hash"` // as Table.Hash
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
// record, which it gives back. accept may refuse the head before anything else
// is read. Keys and values live until put returns.
func readSnapshot(from io.Reader, accept func(SnapshotInfo) error, put func(kind byte, key, value []byte) error) (SnapshotInfo, []byte, error) {
	count := &countReader{r: from}
	in := &hashReader{r: bufio.NewReaderSize(count, 1<<16), sum: sha256.New()}
	info, err := readHead(in)
	if err != nil {
		return info, nil, err
	}
	if accept != nil {
		if err := accept(info); err != nil {
			return info, nil, err
		}
	}
	check := loader{st: newState()}
	s := snapshotReader{in: in}
	for {
		kind, key, value, err := s.record()
		if err != nil {
			return info, nil, err
		}
		if kind == kindMeta {
			if err := check.readMeta(key, value); err != nil {
				return info, nil, err
			}
			break
		}
		if err := check.visit(bucketOf(kind), key, value); err != nil {
			return info, nil, err
		}
		switch kind {
		case kindNode:
			info.Nodes++
		case kindPartition:
			info.Partitions++
		case kindCall:
			info.Calls++
		case kindEvent:
			info.Events++
		case kindToken:
			info.Tokens++
		}
		if err := put(kind, key, value); err != nil {
			return info, nil, err
		}
	}
	if err := readTrailer(in); err != nil {
		return info, nil, err
	}
	if err := check.check(); err != nil {
		return info, nil, err
	}
	m := check.meta
	if m.GetDeployment() != info.Deployment || m.GetRegion() != string(info.Region) || m.GetApplied() != info.Applied || m.GetTerm() != info.Term ||
		m.GetIdentity() != info.Identity {
		return info, nil, damage("the head and the end of the snapshot tell different stories")
	}
	for _, p := range check.st.parts {
		info.Live += p.all()
	}
	info.NodeIDs, info.DoorTokens = slices.Sorted(maps.Keys(check.st.nodes)), notesOf(check.st.tokens)
	info.Bytes, info.Hash = count.n, fmt.Sprintf("%016x", m.GetSum())
	return info, seal(metaKey, m), nil
}

func bucketOf(kind byte) string {
	for _, b := range snapshotBuckets {
		if b.kind == kind {
			return string(b.bucket)
		}
	}
	return "of kind " + fmt.Sprint(kind)
}

// maxIndex is the highest raft index and term that a snapshot may have: at a million
// entries a second a region gets there in nine years. Raft counts on from there.
const maxIndex = 1 << 48

func readHead(in *hashReader) (SnapshotInfo, error) {
	var fixed [len(snapshotMagic) + 4]byte
	if _, err := io.ReadFull(in, fixed[:]); err != nil {
		return SnapshotInfo{}, damage("the snapshot is cut short in its head: %w", err)
	}
	if string(fixed[:len(snapshotMagic)]) != snapshotMagic {
		return SnapshotInfo{}, damage("this is no snapshot of Tandem")
	}
	n := binary.BigEndian.Uint32(fixed[len(snapshotMagic):])
	if n > maxHead {
		return SnapshotInfo{}, damage("the head of the snapshot claims %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(in, b); err != nil {
		return SnapshotInfo{}, damage("the snapshot is cut short in its head: %w", err)
	}
	var h tablepb.SnapshotHead
	if err := proto.Unmarshal(b, &h); err != nil {
		return SnapshotInfo{}, damage("the head of the snapshot is unreadable: %w", err)
	}
	if h.GetLayout() > LayoutFormat || h.GetFormat() > CommandFormat {
		return SnapshotInfo{}, fmt.Errorf("the snapshot has layout %d and command format %d, this software reads up to %d and %d; upgrade it: %w",
			h.GetLayout(), h.GetFormat(), LayoutFormat, CommandFormat, ErrNewerLayout)
	}
	if h.GetApplied() > maxIndex || h.GetTerm() > maxIndex {
		return SnapshotInfo{}, damage("the snapshot says that it ends at entry %d of term %d, where no region gets", h.GetApplied(), h.GetTerm())
	}
	return SnapshotInfo{
		Deployment: h.GetDeployment(), Region: ownership.Region(h.GetRegion()), Identity: h.GetIdentity(), Applied: h.GetApplied(), Term: h.GetTerm(),
		Format: h.GetFormat(), MadeAt: readTime(h.GetMadeAt()), MadeBy: ownership.NodeID(h.GetMadeBy()),
	}, nil
}

// readTrailer compares the checksum and proves that nothing follows it.
func readTrailer(in *hashReader) error {
	want := in.sum.Sum(nil)
	got := make([]byte, sha256.Size)
	if _, err := io.ReadFull(in.r, got); err != nil {
		return damage("the snapshot is cut short before its checksum: %w", err)
	}
	if !bytes.Equal(got, want) {
		return damage("the checksum of the snapshot does not match")
	}
	switch _, err := in.r.ReadByte(); {
	case err == nil:
		return damage("something follows the end of the snapshot")
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("reading the end of the snapshot: %w", err)
	}
	return nil
}

// snapshotReader reads records; the buffers are used again.
type snapshotReader struct {
	in         *hashReader
	key, value []byte
	lastKind   byte
	lastKey    []byte
}

func (s *snapshotReader) record() (kind byte, key, value []byte, err error) {
	kind, err = s.in.ReadByte()
	if err != nil {
		return 0, nil, nil, damage("the snapshot is cut short: %w", err)
	}
	klen, err := binary.ReadUvarint(s.in)
	if err != nil {
		return 0, nil, nil, damage("the snapshot is cut short: %w", err)
	}
	vlen, err := binary.ReadUvarint(s.in)
	if err != nil {
		return 0, nil, nil, damage("the snapshot is cut short: %w", err)
	}
	if klen == 0 || klen > maxKey || vlen > maxValue {
		return 0, nil, nil, damage("a record of the snapshot claims %d and %d bytes", klen, vlen)
	}
	if s.key, err = s.read(s.key, int(klen)); err != nil {
		return 0, nil, nil, err
	}
	if s.value, err = s.read(s.value, int(vlen)); err != nil {
		return 0, nil, nil, err
	}
	if kind < s.lastKind || kind == s.lastKind && bytes.Compare(s.key, s.lastKey) <= 0 {
		return 0, nil, nil, damage("the record %q of the snapshot is out of order", s.key)
	}
	s.lastKind, s.lastKey = kind, append(s.lastKey[:0], s.key...)
	return kind, s.key, s.value, nil
}

// read fills a buffer in steps, so that a false length costs no memory.
func (s *snapshotReader) read(b []byte, n int) ([]byte, error) {
	const step = 1 << 16
	b = b[:0]
	for len(b) < n {
		k := min(step, n-len(b))
		b = append(b, make([]byte, k)...)
		if _, err := io.ReadFull(s.in, b[len(b)-k:]); err != nil {
			return b, damage("the snapshot is cut short: %w", err)
		}
	}
	return b, nil
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
