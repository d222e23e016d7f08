package faultrig

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tandem/faultrig/fleet"
	"tandem/ownership"
)

const (
	votesWithin  = 90 * time.Second // a stable newcomer takes a dead voter's vote
	standsAlone  = 6 * time.Second  // long enough to found a region by mistake
	barNoQuorum  = 3 * time.Second
	moreThanFive = 7
)

// identityScenarios copy, wipe, rename and move nodes: who a node is, who votes
// and where it is are three things.
func identityScenarios() []Scenario {
	return []Scenario{
		{Fault: "F49", Title: "the copied disk of a node runs beside it", Rounds: 2, Calls: 5, Round: copiedDisk},
		{Fault: "F50", Title: "a wiped founder starts with its own configuration", Rounds: 2, Calls: 5, Round: wipedFounder},
		{Fault: "F51", Title: "every node is replaced, under a new name", Calls: 5, Round: newNames},
		{Fault: "F52", Title: "two nodes swap their addresses", Calls: 5, Round: swapAddresses},
		{Fault: "F53", Title: "all nodes get new addresses", Calls: 5, Round: newAddresses},
		{Fault: "F60", Title: "membership changes during a cut", Needs: []fleet.Need{fleet.NeedNetwork}, Fleet: fleet.Options{Network: true}, Calls: 5, Round: changeDuringCut},
		{Fault: "F61", Title: "remove and leave while a node is down", Calls: 5, Round: changeWhileDown},
		{Fault: "F67", Title: "seven nodes, of which five vote: two die, then the leader", Fleet: fleet.Options{Nodes: moreThanFive}, Calls: 5, Round: sevenNodes},
	}
}

// wipedFounder: a configuration that founded yesterday founds nothing today.
func wipedFounder(ctx context.Context, s *Stage) error {
	founder := s.Nodes[0]
	others := s.Others(founder)
	s.Load.Hold(true)
	fleet.Pause(ctx, time.Second) // what is acknowledged has reached all
	if s.Round%2 == 1 {           // and nobody is there to tell it
		for _, o := range others {
			o.Kill()
		}
	}
	founder.Kill()
	if err := fleet.Wipe(founder.DataDir); err != nil {
		return err
	}
	if err := s.Configure(founder, func(doc map[string]any) {
		c := doc["cluster"].(map[string]any)
		c["bootstrap"], c["bootstrap_expect"] = true, 0
	}); err != nil {
		return err
	}
	if err := founder.Start(); err != nil {
		return err
	}
	begun := time.Now()
	founded := fleet.Until(ctx, standsAlone, 50*time.Millisecond, func() bool {
		st, err := founder.Status(ctx)
		return err == nil && (st.Leased || st.Cluster.State == "leader")
	})
	if founded {
		s.Break("%s lost its disk and acts %s after its start, with the configuration that founded the region", founder.ID, time.Since(begun).Round(time.Millisecond))
	}
	founder.Kill()
	for _, o := range others {
		if err := o.Start(); err != nil {
			return err
		}
	}
	for _, o := range others {
		if err := o.Ready(ctx, fleet.HealWithin); err != nil {
			s.Break("after the founder was wiped: %v", err)
			return nil
		}
	}
	s.Load.Hold(false)
	if err := errors.Join(s.Configure(founder, nil), fleet.Wipe(founder.DataDir)); err != nil {
		return err
	}
	if err := others[0].API.Remove(ctx, founder.ID); err != nil {
		s.Break("removing the wiped founder: %v", err)
		return nil
	}
	return s.bringBack(ctx, founder)
}

// newNames: a stable newcomer takes the vote of a dead voter, so that a region
// survives its own replacement.
func newNames(ctx context.Context, s *Stage) error {
	for i, old := range append([]*fleet.Node(nil), s.Nodes...) {
		begun := time.Now()
		old.Kill()
		now, err := s.Extra(s.Round, i, fleet.Joining)
		if err != nil {
			return err
		}
		if err := now.Ready(ctx, fleet.HealWithin); err != nil {
			s.Break("%s, in the place of %s: %v", now.ID, old.ID, err)
			return nil
		}
		if !fleet.Until(ctx, votesWithin, 200*time.Millisecond, func() bool { return votes(ctx, now, now.ID, true) && votes(ctx, now, old.ID, false) }) {
			s.Break("%s after %s died, %s still votes, or its successor %s does not", votesWithin, old.ID, old.ID, now.ID)
			return nil
		}
		s.Recovered("vote handed on", time.Since(begun), 0)
		if err := s.Replace(old, now); err != nil {
			return err
		}
		if err := s.ClaimsResume(ctx, time.Now(), time.Second, s.Nodes...); err != nil {
			return err
		}
	}
	return nil
}

// votes reports whether a node has, or has not, a vote, as another one tells.
func votes(ctx context.Context, ask *fleet.Node, id ownership.NodeID, want bool) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	peers, err := ask.API.Peers(ctx)
	if err != nil {
		return false
	}
	for _, p := range peers {
		if p.ID == id {
			return p.Voter == want
		}
	}
	return !want
}

// swapAddresses: an address is where somebody was last seen, not who it is.
func swapAddresses(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	a, b := s.Others(leader)[0], s.Others(leader)[1]
	s.Load.Hold(true) // it tells nodes by their addresses
	defer s.Load.Hold(false)
	a.Kill()
	b.Kill()
	ipA, ipB := a.IP, b.IP
	s.Place(a, ipB)
	s.Place(b, ipA)
	return s.resettled(ctx, a, b)
}

