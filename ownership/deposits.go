package ownership

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// FormatDeposits is the first command format in which the region's table holds deposits.
const FormatDeposits uint32 = 6

// Bounds of the deposits of a region.
const (
	MaxDeposits     = 512      // how many there are
	MaxDepositName  = 300      // bytes of a name
	MaxDepositValue = 64 << 10 // bytes of a value
	MaxDepositBytes = 2 << 20  // bytes of all values
	MaxDepositText  = 300      // bytes of what the history is told
)

// Deposit is something small that the nodes of a region share by its table: a
// certificate, its key, the lock of who orders the next one. The table takes the value
// for bytes. Whoever deposits a secret seals it before: values stand in the log, in
// table.db and in snapshots as they came.
type Deposit struct {
	Name  string
	Value []byte // must not be changed
	At    time.Time
}

// Digest tells one value of a name from another: SHA-256, hex; empty: there is none.
func (d Deposit) Digest() string {
	if len(d.Value) == 0 {
		return ""
	}
	sum := sha256.Sum256(d.Value)
	return hex.EncodeToString(sum[:])
}

// FindDeposit finds a name in a list that is sorted by name: where it stands or would
// stand, and whether it is there.
func FindDeposit(all []Deposit, name string) (int, bool) {
	return slices.BinarySearchFunc(all, name, func(d Deposit, name string) int { return cmp.Compare(d.Name, name) })
}

// AnyDeposit as SetDeposit.Expect stands for whatever is there, or nothing.
const AnyDeposit = "*"

// SetDeposit puts a value under a name, or takes it out where the value is empty. It is
// refused with ErrConflict unless what is there has the digest Expect (empty: nothing is
// there): of two nodes that want one lock one gets it.
type SetDeposit struct {
	At     time.Time
	Name   string
	Value  []byte
	Expect string
	Text   string // for the history; empty: it is told nothing
}

func (a SetDeposit) at() time.Time        { return a.At }
func (a SetDeposit) from(t time.Time) Act { a.At = t; return a }
