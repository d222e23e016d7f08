package regionsim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// step is one fault of a schedule. What its numbers mean depends on the fault.
type step struct {
	after  time.Duration // since the step before
	fault  string
	node   int           // which seat
	leader bool          // the leader's instead
	other  int           // another seat
	length time.Duration // until it is over
	n      uint64
}

// String tells the step.
func (s step) String() string {
	who := fmt.Sprint("node ", s.node)
	if s.leader {
		who = "the leader"
	}
	return fmt.Sprintf("%s: %s, other %d, for %v, n %d", s.fault, who, s.other, s.length.Round(time.Millisecond), s.n)
}

// second and third are the first seeds of their editions. In those of the third, nodes begin
// with software of other command formats, and are upgraded with their first restart, and nodes
// look dead to others that are well.
const (
	second = 1 << 40
	third  = 1 << 41
)

// kinds returns the faults that a seed draws from. Two of three seeds from the second
// edition on take three kinds only: what one of them breaks the others do not hide.
func kinds(seed uint64) []fault {
	all := faults
	if seed >= second {
		all = append(slices.Clone(faults), later...)
	}
	if seed >= third || *only != "" {
		all = append(slices.Clone(all), latest...)
	}
	if *only != "" {
		return slices.DeleteFunc(slices.Clone(all), func(f fault) bool { return f.name != *only })
	}
	if seed < second || seed%3 == 0 {
		return all
	}
	rng := rand.New(rand.NewPCG(seed, 8))
	var few []fault
	for len(few) < 3 {
		if f := all[rng.IntN(len(all))]; rng.IntN(8) < f.weight {
			few = append(few, f)
		}
	}
	return few
}

// draw returns the schedule of a seed.
func draw(seed uint64, span time.Duration) (nodes int, steps []step) {
	rng := rand.New(rand.NewPCG(seed, 2))
	nodes = []int{3, 3, 3, 4, 5}[rng.IntN(5)]
	pace := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}[rng.IntN(3)]
	var bag []string
	for _, f := range kinds(seed) {
		if _, known := missing[f.name]; known {
			continue
		}
		for range f.weight {
			bag = append(bag, f.name)
		}
	}
	for at := time.Duration(0); at < span; {
		s := step{
			after: time.Duration(rng.Int64N(int64(2 * pace))), fault: bag[rng.IntN(len(bag))],
			node: rng.IntN(8), leader: rng.IntN(3) == 0, other: rng.IntN(8), n: rng.Uint64(),
			length: 50*time.Millisecond + time.Duration(rng.Int64N(int64(6*time.Second))),
		}
		if rng.IntN(8) == 0 {
			s.length *= 3
		}
		if rng.IntN(4) == 0 {
			s.after = 0 // two at once
		}
		at += s.after
		steps = append(steps, s)
	}
	return nodes, steps
}
