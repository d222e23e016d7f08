package batch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errClosed, errFull = errors.New("closed"), errors.New("full")

func TestCombinerSendsAtOnceAndCombinesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sizes []int
		gate := make(chan struct{})
		c := New(Limits{Width: 1, Size: 3, Closed: errClosed}, func(batch []int) []Result[int] {
			mu.Lock()
			sizes = append(sizes, len(batch))
			mu.Unlock()
			<-gate
			out := make([]Result[int], len(batch))
			for i, v := range batch {
				out[i].Val = v * 10
			}
			return out
		})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if v, err := c.Do(t.Context(), i); err != nil || v != i*10 {
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
		c.Close()
		if _, err := c.Do(t.Context(), 1); !errors.Is(err, errClosed) {
			t.Errorf("after close it gave %v", err)
		}
	})
}

func TestCombinerRefusesWhatItHasNoRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		c := New(Limits{Width: 1, Size: 2, Closed: errClosed}, func(b []int) []Result[int] { <-gate; return FailAll[int](len(b), nil) })
		c.limits.Most, c.limits.Full = 2, errFull
		first := c.All([]int{1})
		synctest.Wait()
		outs := c.All([]int{2, 3, 4})
		if r := <-outs[2]; !errors.Is(r.Err, errFull) {
			t.Errorf("the third that waits gave %v, want errFull", r.Err)
		}
		close(gate)
		for _, o := range append(first, outs[:2]...) {
			if r := <-o; r.Err != nil {
				t.Error(r.Err)
			}
		}
		c.Close()
	})
}

func TestCombinerDoesNotHoldUpWhoGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		c := New(Limits{Width: 1, Size: 3, Closed: errClosed}, func(b []int) []Result[int] { <-gate; return FailAll[int](len(b), nil) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Do(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gave %v", err)
		}
		close(gate)
		c.Close()
		if _, err := c.Do(t.Context(), 1); !errors.Is(err, errClosed) {
			t.Errorf("after close it gave %v", err)
		}
	})
}
