package faultrig

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem/admin/api"
	"tandem/faultrig/fleet"
	"tandem/faultrig/plant"
	"tandem/ownership"
)

const (
	stormChanges = 20
	drainFor     = 12 * time.Second // a drain of F25 at most; the simulated calls are shorter
	endsWithin   = 10 * time.Second // a node that is refused for good
)

// memberScenarios change who belongs to the region.
func memberScenarios() []Scenario {
	return []Scenario{
		{Fault: "F25", Title: "rolling restart under 50 calls/s", Calls: 50, Claims: -1, Round: rollingRestart},
		{Fault: "F26", Title: "upgrade from the two formats before, and back", Calls: 20, Claims: -1, Fleet: fleet.Options{Older: plant.OlderFormats()}, Round: mixedVersions},
		{Fault: "F27", Title: "drain, transfer and join storm, one id twice", Calls: 5, Round: storm},
		{Fault: "F28", Title: "a wiped node under its old id", Calls: 5, Short: true, Round: wiped},
		{Fault: "F29", Title: "a node of another deployment, founded twice", Round: foreign},
		{Fault: "F30", Title: "quorum lost for good, recovery from one survivor", Round: recovery},
	}
}

// rollingRestart is the drain loop of the manual: leadership away, drain, stop,
// start, undrain; never two nodes at once.
func rollingRestart(ctx context.Context, s *Stage) error {
	fleet.Pause(ctx, 2*time.Second)
	for _, n := range s.Nodes {
		if err := s.restart(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stage) restart(ctx context.Context, n *fleet.Node) error {
	var st api.Status
	if err := fleet.Insist(ctx, func() (err error) { st, err = n.Status(ctx); return err }); err != nil {
		return err
	}
	if st.Cluster.State == "leader" {
		if err := fleet.Insist(ctx, func() error { return n.API.TransferLeader(ctx, "") }); err != nil {
			return fmt.Errorf("transferring the leadership from %s: %w", n.ID, err)
		}
	}
	by := s.Others(n)[0]
	if err := fleet.Insist(ctx, func() error { return by.API.Drain(ctx, n.ID, time.Time{}) }); err != nil {
		return fmt.Errorf("draining %s: %w", n.ID, err)
	}
	drained := time.Now().Add(100 * time.Millisecond) // claims under way when the drain was acknowledged
	if !fleet.Until(ctx, drainFor, 100*time.Millisecond, func() bool {
		st, err := n.Status(ctx)
		return err == nil && st.LiveHere == 0
	}) {
		s.Note("%s still had calls %s after its drain began", n.ID, drainFor)
	}
	if err := s.noneOn(ctx, by, n, drained); err != nil {
		return err
	}
	stopping := time.Now()
	if err := n.Stop(stopsWithin); err != nil {
		s.Break("%v", err)
	}
	s.Recovered("stopped", time.Since(stopping), 0)
	begun := time.Now()
	if err := n.Start(); err != nil {
		return err
	}
	if err := n.Ready(ctx, 4*fleet.HealWithin); err != nil {
		s.Break("%v", err)
		return nil
	}
	s.Recovered("node back", time.Since(begun), fleet.HealWithin)
	return fleet.Insist(ctx, func() error { return by.API.Undrain(ctx, n.ID) })
}

// stopsWithin is node.drain, what may be handed over after it, and the way out: a
// node hands its partitions over one by one, and each restart leaves it more of them.
const stopsWithin = 40 * time.Second

// noneOn breaks when a call was placed on a draining node, unless its group
// lives there.
func (s *Stage) noneOn(ctx context.Context, by, n *fleet.Node, since time.Time) error {
	t, err := readTable(ctx, by)
	if err != nil {
		return err
	}
	for _, c := range t.calls {
		p := c.Placement
		if p.Owner == n.ID && c.ClaimedAt.After(since) && p.Reason != ownership.ReasonTogether {
			s.Break("call %s was placed on %s %s after its drain: %s", c.ID, n.ID, c.ClaimedAt.Sub(since), p.Reason)
		}
	}
	return nil
}

// storm changes the membership as fast as the region takes it.
func storm(ctx context.Context, s *Stage) error {
	refused := 0
	fault := time.Now()
	for i := range stormChanges {
		n := s.Nodes[i%len(s.Nodes)]
		by := s.Nodes[(i+1)%len(s.Nodes)]
		act, cancel := context.WithTimeout(ctx, 3*time.Second)
		var err error
		switch i % 4 {
		case 0:
			err = by.API.Drain(act, n.ID, time.Time{})
		case 1:
			err = by.API.TransferLeader(act, n.ID)
		case 2:
			err = by.API.Undrain(act, s.Nodes[(i-2)%len(s.Nodes)].ID)
		default:
			_, err = by.API.Join(act, api.JoinRequest{Address: n.PeerAt})
		}
		cancel()
		if err != nil {
			refused++
		}
	}
	s.Note("%d changes took %s, %d were refused", stormChanges, time.Since(fault).Round(time.Millisecond), refused)
	for _, n := range s.Nodes {
		_ = s.Nodes[0].API.Undrain(ctx, n.ID) // those that are not draining say so
	}
	if err := s.ClaimsResume(ctx, time.Now(), 2*time.Second, s.Nodes...); err != nil {
		return err
	}
	twin, err := s.Extra(s.Round, 0, func(doc map[string]any) {
		doc["node"].(map[string]any)["id"] = string(s.Nodes[0].ID)
	})
	if err != nil {
		return err
	}
	s.refused(ctx, twin, "with an id that is taken")
	return s.AwaitAll(ctx, 10*time.Second)
}

// refused waits until a node has ended by itself or has clearly not come in.
func (s *Stage) refused(ctx context.Context, n *fleet.Node, what string) {
	defer n.Kill()
	if fleet.Until(ctx, endsWithin, 50*time.Millisecond, func() bool { return len(n.Exits()) > 0 }) {
		return
	}
	if st, err := n.Status(ctx); err == nil && st.Leased {
		s.Break("a node %s was taken in", what)
		return
	}
	s.Note("a node %s did not end, but was not taken in either", what)
}

// wiped: a node that lost its disk does not come back under its old id before
// an operator has removed the old one.
func wiped(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	n := s.Others(leader)[0]
	n.Kill()
	if err := fleet.Wipe(n.DataDir); err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		return err
	}
	fleet.Pause(ctx, 4*time.Second)
	if st, err := n.Status(ctx); err == nil && st.Leased {
		s.Break("%s came back with an empty disk and was given a lease", n.ID)
	}
	removed := time.Now()
	n.Kill()
	if err := leader.API.Remove(ctx, n.ID); err != nil {
		return fmt.Errorf("removing %s: %w", n.ID, err)
	}
	if err := fleet.Wipe(n.DataDir); err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		return err
	}
	if err := n.Ready(ctx, fleet.HealWithin); err != nil {
		s.Break("after its removal: %v", err)
		return nil
	}
	s.Recovered("node back", time.Since(removed), 0)
	return nil
}

