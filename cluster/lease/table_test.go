package lease

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
	b := NewTable(2*time.Second, 250*time.Millisecond, start)
	if over(b, "silent", at(2249*time.Millisecond)) {
		t.Error("a node that an earlier leader may have given a lease lost its lease too early")
	}
	if err := b.Receive(Renewal{Node: "n", Bot: true, Load: 0.5, Room: 7}, 2*time.Second, 0, at(time.Second)); err != nil {
		t.Fatal(err)
	}
	if !b.Leased("n", at(2999*time.Millisecond)) || b.Leased("n", at(3*time.Second)) || b.Leased("silent", at(0)) {
		t.Error("leased is wrong around the lease's end")
	}
	early := over(b, "n", at(3249*time.Millisecond))
	held := b.RevokeIfOver("n", at(3250*time.Millisecond))
	if early || held == nil {
		t.Error("revoked at another time than lease and drift after the renewal")
	}
	if err := b.Receive(Renewal{Node: "n"}, 2*time.Second, 0, at(3260*time.Millisecond)); !errors.Is(err, ownership.ErrFenced) {
		t.Errorf("a node of revoked leases renewed with %v", err)
	}
	if b.Leased("n", at(3261*time.Millisecond)) {
		t.Error("a node of revoked leases counts as leased")
	}
	b.Settle(held, true)
	if err := b.Receive(Renewal{Node: "n", Bot: true, Load: 0.5, Room: 7}, 2*time.Second, 0, at(4*time.Second)); err != nil {
		t.Errorf("a reinstated node renewed with %v", err)
	}
	b.Admit("new", "inc", at(10*time.Second))
	if over(b, "new", at(12*time.Second)) || b.Leased("new", at(10*time.Second)) {
		t.Error("a node that has just joined is revoked before it could renew, or counts as leased")
	}
	b.Placed("n", 3, at(4*time.Second))
	b.Placed("n", 2, at(5*time.Second))
	want := ownership.Fitness{Leased: true, Bot: true, Load: 0.5, Room: 7, Recent: 5}
	if got := b.Fitness(at(5 * time.Second))["n"]; !reflect.DeepEqual(got, want) {
		t.Errorf("fitness %+v, want %+v", got, want)
	}
	if got := b.Fitness(at(6100 * time.Millisecond))["n"].Recent; got != 2 {
		t.Errorf("two seconds later %d calls count as recent, want 2", got)
	}
	if got := b.Fitness(at(time.Hour))["n"].Recent; got != 0 {
		t.Errorf("an hour later %d calls count as recent", got)
	}
}

// over takes a hold on a node whose lease is over.
func over(b *Table, id ownership.NodeID, now time.Time) bool {
	return b.RevokeIfOver(id, now) != nil
}

// TestI1_AHoldOutlastsTheEndOfAnother: what is taken from a node by one act is not given back
// by another one that ends while the first is on its way.
func TestI1_AHoldOutlastsTheEndOfAnother(t *testing.T) {
	b := NewTable(2*time.Second, 250*time.Millisecond, time.Now())
	expect := func(when string, revoked, inDoubt bool) {
		t.Helper()
		if b.Revoked("n") != revoked || b.InDoubt("n") != inDoubt {
			t.Errorf("%s: revoked %t, in doubt %t", when, b.Revoked("n"), b.InDoubt("n"))
		}
	}
	join := b.Revoke("n")
	failover := b.Revoke("n")
	b.Settle(join, true)
	expect("the join went through, the failover is under way", true, false)
	b.Settle(failover, false)
	expect("nobody knows of the failover", true, true)
	early := b.Revoke("n")
	late := b.Revoke("n")
	b.Settle(late, false)
	expect("two in doubt", true, true)
	b.Settle(early, true)
	expect("an act that began before the second doubt went through", true, true)
	through := b.Revoke("n")
	expect("another act goes after both", true, true)
	b.Settle(through, true)
	expect("it went through", false, false)
}

