package cluster

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"tandem/ownership"
)

func TestBookFailsNobodyOverBeforeTheLeaseIsCertainlyOver(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	b := newBook(2*time.Second, 250*time.Millisecond, start)
	if b.condemnIfOver("silent", at(2249*time.Millisecond)) {
		t.Error("a node that an earlier leader may have given a lease was condemned too early")
	}
	if err := b.receive(renewal{node: "n", bot: true, load: 0.5, room: 7}, 2*time.Second, 0, at(time.Second)); err != nil {
		t.Fatal(err)
	}
	if !b.leased("n", at(2999*time.Millisecond)) || b.leased("n", at(3*time.Second)) || b.leased("silent", at(0)) {
		t.Error("leased is wrong around the lease's end")
	}
	if b.condemnIfOver("n", at(3249*time.Millisecond)) || !b.condemnIfOver("n", at(3250*time.Millisecond)) {
		t.Error("condemned at another time than lease and drift after the renewal")
	}
	if err := b.receive(renewal{node: "n"}, 2*time.Second, 0, at(3260*time.Millisecond)); !errors.Is(err, ownership.ErrFenced) {
		t.Errorf("a condemned node renewed with %v", err)
	}
	if b.leased("n", at(3261*time.Millisecond)) {
		t.Error("a condemned node counts as leased")
	}
	b.pardon("n")
	if err := b.receive(renewal{node: "n", bot: true, load: 0.5, room: 7}, 2*time.Second, 0, at(4*time.Second)); err != nil {
		t.Errorf("a pardoned node renewed with %v", err)
	}
	b.admit("new", "inc", at(10*time.Second))
	if b.condemnIfOver("new", at(12*time.Second)) || b.leased("new", at(10*time.Second)) {
		t.Error("a node that has just joined is condemned before it could renew, or counts as leased")
	}
	b.placed("n", 3, at(4*time.Second))
	b.placed("n", 2, at(5*time.Second))
	want := ownership.Fitness{Leased: true, Bot: true, Load: 0.5, Room: 7, Recent: 5}
	if got := b.fitness(at(5 * time.Second))["n"]; !reflect.DeepEqual(got, want) {
		t.Errorf("fitness %+v, want %+v", got, want)
	}
	if got := b.fitness(at(6100 * time.Millisecond))["n"].Recent; got != 2 {
		t.Errorf("two seconds later %d calls count as recent, want 2", got)
	}
	if got := b.fitness(at(time.Hour))["n"].Recent; got != 0 {
		t.Errorf("an hour later %d calls count as recent", got)
	}
}

// A node that missed three renewals is passed by though its lease still runs, but
// not when that would leave nobody.
func TestF31_ASilentNodeIsAvoidedBeforeItsLeaseEnds(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	b := newBook(2*time.Second, 250*time.Millisecond, start)
	for _, id := range []ownership.NodeID{"dead", "well"} {
		if err := b.receive(renewal{node: id, bot: true}, 2*time.Second, 0, start); err != nil {
			t.Fatal(err)
		}
	}
	leased := func(id ownership.NodeID, d time.Duration) bool { return b.fitness(at(d))[id].Leased }
	if !leased("dead", 1900*time.Millisecond) || !leased("well", 1900*time.Millisecond) {
		t.Error("when all are silent, all that still have a lease must take calls")
	}
	if leased("dead", 2*time.Second) {
		t.Error("a node takes calls after its lease")
	}
	if err := b.receive(renewal{node: "well", bot: true}, 2*time.Second, 0, at(time.Second)); err != nil {
		t.Fatal(err)
	}
	if !leased("dead", 1499*time.Millisecond) || leased("dead", 1500*time.Millisecond) || !leased("well", 1500*time.Millisecond) {
		t.Error("new calls must avoid a silent node from three quarters of its lease on")
	}
	if !b.leased("dead", at(1999*time.Millisecond)) || b.condemnIfOver("dead", at(2*time.Second)) {
		t.Error("its lease itself must run on")
	}
}

