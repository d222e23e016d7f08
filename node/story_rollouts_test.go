package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/graphsim"
	evidence "tandem/ledger"
	"tandem/ownership"
	"tandem/ownership/history"
)

// version is what a node was last told of a version; false: nothing.
func (x *seat) version(v string) (ownership.VersionState, bool) {
	for _, s := range x.node.region.Fitness().Versions {
		if s.Version == v {
			return s, true
		}
	}
	return ownership.VersionState{}, false
}

// deploysVersion gives a node's bot another version, and waits until every node knows.
func (s *stage) deploysVersion(x *seat, version string) {
	s.t.Helper()
	s.cloud.Bot(x.name).SetVersion(version)
	eventually(s.t, "version "+version+" at "+x.name, func() error {
		for _, n := range s.running(x.region) {
			known := false
			for _, v := range n.region.Fitness().Versions {
				for _, id := range v.Nodes {
					known = known || v.Version == version && id == x.id()
				}
			}
			if !known {
				return fmt.Errorf("%s knows nothing of it: %+v", n.cfg.Node.ID, n.region.Fitness().Versions)
			}
		}
		return nil
	})
}

// rules gives a version a rule, as an operator does at a node.
func (x *seat) rules(r ownership.Rollout) error {
	r.App, r.By = testApp, "ann"
	out, err := x.node.region.Do(ownership.By(x.s.t.Context(), "ann"), ownership.SetRollout{At: time.Now(), Rollout: r})
	if err == nil {
		err = out.Err
	}
	return err
}

func (x *seat) rule(version string) (ownership.Rollout, error) {
	for _, r := range x.node.table.Rollouts() {
		if r.Version == version {
			return r, nil
		}
	}
	return ownership.Rollout{}, fmt.Errorf("%s knows no rule for %s", x.name, version)
}

// placedOn counts the calls that went to a node since an event.
func (s *stage) tookSince(x, at *seat, after uint64) (here, all int) {
	s.t.Helper()
	events, err := at.node.table.Events(after, 0)
	must(s.t, err)
	for _, e := range events {
		if e.Kind == history.Claimed {
			all++
			if e.Node == x.id() {
				here++
			}
		}
	}
	return here, all
}

func (x *seat) lastEvent() uint64 {
	events, err := x.node.table.Events(0, 0)
	must(x.s.t, err)
	return events[len(events)-1].ID
}

// TestABadVersionOfABotHaltsByItself: one node of three gets a version that ends every
// call. It hurts five calls or one in a hundred at most, is halted within ten seconds, the
// history and the ledger say why, all other calls are untouched, and a new leader keeps to it.
func TestABadVersionOfABotHaltsByItself(t *testing.T) {
	long(t, "it takes 20 s")
	for name, code := range map[string]string{"by failures": "408/8544", "by ends with a good code": "200/5001"} {
		t.Run(name, func(t *testing.T) { // one after the other: both at once would be too many calls for other stories beside them
			s := deploy(t, plan{sim: func(c *graphsim.Config) {
				if code == "200/5001" { // the others' calls live for longer than what counts as short
					c.Timings.TalkMin, c.Timings.TalkMax = 5500*time.Millisecond, 6*time.Second
				}
			}})
			for _, x := range s.seats {
				s.deploysVersion(x, "2.4.1")
			}
			s.run(graphsim.Load{Rate: 30, MaxCalls: 60})
			bad := s.seats[2]
			must(t, s.seats[1].rules(ownership.Rollout{Version: "2.5.0", Share: 1000}))
			s.cloud.Bot(bad.name).SetFailing(1, code)
			s.deploysVersion(bad, "2.5.0")
			before := s.seats[0].lastEvent()
			report := s.run(graphsim.Load{Rate: 30, MaxCalls: 200})
			s.kept(report)
			eventually(t, "the halt", func() error {
				r, err := s.seats[0].rule("2.5.0")
				if err == nil && !r.Halted {
					v, _ := s.seats[0].version("2.5.0")
					return fmt.Errorf("it goes on: %+v, %+v", r, v)
				}
				return err
			})
			hurt, all := s.tookSince(bad, s.seats[0], before)
			if most := max(5, all/100); hurt == 0 || hurt > most {
				t.Errorf("of %d calls the bad version had %d, it may have %d", all, hurt, most)
			}
			events, err := s.seats[1].node.table.Events(before, 0)
			must(t, err)
			var first, halt history.Event
			for _, e := range events {
				if e.Kind == history.Claimed && e.Node == bad.id() && first.ID == 0 {
					first = e
				}
				if e.Kind == history.RolloutHalted {
					halt = e
				}
			}
			if took := halt.At.Sub(first.At); !strings.Contains(halt.Text, "2.5.0") || !strings.Contains(halt.Text, " of its ") || took > 10*time.Second {
				t.Errorf("after %v the history says %q", took, halt.Text)
			}
			page, err := s.seats[0].api().Ledger(t.Context(), evidence.Filter{Kind: evidence.Change}, 0, 10, true)
			must(t, err)
			if len(page.Items) == 0 || page.Items[0].Action != string(history.RolloutHalted) || page.Items[0].By != "tandem" || page.Items[0].Reason == "" {
				t.Errorf("the ledger says %+v", page.Items)
			}

			// A new leader knows it, and gives the version nothing.
			s.leader("emea").stop()
			var rest []*seat
			for _, x := range s.seats {
				if x.node != nil {
					rest = append(rest, x)
				}
			}
			s.aim(rest...)
			s.leader("emea")
			if bad.node != nil {
				before = rest[0].lastEvent()
				s.run(graphsim.Load{Rate: 30, MaxCalls: 40})
				if hurt, all := s.tookSince(bad, rest[0], before); hurt > 0 || all < 40 {
					t.Errorf("under a new leader the halted version had %d of %d calls", hurt, all)
				}
				return
			}
			if r, err := rest[0].rule("2.5.0"); err != nil || !r.Halted {
				t.Errorf("a new leader knows %+v, %v", r, err)
			}
		})
	}
}

