package store

import (
	"fmt"
	"testing"
	"time"

	"tandem/ownership"
)

// bigMeeting makes a meeting of n live calls, each with a thread and a chain.
func bigMeeting(r *rig, n int) (batch func(int) ownership.Claims) {
	next := 1
	keys := []ownership.GroupKey{ownership.ThreadKey("19:townhall"), ownership.ChainKey("townhall")}
	batch = func(size int) ownership.Claims {
		a := ownership.Claims{At: at(1), Fitness: fit("a", "b", "c")}
		for range size {
			a.Claims = append(a.Claims, claim(callID(next), func(c *ownership.Claim) {
				c.Groups, c.Pinned = keys, true
				if next%3 == 0 {
					c.Observed = fmt.Sprintf("person %d", next)
				}
			}))
			next++
		}
		return a
	}
	for n > 0 {
		r.must(batch(min(n, 500)))
		n -= 500
	}
	return batch
}

// TestABatchDoesNotGrowWithItsMeeting: the table is locked for a batch of claims,
// renewals wait for it, and a lease lasts two seconds.
func TestABatchDoesNotGrowWithItsMeeting(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{"a", "b", "c"} {
		n := node(id)
		n.Capacity = 100_000
		r.must(ownership.Join{At: at(0), Node: n, Partitions: 8})
	}
	r.table.st.format = ownership.FormatReservations
	batch := bigMeeting(r, 4000)
	if err := r.table.Flush(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	r.must(batch(512))
	if took := time.Since(begun); took > 500*time.Millisecond {
		t.Errorf("a batch of 512 claims into a meeting of 4000 calls takes %v", took)
	}
}
