package store

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"tandem/ledger"
	"tandem/ownership"
)

// refuse claims calls that no node may take, from a first number on.
func (r *rig) refuse(first, n int, tenant string, when time.Time) {
	r.Helper()
	claims := make([]ownership.Claim, n)
	for i := range claims {
		claims[i] = claim(callID(first + i))
		claims[i].Tenant = ownership.TenantID(tenant)
	}
	out := r.do(ownership.Claims{At: when, Fitness: map[ownership.NodeID]ownership.Fitness{}, Claims: claims})
	for i, err := range out.Errors {
		if err == nil {
			r.Fatalf("claim %d was placed where nobody is fit", i)
		}
	}
}

// refusedOf sums up what the ledger tells of claims that nobody could take.
func (r *rig) refusedOf(tenant string) (entries int, calls uint64) {
	r.Helper()
	for _, e := range r.entries() {
		if e.Kind != ledger.Rejected || e.Tenant != tenant {
			continue
		}
		entries++
		calls += max(e.Count, 1)
	}
	return entries, calls
}

// A flood of calls that nobody can take leaves a few entries, which tell how many they were,
// from when until when: also after a restart and a restore in the middle of it.
func TestRefusedCallsAreCountedNotListed(t *testing.T) {
	r := newRegion(t, "a")
	const each = 2 * refusedSingly
	for i := range 20 {
		r.refuse(each*i, each, "t1", at(i))
		if i == 10 {
			hash, _ := r.table.Hash()
			r.reopen()
			if now, _ := r.table.Hash(); now != hash {
				t.Fatalf("after a restart the hash is %s, was %s", now, hash)
			}
		}
	}
	r.refuse(5000, 1, "t2", at(20))
	before, saved := r.snapshotBytes(), r.index
	if n, _ := r.refusedOf("t1"); n > refusedSingly {
		t.Errorf("%d entries for %d calls that were refused", n, 20*each)
	}
	r.must(ownership.Forget{At: at(80), Before: at(0)})
	entries, calls := r.refusedOf("t1")
	if entries != refusedSingly+1 || calls != 20*each {
		t.Errorf("%d entries tell of %d calls of %d", entries, calls, 20*each)
	}
	if n, calls := r.refusedOf("t2"); n != 1 || calls != 1 {
		t.Errorf("%d entries tell of the only call of another tenant as %d", n, calls)
	}
	var sum ledger.Entry
	for _, e := range r.entries() {
		if e.Count > 0 {
			sum = e
		}
	}
	if sum.First.IsZero() || !sum.First.Equal(at(0)) || !sum.Last.Equal(at(19)) || sum.App == "" || sum.Reason == "" || sum.Call != "" {
		t.Errorf("the entry of those that were counted is %+v", sum)
	}
	r.verified()

	// What is counted and not yet told is in a snapshot.
	other := newRig(t)
	if err := other.table.Restore(io.NopCloser(bytes.NewReader(before))); err != nil {
		t.Fatal(err)
	}
	other.index = saved
	other.must(ownership.Forget{At: at(80), Before: at(0)})
	if n, calls := other.refusedOf("t1"); n != entries || calls != 20*each {
		t.Errorf("from a snapshot %d entries tell of %d calls", n, calls)
	}
}

// However many tenants it comes from, what is counted at a time is bounded, and each is counted.
func TestRefusedCallsOfManyTenantsAreBounded(t *testing.T) {
	r := newRegion(t, "a")
	const tenants = 3 * refusedRuns
	for i := range tenants {
		r.refuse(200*i, 2*refusedSingly, fmt.Sprintf("t%d", i), at(1))
	}
	r.must(ownership.Forget{At: at(120), Before: at(0)})
	entries, calls := 0, uint64(0)
	for _, e := range r.entries() {
		entries++
		calls += max(e.Count, 1)
	}
	if most := (refusedRuns + 2) * (refusedSingly + 1); entries > most || calls != 2*refusedSingly*tenants {
		t.Errorf("%d entries (at most %d) tell of %d calls of %d", entries, most, calls, 2*refusedSingly*tenants)
	}
	// After a quiet hour everybody begins anew.
	r.must(ownership.Forget{At: at(120 + 3600), Before: at(0)})
	r.refuse(200*tenants, 1, "late", at(130+3600))
	if n, calls := r.refusedOf("late"); n != 1 || calls != 1 {
		t.Errorf("an hour later %d entries tell of %d calls", n, calls)
	}
}

// A region that is full all day, and is called all day, tells of it in one entry an hour
// after the first ones; so does one that is full for a moment every other minute. What it counts in
// the middle of an hour outlives a restart.
func TestARegionThatIsFullAllDayFillsNoLedger(t *testing.T) {
	for name, every := range map[string]int{"all the time": 60, "every other minute": 120} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t, "a")
			const day, burst = 12 * 3600, 15
			claimed := 0
			for s := 0; s < day; s += every {
				r.refuse(burst*(s/every), burst, "t1", at(s))
				r.must(ownership.Forget{At: at(s + every/2), Before: at(0)})
				claimed += burst
				if s == day/2+10*every {
					hash, _ := r.table.Hash()
					r.reopen()
					if now, _ := r.table.Hash(); now != hash {
						t.Fatalf("after a restart the hash is %s, was %s", now, hash)
					}
				}
			}
			r.must(ownership.Forget{At: at(day + 3600), Before: at(0)})
			entries, calls := r.refusedOf("t1")
			if most := refusedSingly + 1 + 13; entries > most || calls != uint64(claimed) {
				t.Errorf("%d entries (at most %d) tell of %d calls of %d", entries, most, calls, claimed)
			}
		})
	}
}
