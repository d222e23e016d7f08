package faultrig

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"tandem/faultrig/fleet"
	"tandem/graphsim"
	"tandem/ownership"
)

const (
	silence      = 30 * time.Second // of an app that says nothing else
	talking      = 8                // answered calls at the victim
	lapsesWithin = 15 * time.Second // after the silence, an election and its own count included
	learnsSick   = 10 * time.Second
)

// silenceScenarios stop nodes and bots for a while: silence is not death.
func silenceScenarios() []Scenario {
	app := fleet.Options{Hosting: "app", Timings: graphsim.Timings{Attempts: 12}}
	cut := app
	cut.Network, cut.Hosting = true, "service"
	return []Scenario{
		{Fault: "F54", Title: "a node with app-hosted calls freezes for 3 to 45 s", Fleet: app, Rounds: 7, Calls: 10, Round: freezes},
		{Fault: "F55", Title: "a router crashes beside a living bot", Fleet: app, Rounds: 3, Calls: 5, Round: crashBesideBot},
		{Fault: "F58", Title: "a node that is cut off gets the ends of calls", Needs: []fleet.Need{fleet.NeedNetwork}, Fleet: cut, Calls: 5, Round: endsWhileCut},
		{Fault: "F59", Title: "a bot refuses every call, and its health says that it is well", Calls: 10, Claims: 2, Round: sickPosts},
	}
}

// freezes are the lengths of F54's freezes, round by round: all but the last are
// shorter than the silence.
var freezeFor = []time.Duration{3, 20, 5, 12, 8, 25, 45}

// freezes: what a frozen node's bot has, nobody else is told to rejoin, unless the
// node stays away for longer than the silence.
func freezes(ctx context.Context, s *Stage) error {
	length := freezeFor[s.Round%len(freezeFor)] * time.Second
	victim := s.Nodes[s.Round%len(s.Nodes)]
	calls, err := s.talkAt(ctx, victim, talking)
	if err != nil {
		return err
	}
	fault := time.Now()
	if err := victim.Pause(); err != nil {
		return err
	}
	if err := s.ClaimsResume(ctx, fault, 5*time.Second, s.Others(victim)...); err != nil {
		return err
	}
	fleet.Pause(ctx, time.Until(fault.Add(length-500*time.Millisecond)))
	other := s.Others(victim)[0]
	if length > silence {
		s.rejoined(ctx, calls, victim, time.Until(fault.Add(silence+lapsesWithin)))
	} else {
		for _, id := range calls { // the cloud goes on telling, and is told to come again
			if status := s.saysLater(ctx, other, id, "established", "frozen"); status != http.StatusServiceUnavailable {
				s.Break("%s answered %d for a call whose node has been silent for %s", other.ID, status, time.Since(fault).Round(time.Second))
			}
		}
	}
	fleet.Pause(ctx, time.Until(fault.Add(length)))
	if err := victim.Continue(); err != nil {
		return err
	}
	if err := victim.Ready(ctx, fleet.HealWithin); err != nil {
		s.Break("after a freeze of %s: %v", length, err)
		return nil
	}
	if length > silence {
		s.learnsLost(ctx, calls, victim)
	} else if err := s.kept(ctx, calls, victim, fmt.Sprintf("a freeze of %s", length), "frozen"); err != nil {
		return err
	}
	return s.endAll(ctx, other, calls)
}

// rejoined: after the silence the bots of other nodes are told to rejoin.
func (s *Stage) rejoined(ctx context.Context, calls []ownership.CallID, not *fleet.Node, limit time.Duration) {
	if !fleet.Until(ctx, max(limit, time.Second), 50*time.Millisecond, func() bool {
		for _, id := range calls {
			if told := s.events(id, ownership.EventRejoin); len(told) == 0 || told[0].Node == not.ID {
				return false
			}
		}
		return true
	}) {
		s.Break("the calls of %s were not all rejoined %s after its silence had passed", not.ID, lapsesWithin)
	}
}

// learnsLost: who comes back hears which calls are others' by now, and the media
// of each call are at one bot.
func (s *Stage) learnsLost(ctx context.Context, calls []ownership.CallID, back *fleet.Node) {
	if !fleet.Until(ctx, convergeWithin, 50*time.Millisecond, func() bool {
		for _, id := range calls {
			if len(s.Desk.Has(id)) != 1 {
				return false
			}
		}
		return true
	}) {
		told := 0
		for _, id := range calls {
			told += len(s.events(id, ownership.EventLost))
		}
		s.Break("`lost` was not told: %d of %d calls; %s is back, and the media of its calls are at two bots", told, len(calls), back.ID)
	}
}

// kept: the calls are still the node's, nobody was told to rejoin them, and what
// the cloud has to tell of them reaches the node's bot once.
func (s *Stage) kept(ctx context.Context, calls []ownership.CallID, at *fleet.Node, after, message string) error {
	for _, n := range s.Nodes {
		states, err := s.statesOf(ctx, n, calls)
		if err != nil {
			return err
		}
		if states[ownership.CallOrphaned] > 0 || states[ownership.CallAnswered] != len(calls) {
			s.Break("orphaned: after %s the table of %s says of %d calls: %v", after, n.ID, len(calls), states)
			return nil
		}
	}
	for i, id := range calls {
		if told := s.events(id, ownership.EventRejoin); len(told) > 0 {
			s.Break("after %s the bot of %s was told to rejoin call %s", after, told[0].Node, id)
			return nil
		}
		for range 2 { // and a repeat
			if err := s.notify(ctx, s.Nodes[i%len(s.Nodes)], id, "established", message); err != nil {
				s.Break("after %s: %v", after, err)
				return nil
			}
		}
		if times, by := s.toldOf(id, message); times != 1 || by != at.ID {
			s.Break("after %s a notification of call %s was handed over %d times, at last to %s, not once to %s", after, id, times, by, at.ID)
		}
	}
	return nil
}