func (s *Stage) resettled(ctx context.Context, moved ...*fleet.Node) error {
	if err := s.Resettle(nil); err != nil {
		return err
	}
	begun := time.Now()
	for _, n := range moved {
		if err := n.Start(); err != nil {
			return err
		}
	}
	for _, n := range moved {
		if err := n.Ready(ctx, fleet.HealWithin); err != nil {
			s.Break("at its new address: %v", err)
			return nil
		}
	}
	s.Recovered("region back", time.Since(begun), 0)
	return s.ClaimsResume(ctx, time.Now(), time.Second, s.Nodes...)
}

// newAddresses: as after a move to another network.
func newAddresses(ctx context.Context, s *Stage) error {
	s.Load.Hold(true)
	defer s.Load.Hold(false)
	for _, n := range s.Nodes {
		n.Kill()
	}
	for i, n := range s.Nodes {
		s.Place(n, fmt.Sprintf("%s%d", strings.TrimSuffix(n.IP, fmt.Sprint(i+1)), i+101))
	}
	return s.resettled(ctx, s.Nodes...)
}

// changeDuringCut: the majority takes a newcomer in and removes the node that is
// cut off, which learns of it when it is back.
func changeDuringCut(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	away := s.Others(leader)[0]
	for _, o := range s.Others(away) {
		if err := s.Cut(away, o); err != nil {
			return err
		}
	}
	cut := time.Now()
	newcomer, err := s.Extra(s.Round, 0, fleet.Joining)
	if err != nil {
		return err
	}
	if err := s.Cut(away, newcomer); err != nil {
		return err
	}
	if err := newcomer.Ready(ctx, fleet.HealWithin); err != nil {
		s.Break("joining during a cut: %v", err)
	}
	if err := leader.API.Remove(ctx, away.ID); err != nil {
		s.Break("removing a node that is cut off: %v", err)
	}
	if err := s.ClaimsResume(ctx, time.Now(), barMinority, s.Others(away)...); err != nil {
		return err
	}
	fleet.Pause(ctx, time.Until(cut.Add(cutFor)))
	ends := len(away.Exits())
	if err := s.Mend(); err != nil {
		return err
	}
	if !fleet.Until(ctx, endsWithin, 50*time.Millisecond, func() bool {
		if st, err := away.Status(ctx); err == nil && st.Leased {
			s.Break("%s was removed while it was cut off, and acts again", away.ID)
			return true
		}
		return len(away.Exits()) > ends
	}) {
		s.Break("%s was removed while it was cut off, and does not end %s after the cut was mended", away.ID, endsWithin)
	}
	away.Kill()
	if err := fleet.Wipe(away.DataDir); err != nil {
		return err
	}
	if err := s.bringBack(ctx, away); err != nil {
		return err
	}
	if err := s.lead(ctx, leader); err != nil {
		return err
	}
	if err := leader.API.Remove(ctx, newcomer.ID); err != nil {
		s.Break("removing %s again: %v", newcomer.ID, err)
	}
	newcomer.Kill()
	return nil
}

// changeWhileDown: what would leave no quorum of living voters is refused; what
// mends the region is not.
func changeWhileDown(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	down, other := s.Others(leader)[0], s.Others(leader)[1]
	down.Kill()
	fleet.Pause(ctx, 5*time.Second) // the leader has noticed
	if err := leader.API.Remove(ctx, other.ID); err == nil {
		s.Break("with %s down, removing %s was taken: no quorum is left", down.ID, other.ID)
		return nil
	} else if !refusedWith(err) {
		s.Break("with %s down, removing %s was not refused in words: %v", down.ID, other.ID, err)
	}
	if err := other.API.Leave(ctx); err == nil {
		s.Break("with %s down, the leave of %s was taken: no quorum is left", down.ID, other.ID)
		return nil
	}
	if err := s.ClaimsResume(ctx, time.Now(), barNoQuorum, leader, other); err != nil {
		s.Break("after refused changes: %v", err)
		return nil
	}
	if err := leader.API.Remove(ctx, down.ID); err != nil {
		s.Break("removing the node that is down: %v", err)
		return nil
	}
	if err := fleet.Wipe(down.DataDir); err != nil {
		return err
	}
	return s.bringBack(ctx, down)
}

// sevenNodes: votes follow the living.
func sevenNodes(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	st, err := leader.Status(ctx)
	if err != nil {
		return err
	}
	if st.Cluster.Voters > 5 || st.Cluster.Voters%2 == 0 {
		s.Break("%d of %d nodes vote", st.Cluster.Voters, moreThanFive)
	}
	var voters []*fleet.Node
	for _, n := range s.Others(leader) {
		if votes(ctx, leader, n.ID, true) {
			voters = append(voters, n)
		}
	}
	if len(voters) < 2 {
		return fmt.Errorf("finding two voters beside the leader: there are %d", len(voters))
	}
	dead := voters[:2]
	fault := time.Now()
	for _, n := range dead {
		n.Kill()
	}
	if err := s.ClaimsResume(ctx, fault, barMinority, s.Others(dead...)...); err != nil {
		return err
	}
	if !fleet.Until(ctx, votesWithin, 200*time.Millisecond, func() bool {
		return votes(ctx, leader, dead[0].ID, false) && votes(ctx, leader, dead[1].ID, false)
	}) {
		s.Break("%s after two of five voters died, the two that do not vote have not got their votes", votesWithin)
	} else {
		s.Recovered("votes handed on", time.Since(fault), 0)
	}
	fault = time.Now()
	leader.Kill()
	if err := s.ClaimsResume(ctx, fault, barMinority, s.Others(append(dead, leader)...)...); err != nil {
		return err
	}
	for _, n := range append(dead, leader) {
		if err := s.bringBack(ctx, n); err != nil {
			return err
		}
	}
	return nil
}
