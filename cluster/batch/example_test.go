package batch_test

import (
	"errors"
	"fmt"
	"sync"

	"tandem/cluster/batch"
)

// Items that arrive while others are sent go out together.
func ExampleCombiner() {
	var c *batch.Combiner[int, int]
	begun, gate := make(chan struct{}, 4), make(chan struct{})
	c = batch.New(batch.Limits{Width: 1, Size: 100, Closed: errors.New("closed")}, func(items []int) []batch.Result[int] {
		begun <- struct{}{}
		<-gate
		fmt.Println("sent together:", len(items))
		return batch.FailAll[int](len(items), nil)
	})
	first := c.All([]int{1})
	<-begun
	rest := c.All([]int{2, 3, 4})
	close(gate)
	var wg sync.WaitGroup
	for _, out := range append(first, rest...) {
		wg.Go(func() { <-out })
	}
	wg.Wait()
	c.Close()
	// Output:
	// sent together: 1
	// sent together: 3
}