// A node that missed three renewals is passed by though its lease still runs, but
// not when that would leave nobody.
func TestF31_ASilentNodeIsAvoidedBeforeItsLeaseEnds(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	b := NewTable(2*time.Second, 250*time.Millisecond, start)
	for _, id := range []ownership.NodeID{"dead", "well"} {
		if err := b.Receive(Renewal{Node: id, Bot: true}, 2*time.Second, 0, start); err != nil {
			t.Fatal(err)
		}
	}
	leased := func(id ownership.NodeID, d time.Duration) bool { return b.Fitness(at(d))[id].Leased }
	if !leased("dead", 1900*time.Millisecond) || !leased("well", 1900*time.Millisecond) {
		t.Error("when all are silent, all that still have a lease must take calls")
	}
	if leased("dead", 2*time.Second) {
		t.Error("a node takes calls after its lease")
	}
	if err := b.Receive(Renewal{Node: "well", Bot: true}, 2*time.Second, 0, at(time.Second)); err != nil {
		t.Fatal(err)
	}
	if !leased("dead", 1499*time.Millisecond) || leased("dead", 1500*time.Millisecond) || !leased("well", 1500*time.Millisecond) {
		t.Error("new calls must avoid a silent node from three quarters of its lease on")
	}
	if !b.Leased("dead", at(1999*time.Millisecond)) || over(b, "dead", at(2*time.Second)) {
		t.Error("its lease itself must run on")
	}
}

// A node whose port refuses connections is passed by at once; its lease is waited
// for all the same.
func TestANodeWhosePortRefusesIsAvoidedAtOnce(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	b := NewTable(2*time.Second, 250*time.Millisecond, start)
	renew := func(d time.Duration) {
		if err := b.Receive(Renewal{Node: "n", Bot: true}, 2*time.Second, 0, at(d)); err != nil {
			t.Fatal(err)
		}
	}
	renew(0)
	b.Refuses("n", at(100*time.Millisecond))
	if b.Fitness(at(200 * time.Millisecond))["n"].Leased {
		t.Error("it gets new calls")
	}
	if !b.Leased("n", at(200*time.Millisecond)) || over(b, "n", at(2249*time.Millisecond)) {
		t.Error("its lease does not run on")
	}
	renew(500 * time.Millisecond)
	if !b.Fitness(at(600 * time.Millisecond))["n"].Leased {
		t.Error("it gets no new calls although it has renewed since")
	}
}

// A node that does not know yet what happened while it was away is neither given
// new calls nor heir.
func TestANodeThatLagsIsNotFit(t *testing.T) {
	now := time.Now()
	b := NewTable(2*time.Second, 250*time.Millisecond, now)
	for _, tc := range []struct {
		name    string
		applied uint64
		behind  bool
		want    bool
	}{
		{"it follows", 5000, false, true},
		{"it lags a little", 5000 - MaxBehind, false, true},
		{"it lags", 5000 - MaxBehind - 1, false, false},
		{"it says that it does not act yet", 5000, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := b.Receive(Renewal{Node: "n", Bot: true, Applied: tc.applied, Behind: tc.behind}, 2*time.Second, 5000, now); err != nil {
				t.Fatal(err)
			}
			if got := b.Fitness(now)["n"].Leased; got != tc.want {
				t.Errorf("fit: %v, want %v", got, tc.want)
			}
			if b.Acts("n", now) != tc.want || !b.Leased("n", now) {
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
	b := NewTable(2*time.Second, 250*time.Millisecond, start)
	b.Lasted(4 * time.Second)
	if over(b, "silent", at(4249*time.Millisecond)) || !over(b, "silent", at(4250*time.Millisecond)) {
		t.Error("a lease of an earlier leader is not waited for, or for longer than it may last")
	}
	for _, length := range []time.Duration{5 * time.Second, time.Second} {
		if err := b.Receive(Renewal{Node: "n"}, length, 0, start); err != nil {
			t.Fatal(err)
		}
	}
	if b.Leased("n", at(time.Second)) {
		t.Error("the shorter lease counts for longer")
	}
	if over(b, "n", at(5249*time.Millisecond)) || !over(b, "n", at(5250*time.Millisecond)) {
		t.Error("the longer lease is not waited for")
	}
}