// endAll ends the calls at the cloud, so that they do not stand in the way.
func (s *Stage) endAll(ctx context.Context, at *fleet.Node, calls []ownership.CallID) error {
	for _, id := range calls {
		s.Load.End(id)
		if err := s.notify(ctx, at, id, "terminated", "end"); err != nil {
			return err
		}
	}
	return nil
}

// crashBesideBot: the router is back within the silence, and goes on with its
// calls; its bot, which never ended, hears nothing of it.
func crashBesideBot(ctx context.Context, s *Stage) error {
	victim := s.Nodes[s.Round%len(s.Nodes)]
	calls, err := s.talkAt(ctx, victim, talking)
	if err != nil {
		return err
	}
	for _, id := range calls {
		if err := s.notify(ctx, victim, id, "established", "before"); err != nil {
			return err
		}
	}
	fault := time.Now()
	victim.Kill()
	fleet.Pause(ctx, []time.Duration{time.Second, 5 * time.Second, 12 * time.Second}[s.Round%3])
	if err := s.bringBack(ctx, victim); err != nil {
		return err
	}
	s.Recovered("router back", time.Since(fault)-restBetween, 0)
	after := fmt.Sprintf("a crash of %s beside its bot", victim.ID)
	if err := s.kept(ctx, calls, victim, after, "after"); err != nil {
		return err
	}
	return s.endAll(ctx, victim, calls)
}

// endsWhileCut: an end that a node cannot record is 503, or is recorded later; it
// is never swallowed.
func endsWhileCut(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim, other := s.Others(leader)[0], s.Others(leader)[1]
	mine, err := s.talkAt(ctx, victim, 6)
	if err != nil {
		return err
	}
	theirs, err := s.talkAt(ctx, other, 6)
	if err != nil {
		return err
	}
	fault := time.Now()
	if err := s.Sunder([]*fleet.Node{victim}, s.Others(victim)); err != nil {
		return err
	}
	unknown, err := s.claimAt(ctx, other, 6) // made since: the victim's table has never heard of them
	if err != nil {
		return err
	}
	taken := map[ownership.CallID]bool{}
	tell := func(calls []ownership.CallID, what string) {
		for _, id := range calls {
			s.Load.End(id)
			status := s.saysLater(ctx, victim, id, "terminated", what)
			if status/100 == 2 {
				taken[id] = true
			} else if status != http.StatusServiceUnavailable {
				s.Break("a node that is cut off answered %d to the end of a call", status)
			}
		}
	}
	tell(mine[:3], "at once")
	tell(theirs[:3], "at once")
	fleet.Pause(ctx, time.Until(fault.Add(4*time.Second))) // its lease is over
	tell(mine[3:], "without a lease")
	tell(theirs[3:], "without a lease")
	tell(unknown, "of calls that it does not know")
	fleet.Pause(ctx, time.Until(fault.Add(cutFor)))
	if err := s.Mend(); err != nil {
		return err
	}
	if err := s.AwaitAll(ctx, 10*time.Second); err != nil {
		s.Break("10s after the cut was mended: %v", err)
		return nil
	}
	alive := 0
	if !fleet.Until(ctx, convergeWithin, 200*time.Millisecond, func() bool {
		alive = 0
		for _, n := range s.Nodes {
			t, err := readTable(ctx, n)
			if err != nil {
				return false
			}
			for id := range taken {
				if c, ok := t.calls[id]; ok && c.State != ownership.CallEnded {
					alive++
				}
			}
		}
		return alive == 0
	}) {
		s.Break("swallowed: %d of %d ends that the cut-off node took with 2xx are not in the tables", alive, len(taken)*len(s.Nodes))
	}
	for _, calls := range [][]ownership.CallID{mine, theirs, unknown} {
		for _, id := range calls {
			if !taken[id] { // the cloud tells again, elsewhere
				if err := s.notify(ctx, other, id, "terminated", "again"); err != nil {
					s.Break("%v", err)
				}
			}
		}
	}
	return nil
}

// sickPosts: hand-overs that fail count as much as the health that is asked for;
// and one app's bot is no business of another's.
func sickPosts(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := s.Others(leader)[s.Round%2]
	s.Desk.SetPosts(victim.ID, http.StatusServiceUnavailable)
	sick := time.Now()
	for time.Since(sick) < learnsSick {
		_, _ = s.Load.Claim(leader, s.fresh()) // those that go there are what it learns from
		fleet.Pause(ctx, 50*time.Millisecond)
	}
	there, all := 0, 0
	for range 40 {
		id := s.fresh()
		out, err := s.Load.Claim(leader, id)
		if err == nil {
			s.Load.Keep(id, out)
		}
		all++
		if c, err := leader.API.Call(ctx, string(id)); err == nil && c.Placement.Owner == victim.ID {
			there++
		}
	}
	if there > 2 {
		s.Break("%s after the bot of %s began to refuse everything, %d of %d new calls went there", learnsSick, victim.ID, there, all)
	}
	s.Desk.SetPosts(victim.ID, 0)
	well := time.Now()
	if !fleet.Until(ctx, 60*time.Second, 50*time.Millisecond, func() bool {
		id := s.fresh()
		out, err := s.Load.Claim(victim, id)
		if err == nil {
			s.Load.Keep(id, out)
		}
		told := s.Desk.Of(id)
		return len(told) > 0 && told[0].Node == victim.ID
	}) {
		s.Break("a minute after the bot of %s was well again, no new call had gone there", victim.ID)
		return nil
	}
	s.Recovered("bot well", time.Since(well), 0)
	return nil
}
