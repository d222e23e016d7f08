package faultrig

import (
	"context"
	"net/http"
	"time"

	"tandem/admin/api"
	"tandem/faultrig/fleet"
)

const (
	cutFor      = 6 * time.Second // of a partition: longer than a lease, so that partitions move
	flapFor     = 8 * time.Second
	flapEvery   = 200 * time.Millisecond
	mostTerms   = 12 // elections that flapFor may cost
	lossPercent = 30
	narrowRate  = "1mbit"
	sayNoWithin = 1500 * time.Millisecond // I8: a second, and the way there and back
	barMinority = 5 * time.Second
	deafnessFor = 6 * time.Second
	deafTerms   = 3 // elections that one deaf node may cost
)

// networkScenarios cut, thin and flap the links between nodes, each in a
// network namespace of its own, with TLS everywhere.
func networkScenarios() []Scenario {
	need := []fleet.Need{fleet.NeedNetwork}
	nets := fleet.Options{Network: true}
	return []Scenario{
		{Fault: "F17", Title: "a node cut off from the others", Needs: need, Fleet: nets, Rounds: 2, Calls: 5, Short: true, Round: cutOff},
		{Fault: "F18", Title: "one-way cuts: deaf leader, mute leader, deaf follower", Needs: need, Fleet: nets, Rounds: 3, Calls: 5, Round: oneWay},
		{Fault: "F19", Title: "two nodes cut, the third sees both", Needs: need, Fleet: nets, Rounds: 2, Calls: 5, Round: bridge},
		{Fault: "F20", Title: "a flapping link", Needs: need, Fleet: nets, Calls: 5, Round: flap},
		{Fault: "F21", Title: "30 % loss between all nodes, then 1 Mbit/s", Needs: need, Fleet: nets, Claims: 2, Calls: 1, Round: thin},
		{Fault: "F34", Title: "nodes with different views of an owner", Needs: need, Fleet: nets, Rounds: 2, Calls: 10, Round: views},
	}
}

// cutOff: the majority goes on; the minority says no, soon, and guesses nothing.
func cutOff(ctx context.Context, s *Stage) error {
	victim, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	if s.Round%2 == 1 {
		victim = s.Others(victim)[0]
	}
	fault := time.Now()
	for _, o := range s.Others(victim) {
		if err := s.Cut(victim, o); err != nil {
			return err
		}
	}
	if err := s.ClaimsResume(ctx, fault, barMinority, s.Others(victim)...); err != nil {
		return err
	}
	fleet.Pause(ctx, time.Until(fault.Add(3*time.Second))) // its lease is over
	s.saysNo(ctx, victim)
	fleet.Pause(ctx, time.Until(fault.Add(cutFor)))
	healed := time.Now()
	if err := s.Mend(); err != nil {
		return err
	}
	if err := victim.Ready(ctx, 10*time.Second); err != nil {
		s.Break("10s after the cut was mended: %v", err)
		return nil
	}
	s.Recovered("node back", time.Since(healed), 0)
	return nil
}

// saysNo: a node without a quorum refuses new calls with 503 and Retry-After
// within a second (I8), and lives on.
func (s *Stage) saysNo(ctx context.Context, n *fleet.Node) {
	for range 3 {
		begun := time.Now()
		res, err := s.Load.First(ctx, n, s.fresh())
		took := time.Since(begun)
		if err != nil {
			s.Break("I8: %s without a quorum gave no answer: %v", n.ID, err)
			return
		}
		_ = res.Body.Close() // its status and headers are all
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			s.Break("I8: %s without a quorum answered %d with Retry-After %q", n.ID, res.StatusCode, res.Header.Get("Retry-After"))
		}
		if took > sayNoWithin {
			s.Late("I8: %s without a quorum took %s to say no", n.ID, took.Round(time.Millisecond))
		}
		s.Recovered("503", took, 0)
	}
}

// oneWay cuts one direction only.
func oneWay(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	before, err := leader.Status(ctx)
	if err != nil {
		return err
	}
	others := s.Others(leader)
	deaf := map[*fleet.Node][]*fleet.Node{}
	switch s.Round % 3 {
	case 0: // the leader hears nobody
		deaf[leader] = others
	case 1: // nobody hears the leader
		deaf[others[0]], deaf[others[1]] = []*fleet.Node{leader}, []*fleet.Node{leader}
	default: // one follower hears nobody
		deaf[others[0]] = []*fleet.Node{leader, others[1]}
	}
	fault := time.Now()
	for to, from := range deaf {
		for _, f := range from {
			if err := s.Deaf(to, f); err != nil {
				return err
			}
		}
	}
	ask := others
	if s.Round%3 == 2 {
		ask = []*fleet.Node{leader, others[1]}
	}
	if err := s.ClaimsResume(ctx, fault, barMinority, ask...); err != nil {
		return err
	}
	fleet.Pause(ctx, time.Until(fault.Add(deafnessFor)))
	if err := s.Mend(); err != nil {
		return err
	}
	if err := s.AwaitAll(ctx, 10*time.Second); err != nil {
		s.Break("10s after the links were mended: %v", err)
		return nil
	}
	s.terms(ctx, before, deafTerms)
	return nil
}

