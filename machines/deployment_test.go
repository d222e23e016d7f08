package machines_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/graphsim"
)

// manyCalls makes TestThreeRegionsFarApart as long as so many calls need, with each node
// dead once and a region that stands still: go test ./machines -run FarApart -calls 10000 -v.
var manyCalls = flag.Int("calls", 0, "calls of TestThreeRegionsFarApart; 0: as few as show something")

// deploymentTest is the story of three regions that are one deployment.
type deploymentTest struct {
	*stage
	far    *distance
	ages   *ageWatch
	report graphsim.Report // what was seen last, without what is excused
	late   int             // answers that a fault excuses
}

// TestThreeRegionsFarApart: three regions of three nodes with 80 to 150 ms there and back
// between them, a third of the later notifications in the wrong region, and a rule for
// every call. With any one node dead, or one region cut off or standing still, no call is
// lost, refused or handled outside its region. Where the rules are soft, the others stand
// in for a region that is lost, and it takes its share when it is back.
func TestThreeRegionsFarApart(t *testing.T) {
	s := build(t, layout{regions: []string{"emea", "amer", "apac"}, each: 3, astray: 0.35, known: true, hard: true})
	d := &deploymentTest{stage: s}
	d.far = s.separate(map[[2]string]time.Duration{
		{"emea", "amer"}: 40 * time.Millisecond, {"emea", "apac"}: 75 * time.Millisecond, {"amer", "apac"}: 60 * time.Millisecond,
	})
	s.form()

	victims, rate, run := []string{"amer-1"}, 6.0, 8*time.Second // amer-1 is the one door of amer that the others are told
	if *manyCalls > 0 {
		victims, rate = nil, 30
		for _, m := range s.machines {
			victims = append(victims, m.name)
		}
		run = time.Duration(float64(*manyCalls) / rate / float64(len(victims)+1) * float64(time.Second))
	} else {
		s.tell("a short form: one node dies instead of nine, and no region stands still; -calls 10000 for all of it")
	}
	d.ages = watchAges(s)
	d.quiet(rate, run)
	for _, name := range victims {
		d.oneDead(name, rate, run)
	}
	d.ages.tell(s)
	d.cutOff("apac", rate)
	if *manyCalls > 0 {
		d.standsStill("apac", rate)
		d.otherViews("emea-2", rate)
	}
	d.lost("amer", max(rate, *lostRate))
	s.stop()
}

var lostRate = flag.Float64("lost-rate", 0, "calls a second while a region is lost in TestThreeRegionsFarApart; 0: as in the rest of it")

// load makes calls and waits until they are over; during runs meanwhile.
func (d *deploymentTest) load(rate float64, run time.Duration, during func()) graphsim.Report {
	d.t.Helper()
	d.cloud.tell(order{Targets: d.targets()})
	d.cloud.tell(order{Run: run, Rate: rate})
	if during != nil {
		during()
	}
	before := d.report
	d.report = d.cloud.tell(order{Settle: true})
	d.stage.report(d.report)
	d.report.AnsweredLate -= d.late
	refused := maps.Clone(d.report.Refusals)
	for why, n := range before.Refusals {
		refused[why] -= n
	}
	maps.DeleteFunc(refused, func(_ string, n int) bool { return n == 0 })
	d.tell("of them: %d calls, %d POSTs without a response, refused %v", d.report.Calls-before.Calls,
		d.report.Responses["none"]-before.Responses["none"], refused)
	return before
}

// kept: no promise was broken since the beginning.
func (d *deploymentTest) kept(when string) {
	d.t.Helper()
	if !d.report.OK() {
		d.t.Fatalf("%s a promise was broken: %s", when, strings.Join(d.report.Violations, "\n"))
	}
	d.atHome(when)
}

// atHome: every call was answered in the region that its rule names (I1, residency).
func (d *deploymentTest) atHome(when string) {
	d.t.Helper()
	d.oneRegionOwns(d.tables(), 0)
	for id, f := range d.cloud.fates() {
		if !f.AnsweredAt.IsZero() && f.Region != f.Near {
			d.t.Errorf("%s call %s was answered in %s; its rule is hard and names %s", when, id, f.Region, f.Near)
		}
	}
}

// quiet: nothing is broken. It tells how fast a call is answered that rang in the wrong region.
func (d *deploymentTest) quiet(rate float64, run time.Duration) {
	d.t.Helper()
	d.tell("%s of calls, %.0f a second, a third of what follows astray", run.Round(time.Second), rate)
	d.load(rate, run, nil)
	d.kept("before any fault")
	var there, away []time.Duration
	for _, f := range d.cloud.fates() {
		switch {
		case f.AnsweredAt.IsZero():
		case f.Landed == f.Near:
			there = append(there, f.AnsweredAt.Sub(f.RangAt))
		default:
			away = append(away, f.AnsweredAt.Sub(f.RangAt))
		}
	}
	if len(away) == 0 {
		d.t.Error("no call rang in the wrong region: the test shows less than it should")
	}
	d.tell("first notification to answer: %s in the right region, %s in the wrong one", spans(there), spans(away))
}

