package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

func TestCombinerSendsAtOnceAndCombinesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sizes []int
		gate := make(chan struct{})
		c := newCombiner(1, 3, func(batch []int) []result[int] {
			mu.Lock()
			sizes = append(sizes, len(batch))
			mu.Unlock()
			<-gate
			out := make([]result[int], len(batch))
			for i, v := range batch {
				out[i].val = v * 10
			}
			return out
		})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if v, err := c.do(t.Context(), i); err != nil || v != i*10 {
					t.Errorf("item %d gave %d, %v", i, v, err)
				}
			})
			synctest.Wait()
		}
		if len(sizes) != 1 || sizes[0] != 1 {
			t.Errorf("before the first batch was done, %v were sent, want [1]", sizes)
		}
		close(gate)
		wg.Wait()
		if fmt.Sprint(sizes) != "[1 3 3 1]" {
			t.Errorf("batches of %v, want [1 3 3 1]", sizes)
		}
		c.close()
		if _, err := c.do(t.Context(), 1); !errors.Is(err, ErrStopped) {
			t.Errorf("after close it gave %v", err)
		}
	})
}

func TestCombinerDoesNotHoldUpWhoGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		c := newCombiner(1, 3, func(b []int) []result[int] { <-gate; return failAll[int](len(b), nil) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.do(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gave %v", err)
		}
		close(gate)
		c.close()
		if _, err := c.do(t.Context(), 1); !errors.Is(err, ErrStopped) {
			t.Errorf("after close it gave %v", err)
		}
	})
}

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

func TestOverlayForgetsWhatTheTableKnows(t *testing.T) {
	o := newOverlay()
	p := ownership.Placement{Partition: 4, Epoch: 2, Owner: "b", Reason: ownership.ReasonLeastLoaded}
	o.put(ownership.Claim{Call: "x"}, p, 9, 10)
	if _, ok := o.call("x", 10); ok {
		t.Error("it keeps what the table has applied")
	}
	o.put(ownership.Claim{Call: "x", App: "app", Pinned: true}, p, 11, 10)
	k, ok := o.call("x", 10)
	if want := (ownership.Known{App: "app", Partition: 4, Owner: "b", Epoch: 2, State: ownership.CallClaimed, Pinned: true}); !ok || k != want {
		t.Errorf("it gives %+v, %v", k, ok)
	}
	if n, e, ok := o.partition(4); !ok || n != "b" || e != 2 {
		t.Errorf("it gives partition 4 to %s at %s, %v", n, e, ok)
	}
	o.put(ownership.Claim{Call: "y", Answered: true}, p, 12, 11)
	if _, ok := o.call("x", 10); ok {
		t.Error("it keeps x, which the table has applied since")
	}
	if _, ok := o.call("y", 12); ok {
		t.Error("it gives a call that the table has applied")
	}
	if k, _ := o.call("y", 11); k.State != ownership.CallAnswered {
		t.Errorf("an answered call is %+v", k)
	}
	if _, _, ok := o.partition(4); !ok {
		t.Error("it forgot partition 4, of which a later placement told")
	}
	for i := range maxAhead + 100 {
		o.put(ownership.Claim{Call: ownership.CallID(fmt.Sprint(i))}, p, uint64(20+i), 12)
	}
	if len(o.calls) > maxAhead+1 {
		t.Errorf("it holds %d calls, at most %d are allowed", len(o.calls), maxAhead)
	}
}

func TestF11_WatchdogSeesAStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		got := make(chan error, 1)
		w := newWatchdog("", 500*time.Millisecond, 3*time.Second, func(err error) { got <- err })
		block := make(chan struct{})
		writes := 0
		w.write = func() error {
			if writes++; writes > 10 {
				<-block
			}
			return nil
		}
		w.start(ctx, &wg)
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if len(got) > 0 {
			t.Fatalf("failed too early: %v", <-got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(got) == 0 {
			t.Error("4 s of stall went unseen")
		}
		if w.age() < 3*time.Second {
			t.Errorf("the last write counts as %v old", w.age())
		}
		close(block)
		cancel()
		wg.Wait()
	})
}

// An append that hangs is a stalled disk too, though the canary goes through.
func TestF11_WatchdogSeesAnAppendThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		got := make(chan error, 1)
		w := newWatchdog("", 500*time.Millisecond, 3*time.Second, func(err error) { got <- err })
		w.write = func() error { return nil }
		w.start(ctx, &wg)
		if err := w.appending(func() error { time.Sleep(2 * time.Second); return nil }); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(got) > 0 {
			t.Fatalf("a slow append of 2 s counts as a stall: %v", <-got)
		}
		if err := w.appending(func() error { time.Sleep(4 * time.Second); return nil }); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if len(got) == 0 {
			t.Error("an append of 4 s went unseen")
		}
		cancel()
		wg.Wait()
	})
}

func TestF09_WatchdogNeverRetriesAFailedFsync(t *testing.T) {
	for _, tc := range []struct {
		name  string
		err   error
		fatal bool
	}{
		{"F09 EIO at fsync", &os.PathError{Op: "sync", Err: syscall.EIO}, true},
		{"F08 no space to write", &os.PathError{Op: "write", Err: syscall.ENOSPC}, false},
		{"F08 no space at fsync", &os.PathError{Op: "sync", Err: syscall.ENOSPC}, true},
		{"F09 read-only", &os.PathError{Op: "open", Err: syscall.EROFS}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				var got error
				writes := 0
				w := newWatchdog("", 500*time.Millisecond, 3*time.Second, func(err error) { got = err })
				w.write = func() error { writes++; return tc.err }
				w.start(ctx, &wg)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if (got != nil) != tc.fatal || tc.fatal && (!errors.Is(got, tc.err) || writes != 1) {
					t.Errorf("after %d writes: %v", writes, got)
				}
				cancel()
				wg.Wait()
			})
		})
	}
}