// A node whose port refuses connections is passed by at once; its lease is waited
// for all the same.
func TestANodeWhosePortRefusesIsAvoidedAtOnce(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	b := newBook(2*time.Second, 250*time.Millisecond, start)
	renew := func(d time.Duration) {
		if err := b.receive(renewal{node: "n", bot: true}, 2*time.Second, 0, at(d)); err != nil {
			t.Fatal(err)
		}
	}
	renew(0)
	b.refuses("n", at(100*time.Millisecond))
	if b.fitness(at(200 * time.Millisecond))["n"].Leased {
		t.Error("it gets new calls")
	}
	if !b.leased("n", at(200*time.Millisecond)) || b.condemnIfOver("n", at(2249*time.Millisecond)) {
		t.Error("its lease does not run on")
	}
	renew(500 * time.Millisecond)
	if !b.fitness(at(600 * time.Millisecond))["n"].Leased {
		t.Error("it gets no new calls although it has renewed since")
	}
}

// A node that does not know yet what happened while it was away is neither given
// new calls nor heir.
func TestANodeThatLagsIsNotFit(t *testing.T) {
	now := time.Now()
	b := newBook(2*time.Second, 250*time.Millisecond, now)
	for _, tc := range []struct {
		name    string
		applied uint64
		behind  bool
		want    bool
	}{
		{"it follows", 5000, false, true},
		{"it lags a little", 5000 - maxBehind, false, true},
		{"it lags", 5000 - maxBehind - 1, false, false},
		{"it says that it does not act yet", 5000, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := b.receive(renewal{node: "n", bot: true, applied: tc.applied, behind: tc.behind}, 2*time.Second, 5000, now); err != nil {
				t.Fatal(err)
			}
			if got := b.fitness(now)["n"].Leased; got != tc.want {
				t.Errorf("fit: %v, want %v", got, tc.want)
			}
			if b.acts("n", now) != tc.want || !b.leased("n", now) {
				t.Error("it has no lease, or acts when it must not")
			}
		})
	}
}

// A lease that was granted for longer runs on after the region has changed to
// shorter ones, and a new leader waits for the longest that there may be.
func TestALongerLeaseIsWaitedForAfterTheChange(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	b := newBook(2*time.Second, 250*time.Millisecond, start)
	b.lasted(4 * time.Second)
	if b.condemnIfOver("silent", at(4249*time.Millisecond)) || !b.condemnIfOver("silent", at(4250*time.Millisecond)) {
		t.Error("a lease of an earlier leader is not waited for, or for longer than it may last")
	}
	for _, length := range []time.Duration{5 * time.Second, time.Second} {
		if err := b.receive(renewal{node: "n"}, length, 0, start); err != nil {
			t.Fatal(err)
		}
	}
	if b.leased("n", at(time.Second)) {
		t.Error("the shorter lease counts for longer")
	}
	if b.condemnIfOver("n", at(5249*time.Millisecond)) || !b.condemnIfOver("n", at(5250*time.Millisecond)) {
		t.Error("the longer lease is not waited for")
	}
}

func TestANodeWhoseProcessEndedGetsNoNewCallsLongBeforeItsLeaseEnds(t *testing.T) {
	long(t)
	const lease = 20 * time.Second
	r := newRegion(t, func(c *Config) { c.Timings.Lease = lease })
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	dead := without(nodes, ldr)[0]
	book := ldr.reign.Load().book
	eventually(t, "the node gets calls", func() bool { return book.fitness(time.Now())[dead.id].Leased })
	died := time.Now()
	dead.cut()
	eventually(t, "the node gets no calls", func() bool { return !book.fitness(time.Now())[dead.id].Leased })
	if took := time.Since(died); took > lease/2 {
		t.Errorf("it was avoided %v later", took)
	}
	if !book.leased(dead.id, time.Now()) {
		t.Error("its lease does not run on")
	}
}
