package record

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"tandem/ownership"
)

// Head is the part of a call's record that the index keeps.
type Head struct {
	Partition ownership.PartitionID
	Epoch     ownership.Epoch
	State     ownership.CallState
	Pinned    bool
	App       []byte // lives as long as the record
	Observed  []byte // lives as long
	Groups    []ownership.GroupKey
	Paired    bool
	Deadline  int64
	SeenAt    int64
	EndedAt   int64
}

// The numbers of the fields of tablepb.Call that the index keeps.
const (
	fieldPartition protowire.Number = 1
	fieldEpoch     protowire.Number = 2
	fieldState     protowire.Number = 3
	fieldPinned    protowire.Number = 4
	fieldGroups    protowire.Number = 5
	fieldSeenAt    protowire.Number = 6
	fieldApp       protowire.Number = 8
	fieldPaired    protowire.Number = 10
	fieldObserved  protowire.Number = 11
	fieldDeadline  protowire.Number = 15
	fieldEndedAt   protowire.Number = 18
)

// HeadOf reads the head of a call's record. It is what makes a start with a
// million calls quick: the other fields are passed over, and of the rest only the
// keys of groups are copied.
func HeadOf(b []byte) (Head, error) {
	var h Head
	for len(b) > 0 {
		num, typ, size := protowire.ConsumeField(b)
		if size < 0 {
			return h, fmt.Errorf("its record is no message: %w", protowire.ParseError(size))
		}
		_, _, tag := protowire.ConsumeTag(b)
		value := b[tag:size]
		b = b[size:]
		switch typ {
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(value)
			h.set(num, v)
		case protowire.BytesType:
			v, _ := protowire.ConsumeBytes(value)
			h.setBytes(num, v)
		}
	}
	return h, nil
}

func (h *Head) set(num protowire.Number, v uint64) {
	switch num {
	case fieldPartition:
		h.Partition = ownership.PartitionID(v)
	case fieldEpoch:
		h.Epoch = ownership.Epoch(v)
	case fieldState:
		h.State = ownership.CallState(v)
	case fieldPinned:
		h.Pinned = v != 0
	case fieldPaired:
		h.Paired = v != 0
	case fieldDeadline:
		h.Deadline = int64(v)
	case fieldSeenAt:
		h.SeenAt = int64(v)
	case fieldEndedAt:
		h.EndedAt = int64(v)
	}
}

func (h *Head) setBytes(num protowire.Number, v []byte) {
	switch num {
	case fieldApp:
		h.App = v
	case fieldObserved:
		h.Observed = v
	case fieldGroups:
		h.Groups = append(h.Groups, ownership.GroupKey(v))
	}
}
