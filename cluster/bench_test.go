package cluster

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/cluster/clocks"
	"tandem/ownership"
)

// BenchmarkLeaderLost kills the leader under the shipped timings and measures
// until a survivor has a new claim acknowledged.
func BenchmarkLeaderLost(b *testing.B) {
	r := newRegion(b, func(c *Config) { c.Timings = clocks.Timings{} })
	nodes := r.form(3)
	var gaps []time.Duration
	call := 0
	for b.Loop() {
		ldr := leaderOf(b, nodes...)
		rest := without(nodes, ldr)
		claim(b, rest[0], call)
		call++
		at := time.Now()
		ldr.cut()
		claim(b, rest[0], call)
		call++
		gaps = append(gaps, time.Since(at))
		ldr.restart()
		ldr.ready()
	}
	slices.Sort(gaps)
	b.ReportMetric(float64(gaps[len(gaps)/2].Milliseconds()), "ms-p50")
	b.ReportMetric(float64(gaps[len(gaps)*95/100].Milliseconds()), "ms-p95")
}

// BenchmarkClaims claims new calls on the leader and on a follower, by the
// number of clients.
func BenchmarkClaims(b *testing.B) {
	r := newRegion(b, func(c *Config) { c.Timings, c.Node.Capacity = clocks.Timings{}, 1<<30 })
	nodes := r.form(3)
	ldr := leaderOf(b, nodes...)
	var call atomic.Int64
	for where, n := range map[string]*testNode{"leader": ldr, "follower": without(nodes, ldr)[0]} {
		for _, clients := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/clients=%d", where, clients), func(b *testing.B) {
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				began := time.Now()
				for range clients {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							if _, err := n.Claim(b.Context(), claimOf(int(call.Add(1)))); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "claims/s")
			})
		}
	}
}

// BenchmarkEnds has a follower record the ends of its calls, so many at a time as its
// dispatcher does, and as many again.
func BenchmarkEnds(b *testing.B) {
	r := newRegion(b, func(c *Config) { c.Timings, c.Node.Capacity = clocks.Timings{}, 1<<30 })
	nodes := r.form(3)
	n := without(nodes, leaderOf(b, nodes...))[0]
	call := 0
	for _, atOnce := range []int{64, 256} {
		b.Run(fmt.Sprintf("at-once=%d", atOnce), func(b *testing.B) {
			first, epochs := call, make([]ownership.Epoch, b.N)
			call += b.N
			each := func(clients int, do func(i int)) {
				var next atomic.Int64
				var wg sync.WaitGroup
				for range clients {
					wg.Go(func() {
						for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
							do(i)
						}
					})
				}
				wg.Wait()
			}
			each(256, func(i int) {
				p, err := n.Claim(b.Context(), claimOf(first+i))
				if err != nil {
					b.Error(err)
				}
				epochs[i] = p.Epoch
			})
			b.ResetTimer()
			each(atOnce, func(i int) {
				if _, err := n.Do(b.Context(), ownership.Release{Call: claimOf(first + i).Call, Epoch: epochs[i], Told: true, Why: "over"}); err != nil {
					b.Error(err)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ends/s")
		})
	}
}
