package faultrig

import (
	"context"
	"time"

	"tandem/faultrig/fleet"
)

// Bars of issue and design, in one place.
const (
	barLeader = 300 * time.Millisecond // leader killed: claims resume, p95
	barAvoid  = 2 * time.Second        // owner killed: no new call goes to it
	barAdopt  = 4 * time.Second        // owner killed: its calls are answered and adopted
)

// processScenarios kill, pause and starve processes.
func processScenarios() []Scenario {
	return []Scenario{
		{Fault: "F01", Title: "kill -9 a follower", Rounds: 4, Calls: 10, Short: true, Round: killFollower},
		{Fault: "F02", Title: "kill -9 the leader", Rounds: 5, Calls: 10, Short: true, Round: killLeader, Judge: judgeLeaderBar},
		{Fault: "F03", Title: "kill -9 all nodes at once", Rounds: 3, Calls: 5, Short: true, Round: killAll},
	}
}

// killFollower: claims at the other nodes go on as if nothing had happened.
func killFollower(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := s.Others(leader)[s.Round%2]
	fault := time.Now()
	victim.Kill()
	if err := s.ClaimsResume(ctx, fault, time.Second, leader); err != nil {
		return err
	}
	if !fleet.Pause(ctx, 2*time.Second) {
		return ctx.Err()
	}
	return s.bringBack(ctx, victim)
}

// bringBack starts a node again and waits until it is ready.
func (s *Stage) bringBack(ctx context.Context, n *fleet.Node) error {
	begun := time.Now()
	if err := n.Start(); err != nil {
		return err
	}
	if err := n.Ready(ctx, fleet.HealWithin); err != nil {
		s.Break("%v", err)
		return nil
	}
	s.Recovered("node back", time.Since(begun), 0)
	fleet.Pause(ctx, restBetween)
	return nil
}

// restBetween lets the cloud's retries come to their end before the next fault:
// it tries a notification again for some ten seconds, which must not meet three
// owners dying one after the other.
const restBetween = 4 * time.Second

// killLeader: claims stop for an election only.
func killLeader(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	fault := time.Now()
	leader.Kill()
	if err := s.ClaimsResume(ctx, fault, 5*time.Second, s.Others(leader)...); err != nil {
		return err
	}
	if !fleet.Pause(ctx, 2*time.Second) {
		return ctx.Err()
	}
	return s.bringBack(ctx, leader)
}

func judgeLeaderBar(_ context.Context, s *Stage) { s.bar("claims", 0.95, barLeader) }

// bar breaks when a quantile of what was measured is above its bar.
func (s *Stage) bar(what string, q float64, limit time.Duration) {
	all := sorted(s.recoveries[what])
	if len(all) == 0 {
		s.Break("%s: nothing was measured", what)
		return
	}
	if got := quantile(all, q); got > limit {
		s.Late("%s: p%.0f is %s, the bar is %s", what, q*100, short(got), limit)
	}
}

// killAll: the nodes come back in another order each time and lack nothing.
func killAll(ctx context.Context, s *Stage) error {
	// Each death of all is a fault of its own: the cloud repeats a notification for some ten
	// seconds, the region is away for more than three, and three deaths at a stretch would be
	// more than any node could answer for.
	fleet.Pause(ctx, 6*time.Second)
	fault := time.Now()
	for _, n := range s.Nodes {
		go n.Kill()
	}
	if !fleet.Until(ctx, 5*time.Second, 5*time.Millisecond, func() bool {
		for _, n := range s.Nodes {
			if n.Up() {
				return false
			}
		}
		return true
	}) {
		s.Break("the nodes did not die")
	}
	begun := time.Now()
	for i := range s.Nodes {
		if err := s.Nodes[(i+s.Round)%len(s.Nodes)].Start(); err != nil {
			return err
		}
		fleet.Pause(ctx, 150*time.Millisecond)
	}
	if err := s.ClaimsResume(ctx, fault, 0, s.Nodes...); err != nil {
		return err
	}
	s.Recovered("claims after the start", time.Since(begun), 10*time.Second)
	return s.AwaitAll(ctx, fleet.HealWithin)
}
