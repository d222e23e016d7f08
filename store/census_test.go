package store

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
)

// TestCensus: each live call is counted once, at whoever acts for it or is to take it up.
func TestCensus(t *testing.T) {
	r := newRegion(t, "a", "b")
	r.claimOn(1, fit("a"), claim(callID(1)), claim(callID(2), pinned), claim(callID(3), pinned))
	for _, i := range []int{2, 3} {
		r.must(ownership.Answered{At: at(2), Call: callID(i), Epoch: 1})
	}
	app := r.call(callID(1)).App
	counted := func(when string, a, b map[ownership.CallState]int) {
		t.Helper()
		for id, want := range map[ownership.NodeID]map[ownership.CallState]int{"a": a, "b": b} {
			if diff := cmp.Diff(want, r.table.Census(id)[app]); diff != "" {
				t.Errorf("%s, node %s: %s", when, id, diff)
			}
		}
	}
	type n = map[ownership.CallState]int
	counted("at first", n{ownership.CallClaimed: 1, ownership.CallAnswered: 2}, nil)
	r.must(ownership.Failover{At: at(3), Node: "a", Fitness: fit("b")})
	counted("a is silent", n{ownership.CallAnswered: 2}, n{ownership.CallClaimed: 1})
	r.must(ownership.Lapse{At: at(4), Node: "a"})
	counted("its silence is over", nil, n{ownership.CallClaimed: 1, ownership.CallOrphaned: 2})
	r.must(ownership.Release{At: at(5), Call: callID(1), Epoch: 2, Why: "over"})
	counted("one has ended", nil, n{ownership.CallOrphaned: 2})
}
