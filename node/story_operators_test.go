package node

import (
	"net/http"
	"testing"
	"time"

	"tandem/admin/client"
	"tandem/graphsim"
	"tandem/ownership"
)

// state is a node's state as another node's table has it.
func (s *stage) state(at *seat, id ownership.NodeID) ownership.NodeState {
	n, _ := at.node.table.Node(id)
	return n.State
}

// placedOn counts the new calls that a node got so far.
func (s *stage) placedOn(x *seat) int { return s.cloud.Report().CallsByNode[x.name] }

// untilCalled makes calls until a node gets one.
func (s *stage) untilCalled(x *seat) {
	s.t.Helper()
	before := s.placedOn(x)
	eventually(s.t, "a new call on "+x.name, func() error {
		s.runAll(graphsim.Load{Rate: 100, MaxCalls: 6})
		return not(s.placedOn(x) > before, "none")
	})
}

// shunned makes calls and checks that a node gets none of them.
func (s *stage) shunned(x *seat, why string) {
	s.t.Helper()
	must(s.t, s.cloud.Settle(s.t.Context())) // those on their way have arrived
	before := s.placedOn(x)
	s.runAll(graphsim.Load{Rate: 100, MaxCalls: 15})
	must(s.t, s.cloud.Settle(s.t.Context()))
	if now := s.placedOn(x); now != before {
		s.t.Errorf("%s: %s got %d new calls", why, x.name, now-before)
	}
}

// asked asks a node to act, again while nobody can decide.
func (s *stage) asked(what string, act func() error) {
	s.t.Helper()
	eventually(s.t, what, func() error {
		err := act()
		if err != nil && !client.Unavailable(err) {
			s.t.Fatalf("%s: %v", what, err)
		}
		return err
	})
}

// TestOperatorsMoveCallsAround: a drained node, a sick bot, a draining bot and a
// node that leaves, with calls under way all the time.
func TestOperatorsMoveCallsAround(t *testing.T) {
	long(t, "it takes 15 s")
	t.Parallel()
	s := deploy(t, plan{sim: func(c *graphsim.Config) {
		c.Timings.TalkMin, c.Timings.TalkMax = 100*time.Millisecond, 300*time.Millisecond
	}})
	one, two, three := s.seats[0], s.seats[1], s.seats[2]
	s.untilCalled(two)

	// Asked of one node, in force on all.
	s.asked("drain", func() error { return one.api().Drain(t.Context(), two.id(), time.Time{}) })
	eventually(t, "the drain known everywhere", func() error {
		for _, x := range s.seats {
			if st := s.state(x, two.id()); st != ownership.NodeDraining {
				return not(false, "%s has it as %v", x.name, st)
			}
		}
		return nil
	})
	s.shunned(two, "it drains")
	s.asked("undrain", func() error { return three.api().Undrain(t.Context(), two.id()) })
	s.untilCalled(two)

	bot := s.cloud.Bot(two.name)
	for why, set := range map[string]func(bool){"its bot is sick": bot.SetSick, "its bot drains": bot.SetDraining} {
		set(true)
		eventually(t, why+", as the region knows", func() error {
			return not(!s.fit(two), "it is still fit")
		})
		s.shunned(two, why)
		set(false)
		eventually(t, "its bot is well, as the region knows", func() error {
			return not(s.fit(two), "it is still unfit")
		})
		s.untilCalled(two)
	}

	// A node that leaves hands its calls over while they live.
	s.runAll(graphsim.Load{Rate: 60, MaxCalls: 30})
	owned := len(three.node.table.PartitionsOf(three.id()))
	s.asked("leave", func() error { return three.api().Leave(t.Context()) })
	eventually(t, "its partitions with others", func() error {
		n := len(one.node.table.PartitionsOf(three.id()))
		return not(owned > 0 && n == 0 && s.state(one, three.id()) == ownership.NodeGone, "it had %d and has %d", owned, n)
	})
	s.aim(one, two)
	three.stop()
	r := s.settled()
	s.kept(r)
	if voters := one.status().Cluster.Voters; voters != 2 {
		t.Errorf("%d voters are left", voters)
	}
}

// fit asks the region, without effects, whether a new call could go to a node.
func (s *stage) fit(x *seat) bool {
	p, err := s.leader(x.region).node.region.WhatIf(s.t.Context(), ownership.Claim{
		Call: newCall(), App: testApp, Tenant: testTenant, Pin: ownership.Pin{Node: x.id()},
	})
	return err == nil && p.Owner == x.id()
}

