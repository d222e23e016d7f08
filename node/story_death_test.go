package node

import (
	"context"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/graphsim"
	"tandem/ownership"
)

// told counts the events that a bot was told, by node.
type told struct{ adopted, rejoin map[string]int }

// listen counts what the bots are told of Tandem's own, until the test ends.
func (s *stage) listen() (count func() told) {
	ctx, cancel := context.WithCancel(context.Background())
	heard := s.cloud.Watch(ctx)
	ask, done := make(chan chan told), make(chan struct{})
	go func() {
		defer close(done)
		t := told{map[string]int{}, map[string]int{}}
		for {
			select {
			case h, ok := <-heard:
				switch {
				case !ok:
					return
				case h.What == "adopted":
					t.adopted[h.From]++
				case h.What == "rejoin":
					t.rejoin[h.From]++
				}
			case c := <-ask:
				c <- told{cloneCounts(t.adopted), cloneCounts(t.rejoin)}
			}
		}
	}()
	s.t.Cleanup(func() { cancel(); <-done })
	return func() told {
		c := make(chan told)
		ask <- c
		return <-c
	}
}

func cloneCounts(m map[string]int) map[string]int {
	c := map[string]int{}
	for k, v := range m {
		c[k] = v
	}
	return c
}

// live counts a node's calls in a state, as another node tells it.
func (s *stage) live(at *seat, owner ownership.NodeID, state ownership.CallState) int {
	s.t.Helper()
	page, err := at.api().Calls(s.t.Context(), ownership.CallFilter{Node: owner, State: state}, "", 1000)
	must(s.t, err)
	return len(page.Items)
}

// status returns what a node says of itself.
func (x *seat) status() api.Status {
	x.s.t.Helper()
	st, err := x.api().Status(x.s.t.Context())
	must(x.s.t, err)
	return st
}

// longCalls makes calls that outlive a failover.
func longCalls(c *graphsim.Config) {
	c.Timings.TalkMin, c.Timings.TalkMax = 6500*time.Millisecond, 7500*time.Millisecond
	c.Timings.Attempts = 9
	c.Timings.RecordingClock = 15 * time.Second
}

// leads finds the region's leader by asking the nodes' admin doors.
func (s *stage) leads(among ...*seat) (lead *seat, others []*seat) {
	s.t.Helper()
	name := among[0].status().Cluster.Leader
	for _, x := range among {
		if x.name == string(name) {
			lead = x
		} else {
			others = append(others, x)
		}
	}
	if lead == nil {
		s.t.Fatalf("the leader is %q", name)
	}
	return lead, others
}

// TestF31_TheLeaderIsKilledInTheMiddleOfItsCalls: kill -9 of the node that leads
// and owns calls. What rang on it is answered by others, what was answered is
// adopted, and nothing is lost.
func TestF31_TheLeaderIsKilledInTheMiddleOfItsCalls(t *testing.T) {
	long(t, "it takes 15 s")
	t.Parallel()
	s := deploy(t, plan{children: true, secure: true, sim: longCalls})
	count := s.listen()
	victim, rest := s.leads(s.seats...)
	s.runAll(graphsim.Load{Rate: 50, MaxCalls: 24})
	eventually(t, "answered calls on the leader", func() error {
		n := s.live(rest[0], victim.id(), ownership.CallAnswered)
		return not(n >= 4 && s.cloud.Report().Answered == 24, "%d on it, %d in all", n, s.cloud.Report().Answered)
	})
	// From here on nothing can be answered: new calls ring.
	s.cloud.SetFault(graphsim.EndpointCalls, graphsim.Fault{Share: 1, Status: 503})
	s.runAll(graphsim.Load{Rate: 50, MaxCalls: 12})
	eventually(t, "ringing calls on the leader", func() error {
		n := s.live(rest[0], victim.id(), ownership.CallClaimed)
		return not(n >= 2, "%d", n)
	})
	victim.kill()
	killed := time.Now()
	s.cloud.SetFault(graphsim.EndpointCalls, graphsim.Fault{})
	s.aim(rest...)
	eventually(t, "all of its calls with living owners", func() error {
		for _, x := range rest {
			if st := x.status(); st.Cluster.Leader == "" || st.Cluster.Leader == victim.id() {
				return not(false, "%s knows no leader", x.name)
			}
		}
		n := s.live(rest[0], victim.id(), ownership.CallAnswered) + s.live(rest[0], victim.id(), ownership.CallClaimed)
		return not(n == 0, "%d still stand on the dead node", n)
	})
	t.Logf("its calls had new owners %s after its death", time.Since(killed).Round(time.Millisecond))
	r := s.settled()
	s.kept(r)
	got := count()
	if r.Adopted < 4 || r.Calls != 36 || got.adopted[victim.name] != 0 {
		t.Errorf("%d of %d calls were adopted; the bots were told %+v", r.Adopted, r.Calls, got)
	}
	for _, x := range rest {
		if got.adopted[x.name] == 0 {
			t.Errorf("the bot of %s was told of no adopted call: %+v", x.name, got)
		}
	}
}

// TestF31_PinnedCallsOfADeadNodeAreListedToRejoin: the media of an app-hosted
// call die with its node.
func TestF31_PinnedCallsOfADeadNodeAreListedToRejoin(t *testing.T) {
	long(t, "it takes 10 s")
	t.Parallel()
	s := deploy(t, plan{
		children: true,
		sim: func(c *graphsim.Config) {
			longCalls(c)
			c.Answering, c.Apps[0].Pinned = graphsim.AnswerByBot, true
		},
		shape: func(_ *seat, c *Config) {
			c.Apps[0].Hosting, c.Apps[0].Answer, c.Apps[0].AnswerWith = "app", "bot", nil
			c.Apps[0].Silence = new(time.Duration) // nobody waits for it to come back
		},
	})
	count := s.listen()
	_, rest := s.leads(s.seats...)
	victim, witness := rest[0], rest[1]
	s.runAll(graphsim.Load{Rate: 50, MaxCalls: 18})
	mine := 0
	eventually(t, "answered calls on "+victim.name, func() error {
		mine = s.live(witness, victim.id(), ownership.CallAnswered)
		claimed := s.live(witness, "", ownership.CallClaimed)
		return not(mine >= 3 && claimed == 0 && s.cloud.Report().Answered == 18, "%d, and %d claimed", mine, claimed)
	})
	victim.kill()
	eventually(t, "its calls in the list of orphans", func() error {
		n := s.live(witness, "", ownership.CallOrphaned)
		return not(n == mine, "%d of %d", n, mine)
	})
	page, err := witness.api().Calls(t.Context(), ownership.CallFilter{State: ownership.CallOrphaned}, "", 100)
	must(t, err)
	for _, c := range page.Items {
		if !c.Pinned || c.Tenant == "" || c.App != testApp {
			t.Errorf("an orphan does not say what its rejoining needs: %+v", c)
		}
		if why, err := witness.api().ExplainCall(t.Context(), string(c.ID)); err != nil || len(why.Timeline) < 3 {
			t.Errorf("its history does not tell: %v %+v", err, why)
		}
	}
	eventually(t, "the bots told to rejoin", func() error {
		got := count()
		n := 0
		for _, k := range got.rejoin {
			n += k
		}
		return not(n >= mine && got.rejoin[victim.name] == 0, "%+v", got)
	})
	s.kept(s.settled())
}