// terms breaks when the term has risen by more than a few elections.
func (s *Stage) terms(ctx context.Context, before api.Status, most uint64) {
	var after uint64
	for _, n := range s.Nodes {
		if st, err := n.Status(ctx); err == nil {
			after = max(after, st.Cluster.Term)
		}
	}
	if after-before.Cluster.Term > most {
		s.Break("the term went from %d to %d: more than %d elections", before.Cluster.Term, after, most)
	}
}

// bridge: two nodes lose each other, the third sees both.
func bridge(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	before, err := leader.Status(ctx)
	if err != nil {
		return err
	}
	a, b := leader, s.Others(leader)[0]
	if s.Round%2 == 1 {
		a, b = s.Others(leader)[0], s.Others(leader)[1]
	}
	third := s.Others(a, b)[0]
	fault := time.Now()
	if err := s.Cut(a, b); err != nil {
		return err
	}
	if err := s.ClaimsResume(ctx, fault, barMinority, third); err != nil {
		return err
	}
	fleet.Pause(ctx, time.Until(fault.Add(cutFor)))
	if err := s.Mend(); err != nil {
		return err
	}
	if err := s.AwaitAll(ctx, 10*time.Second); err != nil {
		s.Break("10s after the link was mended: %v", err)
		return nil
	}
	s.terms(ctx, before, mostTerms)
	return nil
}

// flap: a link that comes and goes costs elections, but a bounded number.
func flap(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	before, err := leader.Status(ctx)
	if err != nil {
		return err
	}
	other := s.Others(leader)[0]
	for begun := time.Now(); time.Since(begun) < flapFor && ctx.Err() == nil; {
		if err := s.Cut(leader, other); err != nil {
			return err
		}
		fleet.Pause(ctx, flapEvery)
		if err := s.Mend(); err != nil {
			return err
		}
		fleet.Pause(ctx, flapEvery)
	}
	s.terms(ctx, before, mostTerms)
	if err := s.ClaimsResume(ctx, time.Now(), time.Second, s.Nodes...); err != nil {
		return err
	}
	return s.AwaitAll(ctx, 10*time.Second)
}

// thin: slow and lossy links cost time, never truth.
func thin(ctx context.Context, s *Stage) error {
	for _, n := range s.Nodes {
		if err := s.Lossy(n, lossPercent); err != nil {
			return err
		}
	}
	acked := s.Load.Count()
	fleet.Pause(ctx, cutFor)
	s.Note("with %d %% loss, %d claims were acknowledged in %s", lossPercent, s.Load.Count()-acked, cutFor)
	if err := s.Mend(); err != nil {
		return err
	}
	if fleet.LookTool("tc") == "" {
		s.Note("tc is not installed: the 1 Mbit/s part did not run")
		return s.AwaitAll(ctx, 10*time.Second)
	}
	for _, n := range s.Nodes {
		if err := s.Narrow(n, narrowRate); err != nil {
			return err
		}
	}
	acked = s.Load.Count()
	fleet.Pause(ctx, cutFor)
	s.Note("over %s links, %d claims were acknowledged in %s", narrowRate, s.Load.Count()-acked, cutFor)
	for _, n := range s.Nodes {
		if err := s.Widen(n); err != nil {
			return err
		}
	}
	return s.AwaitAll(ctx, 10*time.Second)
}

// views: a node that cannot hear the leader knows old owners while partitions
// move; what it redirects must come to rest after one hop.
func views(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	behind, to := s.Others(leader)[0], s.Others(leader)[1]
	if err := s.Deaf(behind, leader); err != nil {
		return err
	}
	moving, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	parts, err := leader.API.Partitions(moving)
	if err != nil {
		return err
	}
	moved := 0
	for _, p := range parts {
		if p.Owner == leader.ID && moved < 4 {
			if err := leader.API.Move(moving, p.ID, to.ID); err != nil {
				s.Note("moving partition %d: %v", p.ID, err)
				continue
			}
			moved++
		}
	}
	fleet.Pause(ctx, 2*time.Second)
	if err := s.Mend(); err != nil {
		return err
	}
	if err := s.AwaitAll(ctx, 10*time.Second); err != nil {
		s.Break("10s after the link was mended: %v", err)
	}
	return nil
}
