package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

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
