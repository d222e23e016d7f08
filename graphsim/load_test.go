package graphsim

import (
	"context"
	"math"
	"sync"
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

// timings collects what Config.Timed hears.
type timings struct {
	mu  sync.Mutex
	all []Timing
}

func (t *timings) hear(one Timing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, one)
}

// of counts those of a kind, and how many of them failed.
func (t *timings) of(what TimedWhat) (n, failed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.all {
		if one.What == what {
			n++
			if one.Failed {
				failed++
			}
		}
	}
	return n, failed
}

// TestCallsRingWhenTheyAreDue: a router that stands still keeps no call from ringing, and
// what the calls took counts from when they were due.
func TestCallsRingWhenTheyAreDue(t *testing.T) {
	heard, stop := &timings{}, make(chan struct{})
	cloud, toy := startToy(t, "", Config{Timings: quick(), Rates: new(Rates), Timed: heard.hear})
	toy.stop = stop
	const calls = 12
	begun := time.Now()
	if err := cloud.Run(t.Context(), Load{Rate: 1000, MaxCalls: calls, MaxLive: math.MaxInt}); err != nil {
		t.Fatal(err)
	}
	for tick := time.Tick(time.Millisecond); toy.rang.Load() < calls; <-tick {
		if t.Context().Err() != nil {
			t.Fatalf("%d of %d calls rang while the router stood still", toy.rang.Load(), calls)
		}
	}
	stood := time.Since(begun)
	close(stop)
	settle, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := cloud.Settle(settle); err != nil {
		t.Fatal(err)
	}
	if n, failed := heard.of(TimedAnswer); n != calls || failed != 0 {
		t.Errorf("%d answers were timed, %d as failures, of %d calls", n, failed, calls)
	}
	sent := cloud.Report().NotificationsSent - calls
	if n, failed := heard.of(TimedFollowUp); n != sent || failed != 0 {
		t.Errorf("%d later notifications were timed, %d as failures, of %d", n, failed, sent)
	}
	if first := heard.all[0]; first.Took < stood-first.Due.Sub(begun) {
		t.Errorf("a call that was due %s after the begin took %s, though the router stood still until %s", first.Due.Sub(begun), first.Took, stood)
	}
}

// TestWhatFailsIsTimedAsAFailure: a call that nobody answers.
func TestWhatFailsIsTimedAsAFailure(t *testing.T) {
	heard := &timings{}
	brief := Timings{Clock: 50 * time.Millisecond, Attempt: 50 * time.Millisecond, Attempts: 1}
	cloud, toy := startToy(t, "", Config{Timings: brief, Rates: new(Rates), Timed: heard.hear})
	toy.stop = make(chan struct{})
	defer close(toy.stop)
	if err := cloud.Run(t.Context(), Load{Rate: 1000, MaxCalls: 3}); err != nil {
		t.Fatal(err)
	}
	settle, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := cloud.Settle(settle); err != nil {
		t.Fatal(err)
	}
	if n, failed := heard.of(TimedAnswer); n != 3 || failed != 3 {
		t.Errorf("%d answers were timed, %d as failures, of 3 calls that nobody answered", n, failed)
	}
}