func TestF11_AStalledDiskSilencesTheLeader(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	ldr.diskFailed(errors.New("the disk has not answered for 3s"))
	if ldr.Status().Leased || ldr.lease.valid(time.Now()) {
		t.Error("a node with a stalled disk still acts")
	}
	eventually(t, "the node is told to end", func() bool { return len(ldr.fatals()) == 1 })
	rest := without(nodes, ldr)
	leaderOf(t, rest...)
	claim(t, rest[0], 1)
}

func TestCanaryIsWrittenAndSynced(t *testing.T) {
	name := filepath.Join(t.TempDir(), canaryFile)
	for range 2 {
		if err := writeCanary(name); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(name); err != nil || len(b) == 0 {
		t.Errorf("the canary holds %q, %v", b, err)
	}
	if err := writeCanary(filepath.Join(t.TempDir(), "no", "such")); err == nil {
		t.Error("a canary that cannot be written gave no error")
	}
}

func TestCompareTellsWhatWasGotAndLost(t *testing.T) {
	seen := told{owned: map[ownership.PartitionID]ownership.Partition{}, reserved: map[ownership.PartitionID]string{}}
	from := func(ownership.Partition) ownership.NodeID { return "b" }
	compare := func(all ...ownership.Partition) Change { return seen.compare(all, "a", from) }
	one, two := ownership.Partition{ID: 1, Owner: "a", Epoch: 1}, ownership.Partition{ID: 2, Owner: "a", Epoch: 5}
	if ch := compare(one, two); len(ch.Got) != 2 || len(ch.Lost) != 0 || ch.Got[1] != (ownership.Reassignment{Partition: 2, From: "b", To: "a", Epoch: 5}) {
		t.Errorf("first: %+v", ch)
	}
	if ch := compare(one, two); len(ch.Got)+len(ch.Lost)+len(ch.Look) != 0 {
		t.Errorf("unchanged: %+v", ch)
	}
	// 1 went to c; 2 went away and came back between two looks.
	one.Owner, one.Epoch, two.Epoch = "c", 2, 7
	ch := compare(one, two)
	if len(ch.Lost) != 1 || ch.Lost[0] != (ownership.Reassignment{Partition: 1, From: "a", To: "c", Epoch: 2}) {
		t.Errorf("lost: %+v", ch.Lost)
	}
	if len(ch.Got) != 1 || ch.Got[0].Epoch != 7 {
		t.Errorf("got: %+v", ch.Got)
	}
	two.Retired = true
	if ch := compare(one, two); len(ch.Lost) != 1 || ch.Lost[0] != (ownership.Reassignment{Partition: 2, From: "a", Epoch: 7}) {
		t.Errorf("of a retired partition it tells %+v", ch)
	}
}

// A former owner and the present one are told to look again whenever calls of
// theirs may have come to stand otherwise.
func TestCompareTellsWhereReservationsChanged(t *testing.T) {
	reserve := func(owner ownership.NodeID, rs ...ownership.Reservation) ownership.Partition {
		return ownership.Partition{ID: 1, Owner: owner, Epoch: 9, Reserved: rs}
	}
	mine := ownership.Reservation{Node: "a", Epoch: 1, Live: 3}
	other := ownership.Reservation{Node: "z", Epoch: 2, Live: 3}
	fewer := mine
	fewer.Live = 1
	lapsed := mine
	lapsed.Lapsed = []ownership.AppID{"app"}
	final := mine
	final.Final = true
	for _, tc := range []struct {
		name        string
		before, now ownership.Partition
		want        bool
	}{
		{"its own came", reserve("b"), reserve("b", mine), true},
		{"its own lapsed", reserve("b", mine), reserve("b", lapsed), true},
		{"its own was reclaimed", reserve("b", lapsed), reserve("b", mine), true},
		{"its own ended for good", reserve("b", mine), reserve("b", final), true},
		{"its own went", reserve("b", mine), reserve("b"), true},
		{"only its calls became fewer", reserve("b", mine), reserve("b", fewer), false},
		{"another's in another's partition", reserve("b"), reserve("b", other), false},
		{"another's in its own partition", reserve("a"), reserve("a", other), true},
		{"nothing", reserve("a", other), reserve("a", other), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			seen := told{owned: map[ownership.PartitionID]ownership.Partition{}, reserved: map[ownership.PartitionID]string{}}
			from := func(ownership.Partition) ownership.NodeID { return "b" }
			seen.compare([]ownership.Partition{tc.before}, "a", from)
			if ch := seen.compare([]ownership.Partition{tc.now}, "a", from); (len(ch.Look) == 1) != tc.want {
				t.Errorf("it says to look at %v, want so: %v", ch.Look, tc.want)
			}
		})
	}
	seen := told{owned: map[ownership.PartitionID]ownership.Partition{}, reserved: map[ownership.PartitionID]string{}}
	from := func(ownership.Partition) ownership.NodeID { return "" }
	if ch := seen.compare([]ownership.Partition{reserve("b", mine)}, "a", from); len(ch.Look) != 1 {
		t.Errorf("after a start it is told %+v, want to look at what is reserved for it", ch)
	}
	if ch := seen.compare([]ownership.Partition{reserve("a", other)}, "a", from); len(ch.Got) != 1 || len(ch.Look) != 0 {
		t.Errorf("of a partition that it got whole it is told %+v, want no second look", ch)
	}
}
