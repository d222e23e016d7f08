package faultrig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tandem/faultrig/claims"
	"tandem/faultrig/fleet"
	"tandem/graphsim"
)

// Scenario is one fault of docs/faults.md: what it needs, what it does, and
// what must hold beside the invariants.
type Scenario struct {
	Fault  string // its number, such as F11
	Title  string
	Needs  []fleet.Need
	Cannot string // why nobody can inject it from outside, and what covers it; empty: the rig can
	Fleet  fleet.Options
	Calls  float64 // simulated calls a second; 0: none
	Claims int     // claimants at the same time; 0: defaultClaimants, -1: none
	Rounds int     // 0: 1
	Short  bool    // part of the tests that run with every change

	// Round injects the fault once, waits for what must hold, heals it, and
	// notes how long the recovery took.
	Round func(context.Context, *Stage) error
	// Judge, if set, looks at the whole after the loads have ended.
	Judge func(context.Context, *Stage)
	// Apart: Round drives nodes of its own making, and the invariants over the
	// fleet's tables are not asked at the end.
	Apart bool
}

// defaultClaimants leave the machine time for what it is to do: recovering.
const defaultClaimants = 4

// Result is what became of a scenario.
type Result struct {
	Fault      string
	Title      string
	Rounds     int
	Skipped    string // why it did not run
	Broken     []string
	Recoveries map[string][]time.Duration
	Operations int // of claimants, checked
	Acked      int // new calls acknowledged
	Calls      graphsim.Report
	Took       time.Duration
	Notes      []string
	Dir        string // logs and data, kept when something broke
}

// Options of a run.
type Options struct {
	Binary string
	Seed   uint64
	Rounds int           // 0: the scenario's own
	For    time.Duration // no round begins later than this; 0: all do
	Keep   bool
	// NoBars notes times above their bar instead of breaking: a test of what must
	// hold is no measurement.
	NoBars bool
}

// Stage is a scenario under way.
type Stage struct {
	*fleet.Fleet
	line
	Round int
	opt   Options
	begun time.Time
	lag   lag

	mu         sync.Mutex
	broken     []string
	notes      []string
	recoveries map[string][]time.Duration
	repeats    map[string][]int // calls of which notifications were repeated, by what happened before, round by round
	again      map[string]int   // second answers and hand-overs of them
}

// Break notes that something did not hold.
func (s *Stage) Break(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = append(s.broken, fmt.Sprintf(format, args...))
}

// Note tells something worth knowing that breaks nothing.
func (s *Stage) Note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// Recovered notes how long something took to be well again, and breaks when it
// took longer than the limit (0: no limit).
func (s *Stage) Recovered(what string, took, limit time.Duration) {
	s.mu.Lock()
	s.recoveries[what] = append(s.recoveries[what], took)
	s.mu.Unlock()
	if limit > 0 && took > limit {
		s.Late("%s took %s, allowed are %s", what, took.Round(time.Millisecond), limit)
	}
}

// Late breaks a bar in wall-clock time; on a starved machine, and where bars are
// not asked for, it is only noted.
func (s *Stage) Late(format string, args ...any) {
	if s.opt.NoBars {
		s.Note(format, args...)
		return
	}
	if p := s.lag.p99(); p > starvedAt {
		s.Note("the machine was starved (timers late by %s), so this is not judged: %s", p.Round(time.Millisecond), fmt.Sprintf(format, args...))
		return
	}
	s.Break(format, args...)
}

