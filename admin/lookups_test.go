package admin

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestO35_FewLookUpsAtATime: however many unknown tokens come at once, few of them are
// looked for at the leader at one time.
func TestO35_FewLookUpsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inside atomic.Int64
		free := make(chan struct{})
		g := newGuard(Config{}, Deps{Cluster: newFake()}, time.Now)
		g.barrier = func(context.Context) error { inside.Add(1); <-free; return nil }
		for range 10 * lookUps {
			go g.catchUp(t.Context())
		}
		synctest.Wait()
		if n := inside.Load(); n != lookUps {
			t.Errorf("%d look-ups are under way, want %d", n, lookUps)
		}
		close(free)
		synctest.Wait()
	})
}
