package store

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"tandem/ownership"
)

// callHead is the part of a call's record that the index keeps.
type callHead struct {
	partition ownership.PartitionID
	epoch     ownership.Epoch
	state     ownership.CallState
	pinned    bool
	app       []byte // lives as long as the record
	observed  []byte // lives as long
	groups    []ownership.GroupKey
	paired    bool
	deadline  int64
	seenAt    int64
	endedAt   int64
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

// scanCall reads the head of a call's record. It is what makes a start with a
// million calls quick: the other fields are passed over, and of the rest only the
// keys of groups are copied.
func scanCall(b []byte) (callHead, error) {
	var h callHead
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return h, fmt.Errorf("its record is no message: %w", protowire.ParseError(n))
		}
		b = b[n:]
		switch {
		case typ == protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return h, fmt.Errorf("its record is no message: %w", protowire.ParseError(n))
			}
			b = b[n:]
			h.set(num, v)
		case typ == protowire.BytesType && (num == fieldGroups || num == fieldApp || num == fieldObserved):
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return h, fmt.Errorf("its record is no message: %w", protowire.ParseError(n))
			}
			b = b[n:]
			switch num {
			case fieldApp:
				h.app = v
			case fieldObserved:
				h.observed = v
			default:
				h.groups = append(h.groups, ownership.GroupKey(v))
			}
		default:
			n := protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return h, fmt.Errorf("its record is no message: %w", protowire.ParseError(n))
			}
			b = b[n:]
		}
	}
	return h, nil
}

func (h *callHead) set(num protowire.Number, v uint64) {
	switch num {
	case fieldPartition:
		h.partition = ownership.PartitionID(v)
	case fieldEpoch:
		h.epoch = ownership.Epoch(v)
	case fieldState:
		h.state = ownership.CallState(v)
	case fieldPinned:
		h.pinned = v != 0
	case fieldPaired:
		h.paired = v != 0
	case fieldDeadline:
		h.deadline = int64(v)
	case fieldSeenAt:
		h.seenAt = int64(v)
	case fieldEndedAt:
		h.endedAt = int64(v)
	}
}