// TestF25_RollingRestartUnderLoad: one node after the other stops and comes back
// with its data, while calls come in. Nothing is lost, nothing misrouted, and
// everybody is who it was.
func TestF25_RollingRestartUnderLoad(t *testing.T) {
	long(t, "it takes 20 s")
	t.Parallel()
	rates := graphsim.Unkind()
	// What a bot took is remembered over a restart, but not by an owner after a
	// failover; and on a busy machine a restart may take longer than a lease.
	rates.Duplicate, rates.Reset, rates.ManyDCs = 0, 0, 0
	rates.Recording = 0 // their 5 s are shorter than a lease and an election
	s := deploy(t, plan{secure: true, rates: rates, sim: func(c *graphsim.Config) { c.Timings.Attempts = 10 }})
	identity := map[string]string{}
	for _, x := range s.seats {
		identity[x.name] = x.node.store.Stamp().Incarnation
	}
	r := s.run(graphsim.Load{Rate: 20, Duration: 7 * time.Second}, func() {
		for _, x := range s.seats {
			x.stop()
			x.start()
			s.ready(x)
			if x.node.store.Stamp().Incarnation != identity[x.name] {
				t.Errorf("%s came back as somebody else", x.name)
			}
		}
	})
	s.kept(r)
	t.Logf("%d calls, %d retries, %d adopted, responses %v", r.Calls, r.Retries, r.Adopted, r.Responses)
	for _, x := range s.seats {
		s.untilCalled(x)
	}
	s.kept(s.settled())
	for _, state := range []ownership.CallState{ownership.CallClaimed, ownership.CallAnswered, ownership.CallOrphaned} {
		eventually(t, "what has ended at the cloud ended in the table", func() error {
			n := s.live(s.seats[0], "", state)
			return not(n == 0, "%d calls are %s", n, state)
		})
	}
}

// TestI4_ARepeatFindsItsReplyAcrossARestart: what a bot took before its node
// stopped in order it is not handed again.
func TestI4_ARepeatFindsItsReplyAcrossARestart(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, shape: inProcess})
	x := s.seats[0]
	x.seen.answerWith(func(ownership.HandOver) ownership.Reply { return ownership.Reply{Status: 200, Body: []byte("taken")} })
	id := newCall()
	send := func(name, message string) answer {
		return s.send(http.MethodPost, x.webhook(), sample(t, name, id), map[string]string{
			"Authorization": "Bearer " + s.token(testTenant), "X-Microsoft-Skype-Message-ID": message,
		})
	}
	for _, m := range [][2]string{{incoming, "m1"}, {established, "m2"}} {
		if a := send(m[0], m[1]); a.status != http.StatusOK {
			t.Fatalf("%s is answered with %d %s", m[1], a.status, a.body)
		}
	}
	handed := len(x.seen.of(id))
	x.stop()
	x.start()
	s.ready(x)
	told := func() int { // the bot is told of the calls that it still has
		n := 0
		for _, h := range x.seen.of(id) {
			if h.Event == ownership.EventAdopted || h.Event == ownership.EventRejoin {
				n++
			}
		}
		return n
	}
	if a := send(established, "m2"); a.status != http.StatusOK || a.body != "taken" {
		t.Errorf("the repeat is answered with %d %s", a.status, a.body)
	}
	if n := len(x.seen.of(id)) - told(); n != handed {
		t.Errorf("the bot was handed %d notifications, of which %d are repeats", n, n-handed)
	}
	if a := send(established, "m3"); a.status != http.StatusOK || len(x.seen.of(id))-told() != handed+1 {
		t.Errorf("another message is answered with %d and handed over %d times", a.status, len(x.seen.of(id))-told()-handed)
	}
}

// TestStoppingDoesNotWaitForUnusedConnections: clients open connections in
// advance; net/http would wait 5 s for each.
func TestStoppingDoesNotWaitForUnusedConnections(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, shape: func(_ *seat, c *Config) { c.Public.Grace = time.Minute }})
	c := dial(t, s.seats[0].public)
	defer c.Close()
	if a := s.post(s.seats[0].webhook(), "none", "{}"); a.status != 401 { // so the door has seen the connection
		t.Errorf("the door answers %d", a.status)
	}
	begun := time.Now()
	s.seats[0].stop()
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("it took %s", took)
	}
}