// regionDown is how a node refuses a call of another region, by a hard rule.
const regionDown = "503 region_down"

// oneDead: with one node dead, its region is not down, whichever of its doors the others knew.
func (d *deploymentTest) oneDead(name string, rate float64, run time.Duration) {
	d.t.Helper()
	victim := d.machine(name)
	d.kill(victim)
	d.ages.rest(victim)
	took := eventually(d.t, 15*time.Second, "the others of "+victim.region+" own all partitions", func() string {
		for _, m := range d.of(victim.region) {
			seen, err := m.inspect()
			if err != nil {
				return err.Error()
			}
			for _, p := range seen.partitions {
				if string(p.Owner) == name {
					return m.name + " shows partition " + p.ID.String() + " as that of " + name
				}
			}
		}
		return ""
	})
	d.tell("%s was killed; the others own its partitions %s later", name, took.Round(time.Millisecond))
	before := d.load(rate, run, nil)
	d.kept("with " + name + " dead")
	if n := d.report.Refusals[regionDown] - before.Refusals[regionDown]; n != 0 {
		d.t.Errorf("with %s dead, %d POSTs were refused because its region could not be reached", name, n)
	}
	victim.start()
	d.active(victim)
}

// kill takes nodes away, and tells the cloud: they take along what they had handed over
// and not yet acknowledged, and no name leads to them any more.
func (d *deploymentTest) kill(nodes ...*machine) {
	d.t.Helper()
	var names []string
	for _, m := range nodes {
		m.kill()
		names = append(names, m.name)
	}
	d.cloud.tell(order{Died: names})
	d.cloud.tell(order{Targets: d.targets()})
}

func (d *deploymentTest) machine(name string) *machine {
	return d.machines[slices.IndexFunc(d.machines, func(m *machine) bool { return m.name == name })]
}

// active waits until nodes take new calls again, and have their votes back: a death more
// would else take the quorum away.
func (d *deploymentTest) active(nodes ...*machine) time.Duration {
	d.t.Helper()
	return eventually(d.t, 30*time.Second, "nodes that take calls", func() string {
		for _, m := range nodes {
			seen, err := m.inspect()
			if err != nil {
				return err.Error()
			}
			if !seen.status.Leased || seen.status.Room == 0 {
				return m.name + " has no lease or no room"
			}
			for _, n := range seen.nodes {
				if !n.Voter {
					return string(n.ID) + " has no vote"
				}
			}
		}
		return ""
	})
}

// cutOff: F22 and F24. A region hears nothing of the others for a while; the cloud reaches all.
func (d *deploymentTest) cutOff(region string, rate float64) {
	d.t.Helper()
	d.load(rate, 12*time.Second, func() {
		d.far.cut.Store(&region)
		d.tell("F22: %s hears of no other region", region)
		time.Sleep(6 * time.Second) // how long a fault lasts is the test's to say
		d.far.cut.Store(nil)
		d.tell("F24: the cut is mended")
	})
	d.kept("by a cut between regions")
}

// standsStill: F23. All nodes of a region stop for a while, and go on.
func (d *deploymentTest) standsStill(region string, rate float64) {
	d.t.Helper()
	before := d.report
	d.load(rate, 14*time.Second, func() {
		for _, m := range d.of(region) {
			m.freeze()
		}
		d.tell("F23: %s stands still", region)
		time.Sleep(6 * time.Second) // how long a fault lasts is the test's to say
		for _, m := range d.of(region) {
			m.thaw()
		}
		d.tell("F24: %s goes on", region)
	})
	late := d.report.AnsweredLate - before.AnsweredLate
	missed := 0
	for id, f := range d.cloud.fates() {
		switch {
		case !f.AnsweredAt.IsZero() || f.HungUp:
		case f.Near == region || f.Landed == region: // its rule lets nobody else answer, or it rang where nobody hears
			missed++
		default:
			d.t.Errorf("while %s stood still, call %s of %s was not answered", region, id, f.Near)
		}
	}
	d.tell("%d calls were answered too late, %d never: of %s, or those that rang there", late, missed, region)
	d.late, d.report.AnsweredLate = d.late+late, before.AnsweredLate
	d.kept("with a region that stood still")
}

// otherViews: F34. A node hears nothing of its region for a while, and does not know who has
// which partition by then; the cloud and the other regions reach it all the same. Nobody is
// sent round in a circle (hops, in kept), and nobody is sent to it for what it lost.
func (d *deploymentTest) otherViews(name string, rate float64) {
	d.t.Helper()
	d.load(rate, 14*time.Second, func() {
		d.net.deafen(name, 8471)
		d.tell("F34: %s hears nothing of its region", name)
		time.Sleep(8 * time.Second) // how long a fault lasts is the test's to say
		d.net.undeafen(name)
		d.tell("%s hears again", name)
	})
	d.active(d.machine(name))
	d.kept("with nodes of different views")
}

