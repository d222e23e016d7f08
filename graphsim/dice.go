package graphsim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// dice is a seeded random source that several goroutines may use. Each call has
// its own, so that its choices do not depend on how the calls interleave.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func newDice(seed, stream uint64) *dice {
	return &dice{r: rand.New(rand.NewPCG(seed, stream))}
}

// chance is true with probability p.
func (d *dice) chance(p float64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.Float64() < p
}

func (d *dice) float() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.Float64()
}

// n is in [0, below).
func (d *dice) n(below int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(below)
}

// between is in [low, high].
func (d *dice) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return low + time.Duration(d.r.Int64N(int64(high-low)+1))
}

// arrival is the time to the next event of a Poisson stream of rate a second.
func (d *dice) arrival(rate float64) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.r.ExpFloat64() / rate * float64(time.Second))
}

// guid is a random id in the form 8-4-4-4-12, lower case.
func (d *dice) guid() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, b := d.r.Uint64(), d.r.Uint64()
	s := fmt.Sprintf("%016x%016x", a, b)
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
}

// weighted picks an index by weight; -1 when nothing has any.
func (d *dice) weighted(n int, weight func(int) float64) int {
	var sum float64
	for i := range n {
		sum += weight(i)
	}
	x := d.float() * sum
	last := -1
	for i := range n {
		w := weight(i)
		if w <= 0 {
			continue
		}
		last = i
		if x -= w; x < 0 {
			return i
		}
	}
	return last
}
