package faultrig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"tandem/faultrig/claims"
	"tandem/faultrig/fleet"
	"tandem/graphsim"
	"tandem/ownership"
)

const (
	claimedThere = 15   // calls of the rig's own at an owner before it dies
	herd         = 6000 // calls in the region when an owner dies in F43: a third of them fails over
	herdWithin   = 20 * time.Second
	barHerd      = time.Second // p99 of new claims meanwhile
)

// routeScenarios look at what the cloud meets when owners change.
func routeScenarios() []Scenario {
	heavy := graphsim.Unkind()
	heavy.Duplicate, heavy.Swapped, heavy.LateUpdate, heavy.Reset, heavy.Batch, heavy.ManyDCs = 0.4, 0.5, 0.4, 0.08, 0.2, 0.4
	return []Scenario{
		{Fault: "F04", Title: "kill -9 in the first moments of a node", Rounds: 4, Short: true, Round: killAtBirth},
		{Fault: "F07", Title: "one flipped bit on a stopped node's disk", Rounds: 6, Short: true, Round: flipBit},
		{Fault: "F15", Title: "wall clock set back and forth", Cannot: "nothing outside a Go program moves its clock alone; the tests of token (B34, B35) inject one, and leases use the monotonic clock"},
		{Fault: "F16", Title: "clock drift against the cloud", Cannot: "covered by the token tests B34 and B35 with an injected clock"},
		{Fault: "F31", Title: "the owner of calls is killed", Rounds: 3, Calls: 10, Short: true, Round: killOwner},
		{Fault: "F33", Title: "callback URI of a past epoch", Rounds: 2, Round: pastEpoch},
		{Fault: "F35", Title: "redirects while their target is dead", Rounds: 2, Calls: 5, Round: deadTarget},
		{Fault: "F36", Title: "duplicate, late, reordered, missing notifications", Calls: 20, Fleet: fleet.Options{Rates: &heavy}, Round: unkind},
		{Fault: "F43", Title: fmt.Sprintf("an owner of %d of %d calls dies", herd/3, herd), Round: thunder},
	}
}

// killOwner: new calls avoid the dead owner, its calls get another one.
func killOwner(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	// The cloud takes no answers for a moment, so that calls ring.
	s.Cloud.SetFault(graphsim.EndpointCalls, graphsim.Fault{Status: http.StatusServiceUnavailable})
	defer s.Cloud.SetFault(graphsim.EndpointCalls, graphsim.Fault{})
	victim, ringing, err := s.busiest(ctx, leader)
	if err != nil {
		return err
	}
	mine, err := s.claimAt(ctx, victim, claimedThere)
	if err != nil {
		return err
	}
	fault := time.Now()
	victim.Kill()
	s.Cloud.SetFault(graphsim.EndpointCalls, graphsim.Fault{})
	took := s.adoptedBy(ctx, mine, victim, 15*time.Second)
	if took == 0 {
		s.Break("the %d calls of %s were not adopted within 15s of its death", len(mine), victim.ID)
	} else {
		s.Recovered("adoption", time.Since(fault), barAdopt)
	}
	var last time.Duration
	var open []string
	if !fleet.Until(ctx, 10*time.Second, 20*time.Millisecond, func() bool { last, open = s.lastAnswer(ringing, fault); return len(open) == 0 }) {
		s.Break("of %d calls that rang at %s not all were answered within 10s of its adoption: %v", len(ringing), victim.ID, open)
	} else {
		s.Recovered("ringing calls answered", last, barAdopt)
	}
	avoided := s.Load.LastOn(victim.ID).Sub(fault)
	s.Recovered("avoided by new calls", max(avoided, 0), barAvoid)
	return s.bringBack(ctx, victim)
}

// busiest waits until calls ring at one of the followers and gives it with them.
// It cannot be chosen: new calls go to whichever node has most room.
func (s *Stage) busiest(ctx context.Context, leader *fleet.Node) (*fleet.Node, map[string]bool, error) {
	var victim *fleet.Node
	var at map[ownership.NodeID]map[string]bool
	var err error
	if !fleet.Until(ctx, 10*time.Second, 50*time.Millisecond, func() bool {
		if at, err = s.ringing(ctx, leader); err != nil {
			return false
		}
		for _, n := range s.Others(leader) {
			if len(at[n.ID]) >= 2 && (victim == nil || len(at[n.ID]) > len(at[victim.ID])) {
				victim = n
			}
		}
		return victim != nil
	}) {
		return nil, nil, errors.Join(errors.New("no call rang at a follower within 10s"), err)
	}
	return victim, at[victim.ID], nil
}

