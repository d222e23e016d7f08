package rollout

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tandem/ownership"
)

const testApp ownership.AppID = "a"

// region is a simulated region: nodes with bots of a version each, calls that are placed as
// the table does, end after a while, and are told with the next renewal.
type region struct {
	j     *Judge
	rng   *rand.Rand
	now   time.Time
	nodes []*simNode
	rules []ownership.Rollout
	ends  map[int][]func() // by tick
	tick  int
	new   int // calls since the new version came
	hurt  map[string]int
	took  map[string]int
	haltd map[string]int // at which new call
	every int            // ticks between two renewals
}

type simNode struct {
	id      ownership.NodeID
	version string
	tally   ownership.VersionTally
}

// behaviour is the shares of a version's calls that end badly, and that are short.
type behaviour struct{ bad, short float64 }

func newRegion(seed uint64, versions ...string) *region {
	r := &region{
		j: New(nil), rng: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1e9, 0), ends: map[int][]func(){},
		hurt: map[string]int{}, took: map[string]int{}, haltd: map[string]int{}, every: 5,
	}
	for i, v := range versions {
		r.nodes = append(r.nodes, &simNode{id: ownership.NodeID(fmt.Sprintf("n%d", i)), version: v, tally: ownership.VersionTally{App: testApp, Version: v, Runs: true}})
	}
	return r
}

func (r *region) renew() {
	for _, n := range r.nodes {
		r.j.Report(n.id, "p", []ownership.VersionTally{n.tally}, nil, r.now)
	}
	decisions, _ := r.j.Decide(r.rules, r.now)
	for _, d := range decisions {
		d.Rollout.Number++
		if d.Rollout.Halted {
			r.haltd[d.Rollout.Version] = r.new
		}
		i := 0
		for i < len(r.rules) && r.rules[i].Version != d.Rollout.Version {
			i++
		}
		r.rules = append(r.rules[:i], append([]ownership.Rollout{d.Rollout}, r.rules[min(i+1, len(r.rules)):]...)...)
	}
}

// pick is what ownership.Place makes of a turn, in short.
func (r *region) pick(turns []ownership.Turn) *simNode {
	turn := map[string]*ownership.Turn{}
	for i := range turns {
		turn[turns[i].Version] = &turns[i]
	}
	draw, low, mine := r.rng.IntN(ownership.WholeShare), 0, ""
	for _, t := range turns {
		if draw >= low && draw < low+t.Share && !t.Halted && t.Left != 0 {
			mine = t.Version
		}
		low += t.Share
	}
	var may []*simNode
	for _, n := range r.nodes {
		if t := turn[n.version]; mine == "" && t == nil || mine == n.version {
			may = append(may, n)
		}
	}
	n := may[r.rng.IntN(len(may))]
	if t := turn[n.version]; t != nil && t.Left > 0 {
		t.Left--
	}
	return n
}

// batch places so many calls at once; they reach their node some ticks later and end after talk ticks.
func (r *region) batch(calls, talk int, is map[string]behaviour) {
	turns := r.j.Turns(r.rules, r.now)
	given := append([]ownership.Turn(nil), turns...)
	at := map[ownership.AppID][]ownership.NodeID{}
	for range calls {
		n := r.pick(turns)
		at[testApp] = append(at[testApp], n.id)
		r.new++
		r.took[n.version]++
		b := is[n.version]
		arrives := r.tick + r.rng.IntN(8)
		r.ends[arrives] = append(r.ends[arrives], func() { n.tally.Taken++ })
		ends := arrives + 1 + r.rng.IntN(talk)
		x := r.rng.Float64()
		if x < b.bad+b.short {
			ends = arrives + 1
			r.hurt[n.version]++
		}
		r.ends[ends] = append(r.ends[ends], func() {
			switch {
			case x < b.bad:
				n.tally.Bad++
			case x < b.bad+b.short:
				n.tally.Short++
			default:
				n.tally.Well++
			}
		})
	}
	r.j.Placed(given, at, false, r.now)
}

// run places calls, rate a tick of 100 ms, until so many are placed.
func (r *region) run(calls, rate, talk int, is map[string]behaviour) {
	for end := r.new + calls; r.new < end; r.tick++ {
		r.now = r.now.Add(100 * time.Millisecond)
		for _, f := range r.ends[r.tick] {
			f()
		}
		delete(r.ends, r.tick)
		if r.tick%r.every == 0 {
			r.renew()
		}
		r.batch(rate, talk, is)
	}
}