// Run runs a scenario. The error is the rig's own; what the product broke
// stands in the result.
func Run(ctx context.Context, sc Scenario, opt Options) (Result, error) {
	begun := time.Now()
	res := Result{Fault: sc.Fault, Title: sc.Title, Rounds: max(1, sc.Rounds)}
	if opt.Rounds > 0 {
		res.Rounds = opt.Rounds
	}
	if res.Skipped = sc.Cannot; res.Skipped == "" {
		res.Skipped = fleet.Missing(sc.Needs)
	}
	if res.Skipped != "" {
		return res, nil
	}
	sc.Fleet.Seed = opt.Seed
	f, err := fleet.New(ctx, opt.Binary, sc.Fleet)
	if err != nil {
		return res, fmt.Errorf("%s: %w", sc.Fault, err)
	}
	s := &Stage{Fleet: f, line: line{claims.New(f, opt.Seed), f.Desk}, opt: opt, recoveries: map[string][]time.Duration{}, repeats: map[string][]int{}, again: map[string]int{}}
	s.begun = time.Now()
	err = s.perform(ctx, sc, &res)
	s.Load.Close()
	err = errors.Join(err, f.Close())
	judge{s, sc, &res}.secrets()
	res.Broken = append(append(res.Broken, s.broken...), f.Desk.Broken()...)
	res.Notes, res.Recoveries, res.Took = s.notes, s.recoveries, time.Since(begun)
	if len(res.Broken) == 0 && err == nil && !opt.Keep {
		return res, f.Forget()
	}
	res.Dir = f.Dir
	return res, err
}

// perform drives the loads, the rounds and the judgement.
func (s *Stage) perform(ctx context.Context, sc Scenario, res *Result) error {
	loading, stop := context.WithCancel(ctx)
	var loads sync.WaitGroup
	loads.Go(func() { s.lag.watch(loading) })
	workers := sc.Claims
	if workers == 0 {
		workers = defaultClaimants
	}
	if workers > 0 {
		loads.Go(func() { s.Load.Run(loading, workers) })
	}
	if sc.Calls > 0 {
		loads.Go(func() {
			err := s.Cloud.Run(loading, graphsim.Load{Rate: sc.Calls, Duration: time.Hour, MaxLive: 500})
			if err != nil && loading.Err() == nil {
				s.Break("the rig could not make calls: %v", err)
			}
		})
	}
	if sc.Claims >= 0 && !fleet.Until(ctx, 10*time.Second, 20*time.Millisecond, func() bool { return s.Load.Count() >= 50 }) {
		s.Late("before any fault, only %d claims were acknowledged in 10s", s.Load.Count())
	}
	var err error
	for s.Round = range res.Rounds {
		if err = sc.Round(ctx, s); err != nil {
			err = fmt.Errorf("%s, round %d: %w", sc.Fault, s.Round+1, err)
			break
		}
		if opt := s.opt.For; opt > 0 && time.Since(s.begun) > opt {
			res.Rounds = s.Round + 1
			break
		}
		if s.isBroken() { // what it left behind is no ground for another round
			res.Rounds = s.Round + 1
			break
		}
	}
	if err == nil && sc.Claims >= 0 && !fleet.Pause(ctx, time.Second) {
		err = ctx.Err()
	}
	if err == nil && sc.Calls > 0 && !sc.Apart && !s.isBroken() {
		judge{s, sc, res}.census(ctx)
	}
	stop()
	loads.Wait()
	if err != nil {
		return err
	}
	judge{s, sc, res}.whole(ctx)
	return nil
}

func (s *Stage) isBroken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.broken) > 0
}

// Scenarios returns all faults that the rig can inject, in the order of their
// numbers.
func Scenarios() []Scenario {
	all := slices.Concat(processScenarios(), pauseScenarios(), diskScenarios(), networkScenarios(), memberScenarios(), routeScenarios(), identityScenarios(), regionScenarios(), silenceScenarios(), plannedScenarios(), bulkScenarios(), ledgerScenarios())
	slices.SortStableFunc(all, func(a, b Scenario) int {
		if a.Fault < b.Fault {
			return -1
		} else if a.Fault > b.Fault {
			return 1
		}
		return 0
	})
	return all
}

// Find returns the scenario of a fault.
func Find(fault string) (Scenario, error) {
	for _, s := range Scenarios() {
		if s.Fault == fault {
			return s, nil
		}
	}
	return Scenario{}, fmt.Errorf("the rig has no fault %s: see --list", fault)
}
