package ownership

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// crowd is a region under uneven arrivals: quiet stretches and bursts, single
// calls and meetings of two to four, short and long calls, meetings that end
// all at once.
type crowd struct {
	t       *testing.T
	rnd     *rand.Rand
	table   *smallTable
	now     time.Time
	ends    map[CallID]time.Time
	placed  map[NodeID][]time.Time // for Recent
	arrived int
}

func newCrowd(t *testing.T, seed uint64, capacities []int) *crowd {
	c := &crowd{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), table: newTable(), now: noon,
		ends: map[CallID]time.Time{}, placed: map[NodeID][]time.Time{}}
	for i, room := range capacities {
		c.table.add(NodeID(fmt.Sprintf("n%d", i)), fmt.Sprint(i%3), room, 8)
	}
	return c
}

// arrive claims n calls in one batch.
func (c *crowd) arrive(n int, meanLength time.Duration) {
	for id, f := range c.table.fit {
		recent := slices.DeleteFunc(c.placed[id], func(at time.Time) bool { return c.now.Sub(at) > 2*time.Second })
		c.placed[id], f.Recent = recent, len(recent)
		c.table.fit[id] = f
	}
	p := NewPlacer(c.table, c.now, c.table.fit)
	for n > 0 {
		legs, groups := 1, []GroupKey(nil)
		if c.rnd.IntN(10) == 0 {
			legs, groups = 2+c.rnd.IntN(3), []GroupKey{ThreadKey(fmt.Sprint(c.arrived))}
		}
		end := c.now.Add(time.Duration(c.rnd.ExpFloat64() * float64(meanLength)))
		for range min(legs, n) {
			claim := Claim{Call: CallID(fmt.Sprintf("call%d", c.arrived)), Groups: groups}
			pl, err := p.Place(claim)
			if err != nil {
				c.t.Fatalf("placing call %d: %v", c.arrived, err)
			}
			c.table.record(claim, pl, c.now)
			c.ends[claim.Call] = end
			c.placed[pl.Owner] = append(c.placed[pl.Owner], c.now)
			c.arrived++
			n--
		}
	}
}

func (c *crowd) pass(d time.Duration) {
	c.now = c.now.Add(d)
	for id, end := range c.ends {
		if end.Before(c.now) {
			c.table.end(id)
			delete(c.ends, id)
		}
	}
}

// spread is the highest share of capacity in use, over the region's share. With
// equal capacities that is max ÷ mean live calls.
func (c *crowd) spread() (spread, used float64) {
	live, room, top := 0, 0, 0.0
	for _, n := range c.table.nodes {
		l := c.table.Live(n.ID)
		live, room = live+l, room+n.Capacity
		top = max(top, float64(l)/float64(n.Capacity))
	}
	used = float64(live) / float64(room)
	return top / used, used
}

// TestSpread holds the goal of the placement: max ÷ mean live calls at most 1.10
// over a region under uneven arrivals.
func TestSpread(t *testing.T) {
	for nodes := 3; nodes <= 9; nodes++ {
		for _, mixed := range []bool{false, true} {
			t.Run(fmt.Sprintf("nodes=%d/mixed capacities=%v", nodes, mixed), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(uint64(nodes), 7))
				capacities := make([]int, nodes)
				total := 0
				for i := range capacities {
					capacities[i] = 200
					if mixed {
						capacities[i] = 100 * (1 + rnd.IntN(4))
					}
					total += capacities[i]
				}
				c := newCrowd(t, uint64(nodes), capacities)
				const length = 3 * time.Minute
				rate := float64(total) * 0.5 / length.Seconds() // half full on average
				worst, sum, samples, over := 0.0, 0.0, 0, 0
				for second := range 1800 {
					// Ten seconds at twice the rate, ten at nearly none, with a burst.
					now := rate * 2
					if second/10%2 == 1 {
						now = rate / 10
					}
					n := int(now) + c.rnd.IntN(2)
					if second%97 == 0 {
						n += total / 20
					}
					c.arrive(n, length)
					c.pass(time.Second)
					if got, used := c.spread(); second > 300 && used > 0.2 {
						worst, sum, samples = max(worst, got), sum+got, samples+1
						if got > 1.10 {
							over++
						}
					}
				}
				mean := sum / float64(samples)
				t.Logf("%d calls: max ÷ mean is %.3f on average, %.3f at worst", c.arrived, mean, worst)
				if mean > 1.10 || math.IsNaN(mean) {
					t.Errorf("max ÷ mean is %.3f on average, the goal is 1.10", mean)
				}
				if over*100 > samples {
					t.Errorf("max ÷ mean is over 1.10 in %d of %d seconds, allowed is one in a hundred", over, samples)
				}
			})
		}
	}
}