// ringing returns the simulated calls that ring at each node.
func (s *Stage) ringing(ctx context.Context, ask *fleet.Node) (map[ownership.NodeID]map[string]bool, error) {
	t, err := readTable(ctx, ask)
	if err != nil {
		return nil, err
	}
	owner := map[ownership.PartitionID]ownership.NodeID{}
	out := map[ownership.NodeID]map[string]bool{}
	for _, p := range t.partitions {
		owner[p.ID] = p.Owner
		out[p.Owner] = map[string]bool{}
	}
	for id, c := range t.calls {
		if c.App == fleet.CallsApp && c.State == ownership.CallClaimed {
			out[owner[c.Partition]][string(id)] = true
		}
	}
	return out, nil
}

// claimAt claims calls until some of them live on the node, and gives those.
func (s *Stage) claimAt(ctx context.Context, at *fleet.Node, want int) ([]ownership.CallID, error) {
	var there []ownership.CallID
	for range 1000 {
		if len(there) == want || ctx.Err() != nil {
			return there, ctx.Err()
		}
		id := s.fresh()
		var out claims.Told
		if err := fleet.Insist(ctx, func() (err error) { out, err = s.Load.Claim(at, id); return err }); err != nil {
			return nil, err
		}
		s.Load.Keep(id, out)
		if told := s.Desk.Of(id); len(told) > 0 && told[0].Node == at.ID {
			there = append(there, id)
		} else {
			// Its cloud follows no redirect; left alive, it would weigh on the other node.
			s.Load.End(id)
			_ = at.API.Release(ctx, string(id)) // likewise if that fails
		}
	}
	return nil, fmt.Errorf("only %d of 1000 claims were placed on %s", len(there), at.ID)
}

// lastAnswer returns when the cloud took the last answer to one of the calls, and
// those that still ring. A caller who hung up was never to be answered; what rang to
// its end is judged with all other calls.
func (s *Stage) lastAnswer(calls map[string]bool, since time.Time) (last time.Duration, open []string) {
	fates := s.Cloud.Fates()
	for id := range calls {
		switch f := fates[id]; {
		case !f.AnsweredAt.IsZero():
			last = max(last, f.AnsweredAt.Sub(since))
		case f.OverAt.IsZero():
			open = append(open, id)
		}
	}
	return last, open
}

// pastEpoch: a follow-up on a callback URI from before a failover reaches the
// present owner, and nobody else.
func pastEpoch(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := s.Others(leader)[s.Round%2]
	uri, id := "", ownership.CallID("")
	for range 200 {
		id = s.fresh()
		res, err := s.Load.First(ctx, leader, id)
		if err != nil {
			return err
		}
		_ = res.Body.Close() // only its Location matters
		if to := res.Header.Get("Location"); strings.HasPrefix(to, victim.Public) {
			uri = strings.TrimPrefix(to, victim.Public)
			break
		}
	}
	if uri == "" {
		s.Break("of 200 calls none was redirected to %s", victim.ID)
		return nil
	}
	if i := strings.Index(uri, "&h="); i > 0 { // the hop mark is the redirect's, not the URI's
		uri = uri[:i]
	}
	fault := time.Now()
	victim.Kill()
	if s.adoptedBy(ctx, []ownership.CallID{id}, victim, 15*time.Second) == 0 {
		s.Break("call %s was not adopted within 15s", id)
		return s.bringBack(ctx, victim)
	}
	s.Recovered("adoption", time.Since(fault), barAdopt)
	if err := s.bringBack(ctx, victim); err != nil {
		return err
	}
	for i, n := range s.Nodes {
		before := len(s.Desk.Of(id))
		body := strings.NewReplacer(`"created"`, `"updated"`, `"state":"incoming"`, fmt.Sprintf(`"state":"established","tag":"%d"`, i)).Replace(s.Load.MixOf(id).Incoming(id))
		status, text, err := s.followUp(ctx, n.Public+uri, body)
		if err != nil {
			return err
		}
		told := s.Desk.Of(id)
		switch {
		case status != http.StatusOK || len(told) != before+1:
			s.Break("%s answered %d %s to a callback URI of a past epoch", n.ID, status, text)
		case told[before].Node == victim.ID || told[before].Epoch < 2:
			s.Break("a follow-up on a past callback URI was handed to %s at epoch %d", told[before].Node, told[before].Epoch)
		}
	}
	return nil
}

