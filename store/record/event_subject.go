package record

import (
	"google.golang.org/protobuf/encoding/protowire"

	"tandem/ownership"
)

// The numbers of an event's fields in table.proto.
const (
	eventKind      = 2
	eventCall      = 3
	eventPartition = 4
)

// EventSubject tells which call and partition a sealed event is about, and its kind, without
// reading the rest as ReadEvent does, which checks it all. The bytes live as long as those
// that are given; of bad ones nothing is told.
func EventSubject(sealed []byte) (call []byte, partition ownership.PartitionID, kind []byte) {
	if len(sealed) < sealLen {
		return nil, 0, nil
	}
	for b := sealed[sealLen:]; len(b) > 0; {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, 0, nil
		}
		b = b[n:]
		switch {
		case wire == protowire.BytesType && (number == eventKind || number == eventCall):
			var text []byte
			if text, n = protowire.ConsumeBytes(b); number == eventCall {
				call = text
			} else {
				kind = text
			}
		case wire == protowire.VarintType && number == eventPartition:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			partition = ownership.PartitionID(v) //nolint:gosec // it was written as 32 bits
		default:
			n = protowire.ConsumeFieldValue(number, wire, b)
		}
		if n < 0 {
			return nil, 0, nil
		}
		b = b[n:]
	}
	return call, partition, kind
}
