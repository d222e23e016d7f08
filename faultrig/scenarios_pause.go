package faultrig

import (
	"context"
	"slices"
	"time"

	"tandem/faultrig/desk"
	"tandem/faultrig/fleet"
	"tandem/graphsim"
	"tandem/ownership"
)

const (
	pausedFor    = 3500 * time.Millisecond // longer than a lease and its margin: the partitions have moved
	starvedFor   = 8 * time.Second
	starvedShare = 5 // percent of a core
)

// pauseScenarios stop and starve processes without ending them.
func pauseScenarios() []Scenario {
	return []Scenario{
		{
			Fault: "F13", Title: "SIGSTOP of an owner or the leader, then SIGCONT", Rounds: 4, Calls: 20, Short: true, Round: pauseOwner,
			// One pause follows the other: the cloud goes on trying over several.
			Fleet: fleet.Options{Timings: graphsim.Timings{Attempts: 12}},
		},
		{Fault: "F14", Title: "one node gets 5 % of a core", Needs: []fleet.Need{fleet.NeedCgroup}, Calls: 5, Round: starve},
		{Fault: "F32", Title: "an owner that has lost its partitions wakes up", Rounds: 3, Calls: 5, Round: staleOwner},
	}
}

// pauseOwner: whoever wakes up after its partitions moved must not act.
func pauseOwner(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := leader
	if s.Round%2 == 0 {
		victim = s.Others(leader)[(s.Round/2)%2]
	}
	fault := time.Now()
	if err := victim.Pause(); err != nil {
		return err
	}
	took, err := s.resume(ctx, fault, s.Others(victim)...)
	fleet.Pause(ctx, time.Until(fault.Add(pausedFor)))
	if err := victim.Continue(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	what := "claims, a follower paused"
	if victim == leader {
		what = "claims, leader paused"
	}
	s.Recovered(what, took, 5*time.Second)
	return victim.Ready(ctx, fleet.HealWithin)
}

// staleOwner: calls of the node that slept are posted straight to it the moment
// it wakes up; it may relay them or say no, but never hand them to its bot.
func staleOwner(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := s.Others(leader)[s.Round%2]
	mine, err := s.claimAt(ctx, victim, claimedThere)
	if err != nil {
		return err
	}
	fault := time.Now()
	if err := victim.Pause(); err != nil {
		return err
	}
	adopted := s.adoptedBy(ctx, mine, victim, 10*time.Second)
	if adopted == 0 {
		s.Break("the calls of %s were not adopted within 10s of its pause", victim.ID)
	} else {
		s.Recovered("adoption", time.Since(fault), barAdopt)
	}
	if err := victim.Continue(); err != nil {
		return err
	}
	for _, id := range mine {
		_, _ = s.Load.Claim(victim, id) // the desk judges whatever comes of it
	}
	return victim.Ready(ctx, fleet.HealWithin)
}

// adoptedBy waits until another node's bot has been told of every call, and
// gives how long after now that was; 0: not within the limit.
func (s *Stage) adoptedBy(ctx context.Context, calls []ownership.CallID, not *fleet.Node, limit time.Duration) time.Duration {
	begun := time.Now()
	left := append([]ownership.CallID(nil), calls...)
	if !fleet.Until(ctx, limit, 10*time.Millisecond, func() bool {
		for len(left) > 0 {
			if !slices.ContainsFunc(s.Desk.Of(left[0]), func(t desk.Told) bool { return t.Node != not.ID }) {
				return false
			}
			left = left[1:]
		}
		return true
	}) {
		return 0
	}
	return time.Since(begun)
}

// starve: slow, but never wrong.
func starve(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := leader
	fault := time.Now()
	free, err := fleet.LimitCPU(s.Fleet, victim, starvedShare)
	if err != nil {
		return err
	}
	took, err := s.resume(ctx, fault, s.Others(victim)...)
	fleet.Pause(ctx, time.Until(fault.Add(starvedFor)))
	if err := free(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	s.Recovered("claims", took, 10*time.Second)
	return victim.Ready(ctx, fleet.HealWithin)
}