// followUp posts as the cloud does, again after a 503: a node that has just
// started may not know the new owner yet, and says so.
func (s *Stage) followUp(ctx context.Context, to, body string) (status int, text []byte, err error) {
	fleet.Until(ctx, 3*time.Second, 50*time.Millisecond, func() bool {
		var res *http.Response
		if res, err = s.Load.Post(ctx, claims.PlainCall, "", to, body); err != nil {
			return true
		}
		status = res.StatusCode
		text, _ = io.ReadAll(io.LimitReader(res.Body, 4096)) // for the finding only
		_ = res.Body.Close()                                 // it was read
		return status != http.StatusServiceUnavailable
	})
	return status, text, err
}

// deadTarget: nobody is sent to a dead node for longer than its death takes to
// be noticed.
func deadTarget(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := s.Others(leader)[s.Round%2]
	var calls []ownership.CallID
	for range 60 {
		id := s.fresh()
		out, err := s.Load.Claim(leader, id)
		if err != nil {
			return err
		}
		s.Load.Keep(id, out)
		calls = append(calls, id)
	}
	fault := time.Now()
	victim.Kill()
	var last time.Duration
	for time.Since(fault) < 8*time.Second {
		res, err := s.Load.First(ctx, leader, calls[rand.IntN(len(calls))])
		if err != nil {
			return err
		}
		_ = res.Body.Close() // only its Location matters
		if strings.HasPrefix(res.Header.Get("Location"), victim.Public) {
			last = time.Since(fault)
		}
		fleet.Pause(ctx, 10*time.Millisecond)
	}
	s.Recovered("no redirect to the dead", last, barAdopt)
	return s.bringBack(ctx, victim)
}

// unkind lets the cloud be as unkind as it can, without any fault of ours.
func unkind(ctx context.Context, _ *Stage) error {
	fleet.Pause(ctx, 15*time.Second)
	return ctx.Err()
}

// thunder: thousands of calls fail over at once.
func thunder(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	s.Load.Hold(true) // or claimants end some of the calls that are waited for
	defer s.Load.Hold(false)
	if err := s.fill(ctx, herd); err != nil {
		return err
	}
	victim := s.Others(leader)[0]
	t, err := readTable(ctx, leader)
	if err != nil {
		return err
	}
	owner := map[ownership.PartitionID]ownership.NodeID{}
	for _, p := range t.partitions {
		owner[p.ID] = p.Owner
	}
	var mine []ownership.CallID
	for id, c := range t.calls {
		if owner[c.Partition] == victim.ID && c.State != ownership.CallEnded {
			mine = append(mine, id)
		}
	}
	fault := time.Now()
	victim.Kill()
	var took []time.Duration
	done := make(chan time.Duration, 1)
	go func() { done <- s.adoptedBy(ctx, mine, victim, 3*herdWithin) }()
	for {
		select {
		case all := <-done:
			if all == 0 {
				s.Break("%d calls of %s were not all adopted within %s", len(mine), victim.ID, 3*herdWithin)
			} else {
				s.Recovered(fmt.Sprintf("adoption of %d", len(mine)), time.Since(fault), herdWithin)
			}
			took = sorted(took)
			if len(took) > 0 {
				s.Recovered("claim p99 meanwhile", quantile(took, 0.99), barHerd)
			}
			return s.bringBack(ctx, victim)
		default:
		}
		begun := time.Now()
		id := s.fresh()
		if out, err := s.Load.Claim(leader, id); err == nil {
			s.Load.Keep(id, out)
			took = append(took, time.Since(begun))
		} else {
			s.Note("a claim during the failover: %v", err)
		}
		fleet.Pause(ctx, 5*time.Millisecond)
	}
}

// fill claims until the region has so many more calls.
func (s *Stage) fill(ctx context.Context, calls int) error {
	const workers = 24
	errs := make(chan error, workers)
	for w := range workers {
		go func() {
			for i := 0; i < calls/workers && ctx.Err() == nil; i++ {
				id := s.fresh()
				var out claims.Told
				if err := fleet.Insist(ctx, func() (err error) { out, err = s.Load.Claim(s.Nodes[(w+i)%len(s.Nodes)], id); return err }); err != nil {
					errs <- err
					return
				}
				s.Load.Keep(id, out)
			}
			errs <- ctx.Err()
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			return fmt.Errorf("filling the region with calls: %w", err)
		}
	}
	return nil
}