func runs(t *testing.T, n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// TestABadVersionHurtsFewCallsAndHalts: whatever the pace of calls and the usual share of
// failures, a version that ends every call stays within the bound at every moment.
func TestABadVersionHurtsFewCallsAndHalts(t *testing.T) {
	for _, usual := range []float64{0, 0.01, 0.03, 0.05} {
		for _, rate := range []int{1, 3, 20} {
			for _, how := range []behaviour{{bad: 1}, {short: 1}} {
				for seed := range uint64(runs(t, 40)) {
					r := newRegion(seed, "1", "1", "1")
					is := map[string]behaviour{"1": {bad: usual, short: 0.02}, "2": how}
					r.run(1000, rate, 50, is)
					r.nodes = append(r.nodes, &simNode{id: "new", version: "2", tally: ownership.VersionTally{App: testApp, Version: "2", Runs: true}})
					r.rules = []ownership.Rollout{{App: testApp, Version: "2", Share: []int{100, 1000, 5000, 10000}[seed%4]}}
					r.renew() // a node gets no call before it was heard
					r.new = 0
					for range 40 {
						r.run(50, rate, 50, is)
						if most := max(5, r.new/100); r.took["2"] > most {
							t.Fatalf("usual %.2f, rate %d, %+v, seed %d: after %d calls it has hurt %d, at most %d", usual, rate, how, seed, r.new, r.took["2"], most)
						}
					}
					if !r.rules[0].Halted {
						t.Fatalf("usual %.2f, rate %d, %+v, seed %d: it was never halted, and hurt %d", usual, rate, how, seed, r.took["2"])
					}
				}
			}
		}
	}
}

// TestAGoodVersionIsNotHalted: 10,000 calls with the usual share of failures, with a rule and without.
func TestAGoodVersionIsNotHalted(t *testing.T) {
	for i, usual := range []behaviour{{0.01, 0.02}, {0.03, 0.05}, {0.05, 0.3}, {0.1, 0.9}, {0.2, 0.1}} {
		for seed := range uint64(runs(t, 100)) {
			r := newRegion(seed+1000*uint64(i), "1", "1", "1")
			is := map[string]behaviour{"1": usual, "2": usual}
			r.run(300, 5, 50, is)
			r.nodes = append(r.nodes, &simNode{id: "new", version: "2", tally: ownership.VersionTally{App: testApp, Version: "2", Runs: true}})
			if seed%2 == 0 {
				r.rules = []ownership.Rollout{{App: testApp, Version: "2", Share: 1000, Steps: seed%4 == 0}}
			}
			r.run(10000, 5, 50, is)
			if len(r.haltd) > 0 {
				t.Fatalf("usual %+v, seed %d: halted after %v calls: %q", usual, seed, r.haltd, r.rules[len(r.rules)-1].Reason)
			}
		}
	}
}

func (r *region) add(version string) *simNode {
	n := &simNode{id: ownership.NodeID("new-" + version), version: version, tally: ownership.VersionTally{App: testApp, Version: version, Runs: true}}
	r.nodes = append(r.nodes, n)
	r.renew()
	r.new = 0
	return n
}

// TestAVersionThatBreaksLaterHalts: it does not live off its good name, with a rule and without.
func TestAVersionThatBreaksLaterHalts(t *testing.T) {
	for seed := range uint64(runs(t, 40)) {
		r := newRegion(seed, "1", "1", "1")
		usual := behaviour{0.03, 0.05}
		r.run(300, 5, 50, map[string]behaviour{"1": usual})
		r.add("2")
		if seed%2 == 0 {
			r.rules = []ownership.Rollout{{App: testApp, Version: "2", Share: 5000}}
		}
		r.run(6000, 5, 50, map[string]behaviour{"1": usual, "2": usual})
		if len(r.haltd) > 0 {
			t.Fatalf("seed %d: it was halted while it was well", seed)
		}
		took := r.took["2"]
		r.run(1500, 5, 50, map[string]behaviour{"1": usual, "2": {bad: 1}})
		if _, halted := r.haltd["2"]; !halted || r.took["2"]-took > 120 {
			t.Errorf("seed %d: it broke and took %d more calls, halted %v", seed, r.took["2"]-took, r.haltd)
		}
	}
}

// TestANewLeaderGoesOn: it knows what is fresh, proven and how many calls came, and what is live.
func TestANewLeaderGoesOn(t *testing.T) {
	r := newRegion(1, "1", "1", "1")
	is := map[string]behaviour{"1": {0.02, 0.02}, "2": {bad: 1}}
	r.run(300, 5, 20, is)
	r.add("2")
	r.rules = []ownership.Rollout{{App: testApp, Version: "2", Share: 100}}
	r.run(300, 5, 20, is)
	took := r.took["2"]
	if took == 0 || took > 5 || r.rules[0].Halted {
		t.Skip("the dice gave the version no call, or all of them")
	}
	was := r.j.States(r.rules, r.now)
	r.j = New(was)
	r.renew()
	now := r.j.States(r.rules, r.now)
	for i := range was {
		if now[i].Since != was[i].Since || now[i].Fresh != was[i].Fresh || now[i].Proven != was[i].Proven || now[i].Taken < was[i].Taken {
			t.Errorf("told %+v, it knows %+v", was[i], now[i])
		}
	}
	r.run(5000, 5, 20, is)
	if r.took["2"] > max(5, r.new/100) || !r.rules[0].Halted {
		t.Errorf("after %d calls it has hurt %d: %+v", r.new, r.took["2"], r.rules[0])
	}
}

// TestAVersionThatIsResumedIsJudgedAnew by what comes from then on.
func TestAVersionThatIsResumedIsJudgedAnew(t *testing.T) {
	r := newRegion(1, "1", "1", "1")
	usual := behaviour{0.02, 0.02}
	r.run(300, 5, 20, map[string]behaviour{"1": usual})
	r.add("2")
	r.rules = []ownership.Rollout{{App: testApp, Version: "2", Share: 1000}}
	r.run(1000, 5, 20, map[string]behaviour{"1": usual, "2": {bad: 1}})
	if !r.rules[0].Halted {
		t.Fatal("it was not halted")
	}
	for _, s := range r.j.States(r.rules, r.now) {
		if s.Version == "2" {
			r.rules[0].Halted, r.rules[0].Base, r.rules[0].Ended = false, s.VersionTally, s.Ended()
		}
	}
	clear(r.haltd)
	r.run(5000, 5, 20, map[string]behaviour{"1": usual, "2": usual})
	if r.rules[0].Halted || r.took["2"] < 100 {
		t.Errorf("mended and resumed it took %d calls: %+v", r.took["2"], r.rules[0])
	}
}

// TestStepsGrowOnlyForAProvenVersion, and up to all calls.
func TestStepsGrowOnlyForAProvenVersion(t *testing.T) {
	r := newRegion(3, "1", "1", "1")
	usual := map[string]behaviour{"1": {0.02, 0.02}, "2": {0.02, 0.02}}
	r.run(300, 5, 20, usual)
	r.add("2")
	r.rules = []ownership.Rollout{{App: testApp, Version: "2", Share: 100, Steps: true}}
	var shares []int
	for range 200 {
		r.run(50, 5, 20, usual)
		if s := r.rules[0].Share; len(shares) == 0 || shares[len(shares)-1] != s {
			shares = append(shares, s)
		}
		if r.rules[0].Share > 100 && r.took["2"] < leastProven {
			t.Fatalf("after %d calls its share is %d", r.took["2"], r.rules[0].Share)
		}
	}
	if fmt.Sprint(shares) != "[100 1000 5000 10000]" {
		t.Errorf("its shares were %v", shares)
	}
}

// TestTheBoundHoldsForBatchesSideBySide: what one batch may give away, the next may not.
func TestTheBoundHoldsForBatchesSideBySide(t *testing.T) {
	j, now := New(nil), time.Unix(1e9, 0)
	report := func(id ownership.NodeID, version string) {
		j.Report(id, "p", []ownership.VersionTally{{App: testApp, Version: version, Runs: true}}, nil, now)
	}
	report("a", "1")
	report("b", "2")
	rules := []ownership.Rollout{{App: testApp, Version: "2", Share: 10000}}
	first, second := j.Turns(rules, now), j.Turns(rules, now)
	if first[0].Left != leastBound || second[0].Left != 0 {
		t.Fatalf("two batches at once may give away %d and %d", first[0].Left, second[0].Left)
	}
	three := map[ownership.AppID][]ownership.NodeID{testApp: {"b", "b", "b", "a"}}
	j.Placed(first, three, false, now)
	j.Placed(second, nil, false, now)
	if third := j.Look(rules, now); third[0].Left != leastBound-3 {
		t.Errorf("with three calls on their way %d are left", third[0].Left)
	}
	later := now.Add(lostAfter + time.Second)
	if fourth := j.Look(rules, later); fourth[0].Left != leastBound {
		t.Errorf("of calls that never came %d are left", fourth[0].Left)
	}
	lost := j.Turns(rules, later)
	j.Placed(lost, map[ownership.AppID][]ownership.NodeID{testApp: {"", ""}}, true, later)
	if fifth := j.Look(rules, later); fifth[0].Left != leastBound-2 {
		t.Errorf("with a batch of two of which nobody knows %d are left", fifth[0].Left)
	}
}
