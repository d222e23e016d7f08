package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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

func TestCombinerRefusesWhatItHasNoRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		c := newCombiner(1, 2, func(b []int) []result[int] { <-gate; return failAll[int](len(b), nil) })
		c.most = 2
		first := c.all([]int{1})
		synctest.Wait()
		outs := c.all([]int{2, 3, 4})
		if r := <-outs[2]; !errors.Is(r.err, ErrBusy) {
			t.Errorf("the third that waits gave %v, want ErrBusy", r.err)
		}
		close(gate)
		for _, o := range append(first, outs[:2]...) {
			if r := <-o; r.err != nil {
				t.Error(r.err)
			}
		}
		c.close()
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
