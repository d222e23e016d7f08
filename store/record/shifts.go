package record

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// ofCalls are the numbers in Command of the acts that change calls only: claims,
// answers, activity, ends, orphans taken up, and batches of them.
var ofCalls = map[protowire.Number]bool{2: true, 3: true, 4: true, 5: true, 17: true, 18: true}

// ShiftsOwners reports whether the act in an entry of the raft log, as EncodeAct
// gave it, may change who owns or is owed what: it is none of those that change
// calls only. It reads no more of the entry than that.
func ShiftsOwners(entry []byte) bool {
	for len(entry) > 0 {
		n, _, size := protowire.ConsumeField(entry)
		if size < 0 {
			return true
		}
		if ofCalls[n] {
			return false
		}
		entry = entry[size:]
	}
	return true
}
