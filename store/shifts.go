package store

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"tandem/ownership"
)

// ofCalls are the numbers in Command of the acts that change calls only: claims,
// answers, activity, ends, orphans taken up, and batches of them.
var ofCalls = map[protowire.Number]bool{2: true, 3: true, 4: true, 5: true, 17: true, 18: true}

// ShiftsOwners reports whether the act in an entry of the raft log, as EncodeAct
// gave it, may change who owns or is owed what: it is none of those that change
// calls only. It reads no more of the entry than that.
func ShiftsOwners(entry []byte) bool {
	for len(entry) > 0 {
		n, typ, size := protowire.ConsumeTag(entry)
		if size < 0 {
			return true
		}
		if ofCalls[n] {
			return false
		}
		entry = entry[size:]
		if size = protowire.ConsumeFieldValue(n, typ, entry); size < 0 {
			return true
		}
		entry = entry[size:]
	}
	return true
}

// Reserved returns the partitions in which something is reserved for a former owner,
// by number. It waits for no act, as all that a renewal asks.
func (t *Table) Reserved() []ownership.Partition {
	var out []ownership.Partition
	for _, p := range t.roster.Load().parts {
		if len(p.rec.Reserved) > 0 && !p.rec.Retired {
			out = append(out, p.record())
		}
	}
	slices.SortFunc(out, func(a, b ownership.Partition) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
