package faultrig

import (
	"context"
	"errors"
	"sync"
	"time"

	"tandem/faultrig/fleet"
	"tandem/graphsim"
)

const (
	movedEach   = 10 // calls of each planned change in F68 and F73
	hourCalls   = 20
	restartRest = 20 * time.Second // between two rolling restarts of F70
)

// plannedScenarios change owners on purpose: by moves, drains and restarts.
func plannedScenarios() []Scenario {
	repeats := graphsim.Unkind()
	repeats.Duplicate, repeats.ManyDCs, repeats.Reset = 0.4, 0.4, 0.05
	return []Scenario{
		{Fault: "F68", Title: "repeats after every kind of planned change, one kind a round", Rounds: 2 * len(planned()), Calls: 1, Claims: -1, Round: plannedChange, Judge: tellRepeats},
		{Fault: "F73", Title: "repeats after a restart in order, of answered calls that stay", Rounds: 5, Claims: -1, Fleet: fleet.Options{Hosting: "app", Drain: time.Second}, Round: restartOfPinned, Judge: tellRepeats},
		{Fault: "F69", Title: "the leader's answers come late, then not at all", Needs: []fleet.Need{fleet.NeedNetwork}, Rounds: 2, Fleet: fleet.Options{Network: true, Lease: longLease, Election: longElection}, Claims: -1, Round: lateAnswers},
		{Fault: "F71", Title: "moves away from a node whose log comes late", Needs: []fleet.Need{fleet.NeedNetwork}, Rounds: 2, Fleet: fleet.Options{Network: true}, Claims: -1, Round: lateLog},
		{Fault: "F72", Title: "all nodes are told to stop at once", Rounds: 10, Claims: -1, Fleet: fleet.Options{Timings: graphsim.Timings{TalkMax: time.Second}}, Round: stopTogether},
		{Fault: "F70", Title: "tandem sim's calls through rolling restarts, a minute a round", Calls: hourCalls, Claims: -1, Fleet: fleet.Options{Rates: &repeats}, Round: restartsForAnHour, Judge: tellHour},
	}
}

// lateAnswers: a lease counts from when it was asked for. The answers of the
// leader reach one node almost a second late, then not at all; its log comes,
// a little late. It still hears of no election, and is hammered.
func lateAnswers(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := s.Others(leader)[s.Round%2]
	if err := victim.Stop(15 * time.Second); err != nil {
		s.Break("%v", err)
	}
	asks, err := s.Delay(victim, leader)
	if err != nil {
		return err
	}
	defer asks.End()
	log, err := s.Delay(leader, victim)
	if err != nil {
		return err
	}
	defer log.End()
	if err := s.bringBack(ctx, victim); err != nil {
		return err
	}
	if err := s.lead(ctx, leader); err != nil {
		return err
	}
	if err := s.spread(ctx, victim); err != nil {
		return err
	}
	calls, err := s.talkAt(ctx, victim, talking)
	if err != nil {
		return err
	}
	if err := s.Cut(victim, s.Others(victim, leader)[0]); err != nil { // the third one would tell it
		return err
	}
	asks.Slow(0, lateBy)
	fleet.Pause(ctx, 3*lateBy) // every lease is one of late answers by now
	log.Slow(lateLogBy, 0)
	stop := s.hammer(ctx, victim, calls)
	fault := time.Now()
	asks.Cut()
	if s.adoptedBy(ctx, calls, victim, 3*longLease) == 0 {
		s.Break("the calls of a node that cannot renew its lease were not adopted within %s", 3*longLease)
	} else {
		s.Recovered("adoption", time.Since(fault), 0)
	}
	asks.End() // it is granted a lease before it has heard what it lost
	fleet.Pause(ctx, 2*time.Second)
	stop()
	log.End()
	if err := s.Mend(); err != nil {
		return err
	}
	if err := s.AwaitAll(ctx, fleet.HealWithin); err != nil {
		s.Break("when it could ask again: %v", err)
		return nil
	}
	return s.endAll(ctx, leader, calls)
}

// A node whose log comes late by lateLogBy starts no election.
const (
	longElection = 2 * time.Second
	lateLogBy    = 1200 * time.Millisecond
)

