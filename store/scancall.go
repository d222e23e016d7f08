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
	app       []byte   // lives as long as the record
	groups    [][]byte // live as long
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
	fieldEndedAt   protowire.Number = 18
)

// scanCall reads the head of a call's record. It is what makes a start with a
// million calls quick: the other twenty fields are passed over, and nothing is
// copied.
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
		case typ == protowire.BytesType && (num == fieldGroups || num == fieldApp):
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return h, fmt.Errorf("its record is no message: %w", protowire.ParseError(n))
			}
			b = b[n:]
			if num == fieldApp {
				h.app = v
			} else {
				h.groups = append(h.groups, v)
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
	case fieldSeenAt:
		h.seenAt = int64(v)
	case fieldEndedAt:
		h.endedAt = int64(v)
	}
}