// TestAGoodVersionOfABotIsTakenOnStepByStep: its share grows by itself, from a hundredth to all, and
// nothing is halted. Where its nodes are the only ones left, it takes all calls before that.
func TestAGoodVersionOfABotIsTakenOnStepByStep(t *testing.T) {
	long(t, "it takes 20 s")
	s := deploy(t, plan{sim: func(c *graphsim.Config) {
		c.Timings.TalkMin, c.Timings.TalkMax = 20*time.Millisecond, 60*time.Millisecond
	}})
	for _, x := range s.seats {
		s.deploysVersion(x, "2.4.1")
	}
	s.run(graphsim.Load{Rate: 30, MaxCalls: 60})
	must(t, s.seats[0].rules(ownership.Rollout{Version: "2.5.0", Share: 1000, Steps: true}))
	s.deploysVersion(s.seats[1], "2.5.0")
	before := s.seats[0].lastEvent()
	for range 25 { // some 500 calls, if all goes well
		s.kept(s.run(graphsim.Load{Rate: 30, MaxCalls: 60}))
		if r, err := s.seats[2].rule("2.5.0"); err != nil || r.Halted || r.Share == ownership.WholeShare {
			break
		}
	}
	events, err := s.seats[2].node.table.Events(before, 0)
	must(t, err)
	var grew []string
	for _, e := range events {
		if e.Kind == history.RolloutSet || e.Kind == history.RolloutHalted {
			grew = append(grew, e.Text)
		}
	}
	if r, err := s.seats[2].rule("2.5.0"); err != nil || r.Halted || r.Share != ownership.WholeShare || len(grew) != 2 || !strings.Contains(grew[0], "gets 50 % of the new calls, by tandem: proven at 10 %") {
		v, _ := s.seats[2].version("2.5.0")
		t.Fatalf("the rule became %+v, %v, by way of %q; the version is %+v", r, err, grew, v)
	}

	// Everybody has another version now, with a rule for a hundredth: it takes all calls, and an event says so.
	must(t, s.seats[0].rules(ownership.Rollout{Version: "2.6.0", Share: 100}))
	before = s.seats[0].lastEvent()
	for _, x := range s.seats {
		s.deploysVersion(x, "2.6.0")
	}
	s.kept(s.run(graphsim.Load{Rate: 30, MaxCalls: 50}))
	eventually(t, "an event", func() error {
		events, err := s.seats[2].node.table.Events(before, 0)
		for _, e := range events {
			if e.Kind == history.RolloutTold && strings.Contains(e.Text, "2.6.0") && strings.Contains(e.Text, "it takes the calls") {
				return nil
			}
		}
		return not(err != nil, "nothing tells that it is alone: %v", err)
	})
}