// lateBy is less than the second after which the peer link gives a silent
// connection up.
const lateBy = 850 * time.Millisecond

// lateLog: an owner that gives a partition up stops before it says so. It hears
// of the move half a second after the new owner, and is hammered meanwhile.
func lateLog(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := s.Others(leader)[s.Round%2]
	if err := victim.Stop(15 * time.Second); err != nil {
		s.Break("%v", err)
	}
	link, err := s.Delay(leader, victim)
	if err != nil {
		return err
	}
	defer link.End()
	if err := s.bringBack(ctx, victim); err != nil {
		return err
	}
	if err := s.spread(ctx, victim); err != nil {
		return err
	}
	calls, err := s.talkAt(ctx, victim, talking)
	if err != nil {
		return err
	}
	link.Slow(500*time.Millisecond, 0)
	stop := s.hammer(ctx, victim, calls)
	for _, id := range calls {
		if err := leader.API.Move(ctx, s.Desk.Of(id)[0].Partition, leader.ID); err != nil {
			s.Note("moving the partition of a hammered call: %v", err)
		}
	}
	fleet.Pause(ctx, 2*time.Second)
	stop()
	link.Slow(0, 0)
	if err := s.AwaitAll(ctx, fleet.HealWithin); err != nil {
		s.Break("with its log in time again: %v", err)
		return nil
	}
	return s.endAll(ctx, leader, calls)
}

// spread moves partitions to a node that came back with none.
func (s *Stage) spread(ctx context.Context, to *fleet.Node) error {
	from := s.Others(to)[0]
	if mine, err := partitionsOf(ctx, from, to.ID); err != nil || len(mine) > 0 {
		return err
	}
	theirs, err := partitionsOf(ctx, from, from.ID)
	if err != nil {
		return err
	}
	for _, p := range theirs[:len(theirs)/2] {
		if err := from.API.Move(ctx, p.ID, to.ID); err != nil {
			return err
		}
	}
	return nil
}

// endsTogether is how long a node without bound calls may take to end while the
// others end, too: its patience for ringing calls, and what it cannot hand over.
const endsTogether = 15 * time.Second

// stopTogether: whoever is the last of a region to stop ends as well, also when it
// wins the lead while the others go.
func stopTogether(ctx context.Context, s *Stage) error {
	var wg sync.WaitGroup
	for i, n := range s.Nodes {
		wg.Go(func() {
			fleet.Pause(ctx, time.Duration(i*s.Round%20)*100*time.Millisecond)
			begun := time.Now()
			if n.Ends(endsTogether) {
				s.Recovered("stopped", time.Since(begun), 0)
				return
			}
			s.Break("%s has not ended %s after it was told to, while all nodes stopped; its stacks are in its log", n.ID, endsTogether)
			n.Kill()
		})
	}
	wg.Wait()
	for _, n := range s.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	if err := s.AwaitAll(ctx, fleet.HealWithin); err != nil {
		s.Break("after all nodes stopped: %v", err)
	}
	return nil
}

// restartsForAnHour is one rolling restart a minute under the calls that `tandem
// sim` makes: --rounds 60 is an hour.
func restartsForAnHour(ctx context.Context, s *Stage) error {
	for _, n := range s.Nodes {
		if err := s.restart(ctx, n); err != nil && ctx.Err() == nil { // an operator would see, and go on
			s.Note("restarting %s: %v", n.ID, err)
			if err := errors.Join(n.Start(), s.AwaitAll(ctx, 4*fleet.HealWithin), n.API.Undrain(ctx, n.ID)); err != nil {
				s.Note("after that: %v", err)
			}
		}
	}
	fleet.Pause(ctx, restartRest)
	return ctx.Err()
}

// tellHour says what came of it.
func tellHour(ctx context.Context, s *Stage) {
	settle, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	_ = s.Cloud.Settle(settle) // judgeCalls tells of it
	r := s.Cloud.Report()
	s.Note("%d rolling restarts, %d calls, %d notifications: handled twice %d, lost %d, misrouted %d, wrong events %d, answered late %d",
		s.Round+1, r.Calls, r.NotificationsSent, r.HandledTwice, r.Lost, r.Misrouted, r.WrongEvents, r.AnsweredLate)
}