// spans tells quantiles of durations.
func spans(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	at := func(q float64) time.Duration {
		return all[min(len(all)-1, int(q*float64(len(all))))].Round(time.Millisecond)
	}
	return fmt.Sprintf("%d with p50 %s, p99 %s, at most %s", len(all), at(0.5), at(0.99), at(1))
}

// lost: all nodes of a region are killed at once, under rules that let others stand in;
// later they are started again.
func (d *deploymentTest) lost(region string, rate float64) {
	d.t.Helper()
	d.softRules()
	dead := d.of(region)
	var killed, started time.Time
	d.load(rate, 30*time.Second, func() {
		time.Sleep(4 * time.Second) // how long it is whole is the test's to say
		killed = time.Now()
		d.kill(dead...)
		d.tell("all nodes of %s were killed", region)
		time.Sleep(9 * time.Second) // how long a fault lasts is the test's to say
		started = time.Now()
		for _, m := range dead {
			m.start()
		}
		d.cloud.tell(order{Targets: d.targets()})
		d.tell("all nodes of %s start again; they take calls after %s", region, d.active(dead...).Round(time.Millisecond))
	})
	const known, taken = 3 * time.Second, 10 * time.Second // the promises
	var elsewhere, back, stayed time.Duration              // the last slow call, the first call at home, the last one away
	var rang, slow, missed, came, away int
	for _, f := range d.cloud.fates() {
		if f.Near != region || f.HungUp || f.RangAt.Before(killed) {
			continue
		}
		if f.AnsweredAt.IsZero() {
			if f.RangAt.Sub(killed) > known {
				missed++
			}
			continue
		}
		since, later := f.RangAt.Sub(killed), f.RangAt.Sub(started)
		switch late := f.AnsweredAt.Sub(f.RangAt) > time.Second; {
		case later >= 0 && f.Region == region:
			if back == 0 || later < back {
				back = later
			}
			came++
		case later >= 0:
			stayed = max(stayed, later)
			if later > taken {
				away++
			}
		default:
			if late {
				elsewhere = max(elsewhere, since)
			}
			if since > known {
				rang++
				if late || f.Region == region {
					slow++
				}
			}
		}
	}
	d.tell("the last new call of %s that was not answered elsewhere within a second rang %s after its death; of %d that rang after %s, %d were slow; %d were never answered",
		region, elsewhere.Round(time.Millisecond), rang, known, slow, missed)
	d.tell("after the start of its nodes, the first new call came to %s at %s, the last to another region at %s; %d came, %d went elsewhere after %s",
		region, back.Round(time.Millisecond), stayed.Round(time.Millisecond), came, away, taken)
	// A busy machine makes one call slow, and no region deaf.
	if rang == 0 || slow*4 > rang || missed > 0 || came == 0 || away*4 > came {
		d.t.Errorf("while %s was dead %d of %d calls were slow and %d never answered; afterwards %d came home and %d did not", region, slow, rang, missed, came, away)
	}
	// What was for the dead nodes alone is lost with them: the cloud gives up. Nothing else is.
	if r := d.report; r.HandledTwice > 0 || r.Misrouted > 0 || r.StrayHops > 0 || r.StaleActions > 0 || r.HopsMax.Region > 1 || r.HopsMax.Node > 1 {
		d.t.Errorf("with %s lost a promise was broken: %s", region, strings.Join(r.Violations, "\n"))
	}
}

// softRules lets the other regions stand in, by a command at one node, and waits until all go by it.
func (d *deploymentTest) softRules() {
	d.t.Helper()
	at := d.machines[len(d.machines)-1]
	file := at.path("rules.yaml")
	if err := os.WriteFile(file, []byte("rules:\n"+d.rules(false)), 0o600); err != nil {
		d.t.Fatal(err)
	}
	if _, err := at.tandem("rules", "set", file, "--expect", "0", "--note", "others stand in"); err != nil {
		d.t.Fatal(err)
	}
	took := eventually(d.t, 15*time.Second, "the rules at all nodes", func() string {
		for _, region := range d.regions {
			now, err := read[api.RulesNow](d.of(region)[0], "rules", "get")
			if err != nil {
				return err.Error()
			}
			for _, n := range now.Nodes {
				if !n.Same || now.Number == 0 {
					return fmt.Sprintf("%s has rules %d", n.Name, n.Number)
				}
			}
		}
		return ""
	})
	d.tell("softer rules, set at %s, are in force on all nodes after %s", at.name, took.Round(time.Millisecond))
}
