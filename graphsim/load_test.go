package graphsim

import (
	"context"
	"testing"
	"time"
)

// TestEachRunHasChoicesOfItsOwn: a second run must not name the first one's
// chains, which a router would take for one group.
func TestEachRunHasChoicesOfItsOwn(t *testing.T) {
	cloud, _ := startToy(t, "", Config{Seed: 5, Rates: new(Rates), Timings: Timings{TalkMin: time.Millisecond, TalkMax: 2 * time.Millisecond}})
	for range 2 {
		if err := cloud.Run(t.Context(), Load{Rate: 1000, MaxCalls: 20}); err != nil {
			t.Fatal(err)
		}
	}
	settle, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := cloud.Settle(settle); err != nil {
		t.Fatal(err)
	}
	chains := map[string]bool{}
	cloud.ledger.count(func(l *ledger) {
		for _, k := range l.order {
			chains[k.chain] = true
		}
	})
	if len(chains) != 40 {
		t.Errorf("40 calls have %d chains, none of them is of a group", len(chains))
	}
}