// foreign: nodes of another deployment stay out, and a second founding founds
// nothing beside a region that is there.
func foreign(ctx context.Context, s *Stage) error {
	other, err := s.Extra(s.Round, 1, func(doc map[string]any) { doc["deployment"] = "another" })
	if err != nil {
		return err
	}
	again, err := s.Extra(s.Round, 2, func(doc map[string]any) {
		c := doc["cluster"].(map[string]any)
		c["bootstrap_expect"] = 0
	})
	if err != nil {
		return err
	}
	s.refused(ctx, other, "of another deployment")
	if err := again.API.Found(ctx); err == nil {
		s.Break("a node beside a region founded another one")
	}
	if err := again.Ready(ctx, 10*time.Second); err != nil {
		s.Break("a node that was asked to found beside a region did not join it: %v", err)
		return nil
	}
	mine, err1 := again.Status(ctx)
	theirs, err2 := s.Nodes[0].Status(ctx)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if mine.Cluster.Leader != theirs.Cluster.Leader || mine.Nodes != len(s.Nodes)+1 {
		s.Break("a second founding founded a region of its own: leader %s and %d nodes there, %s here", mine.Cluster.Leader, mine.Nodes, theirs.Cluster.Leader)
	}
	if err := s.Nodes[0].API.Remove(ctx, again.ID); err != nil {
		return fmt.Errorf("removing %s: %w", again.ID, err)
	}
	again.Kill()
	return nil
}

// recovery: two of three nodes never come back.
func recovery(ctx context.Context, s *Stage) error {
	s.Load.Hold(true)
	defer s.Load.Hold(false)
	fleet.Pause(ctx, 2*time.Second) // what is acknowledged has reached all three
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	survivor := s.Others(leader)[0]
	lost := s.Others(survivor)
	for _, n := range lost {
		n.Kill()
	}
	fleet.Pause(ctx, 3*time.Second)
	s.saysNo(ctx, survivor)
	begun := time.Now()
	if err := survivor.Stop(15 * time.Second); err != nil {
		s.Note("%v", err)
	}
	if _, err := fleet.Program(ctx, s.Binary, "raft", "recover", "--config", survivor.Config, "--yes"); err != nil {
		s.Break("recovering: %v", err)
		return nil
	}
	if err := survivor.Start(); err != nil {
		return err
	}
	if err := survivor.Ready(ctx, fleet.HealWithin); err != nil {
		s.Break("after the recovery: %v", err)
		return nil
	}
	s.Recovered("region back", time.Since(begun), 0)
	for _, n := range lost {
		if err := survivor.API.Remove(ctx, n.ID); err != nil {
			return fmt.Errorf("removing %s: %w", n.ID, err)
		}
		if err := errors.Join(fleet.Wipe(n.DataDir), n.Start()); err != nil {
			return err
		}
		if err := n.Ready(ctx, fleet.HealWithin); err != nil {
			s.Break("joining again after the recovery: %v", err)
			return nil
		}
	}
	return nil
}
