package disk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestF11_WatchdogSeesAStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		got := make(chan error, 1)
		w := NewWatchdog("", 500*time.Millisecond, 3*time.Second, func(err error) { got <- err })
		block := make(chan struct{})
		writes := 0
		w.write = func() error {
			if writes++; writes > 10 {
				<-block
			}
			return nil
		}
		w.Start(ctx, &wg)
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
		if w.Age() < 3*time.Second {
			t.Errorf("the last write counts as %v old", w.Age())
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
		w := NewWatchdog("", 500*time.Millisecond, 3*time.Second, func(err error) { got <- err })
		w.write = func() error { return nil }
		w.Start(ctx, &wg)
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
				w := NewWatchdog("", 500*time.Millisecond, 3*time.Second, func(err error) { got = err })
				w.write = func() error { writes++; return tc.err }
				w.Start(ctx, &wg)
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
