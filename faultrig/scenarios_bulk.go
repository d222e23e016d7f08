package faultrig

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/faultrig/fleet"
	"tandem/ownership"
)

const (
	ringsFor = 15 * time.Second // a call, until the cloud gives it up

	multitude    = 100_000         // calls in the region when an owner dies in F65
	barOwners    = 4 * time.Second // all partitions of a dead owner have another one
	longLease    = 6 * time.Second // F56
	snapshotLoad = 6000            // calls that a snapshot holds in F64
	claimsBefore = 1200            // and in F63
)

// bulkScenarios change what all nodes share: settings, snapshots, large tables;
// and let two faults happen at once.
func bulkScenarios() []Scenario {
	nets := fleet.Options{Network: true}
	net := []fleet.Need{fleet.NeedNetwork}
	return []Scenario{
		{Fault: "F56", Title: "a rolling change of cluster.lease, and a cut in the middle", Needs: net, Fleet: nets, Claims: -1, Calls: 5, Round: rollingLease},
		{Fault: "F62", Title: "a rolling change of the configuration", Calls: 10, Round: rollingConfig},
		{Fault: "F63", Title: "a restore under traffic", Claims: -1, Round: restoreUnderTraffic},
		{Fault: "F64", Title: "a snapshot is installed under load, and killed in it", Rounds: 2, Calls: 5, Round: installUnderLoad},
		{Fault: "F65", Title: fmt.Sprintf("an owner dies in a table of %d calls", multitude), Claims: -1, Round: multitudeDies},
		{Fault: "F66", Title: "two faults at once", Needs: net, Fleet: nets, Rounds: 3, Calls: 5, Round: twoFaults},
	}
}

// rollingLease: the lease's length is the region's, whatever a file says. A node
// that believes in a longer one than its leader acts after its partitions went.
func rollingLease(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	longer := func(doc map[string]any) { doc["cluster"].(map[string]any)["lease"] = longLease.String() }
	victim := s.Others(leader)[0]
	if err := s.rewrite(ctx, victim, longer); err != nil {
		return err
	}
	if err := s.spread(ctx, victim); err != nil {
		return err
	}
	calls, err := s.talkAt(ctx, victim, talking)
	if err != nil {
		return err
	}
	stop := s.hammer(ctx, victim, calls)
	if err := s.Sunder([]*fleet.Node{victim}, s.Others(victim)); err != nil {
		stop()
		return err
	}
	if s.adoptedBy(ctx, calls, victim, 15*time.Second) == 0 {
		s.Break("the calls of a node that is cut off were not adopted within 15s")
	}
	fleet.Pause(ctx, longLease)
	stop()
	if err := s.Mend(); err != nil {
		return err
	}
	if err := s.AwaitAll(ctx, fleet.HealWithin); err != nil {
		s.Break("after the cut was mended: %v", err)
		return nil
	}
	for _, n := range s.Others(victim) {
		if err := s.rewrite(ctx, n, longer); err != nil {
			return err
		}
	}
	return s.endAll(ctx, s.Nodes[0], calls)
}

// rollingConfig: settings that two nodes must agree on are changed node by node;
// nothing is lost, and in between a node names what differs.
func rollingConfig(ctx context.Context, s *Stage) error {
	named := false
	for _, n := range s.Nodes {
		if err := s.rewrite(ctx, n, func(doc map[string]any) {
			doc["cluster"].(map[string]any)["tombstones"] = "90m"
		}); err != nil {
			return err
		}
		fleet.Until(ctx, 5*time.Second, 200*time.Millisecond, func() bool {
			for _, o := range s.Nodes {
				if st, err := o.Status(ctx); err == nil && strings.Contains(strings.Join(st.Warnings, "\n"), "tombstones") {
					named = true
				}
			}
			return named
		})
		fleet.Pause(ctx, restBetween)
	}
	if !named {
		s.Break("nodes ran with different settings of cluster.tombstones, and none named it in its warnings")
	}
	return nil
}

// restoreUnderTraffic: an old snapshot is refused by the region that it came
// from, and brings a region back that lost all its disks, while new calls come.
func restoreUnderTraffic(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	at := s.Others(leader)[0]
	calls, err := s.talkAt(ctx, at, talking)
	if err != nil {
		return err
	}
	if err := s.fill(ctx, claimsBefore); err != nil { // so that the new region is younger
		return err
	}
	var snapshot bytes.Buffer
	if err := leader.API.SaveSnapshot(ctx, &snapshot); err != nil {
		return fmt.Errorf("saving a snapshot: %w", err)
	}
	if _, err := s.Load.Claim(at, s.fresh()); err != nil {
		return err
	}
	if err := leader.API.RestoreSnapshot(ctx, bytes.NewReader(snapshot.Bytes()), ownership.RestoreTerms{}); err == nil {
		s.Break("a snapshot older than the table was restored: owners that were replaced since came back")
		return nil
	}
	for _, n := range s.Nodes {
		n.Kill()
		if err := fleet.Wipe(n.DataDir); err != nil {
			return err
		}
	}
	for _, n := range s.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	if err := s.AwaitAll(ctx, fleet.HealWithin); err != nil {
		return err
	}
	s.Desk.NewRegion()
	traffic, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, n := range s.Nodes {
		wg.Go(func() {
			for traffic.Err() == nil {
				_, _ = s.Load.Claim(n, s.fresh()) // the restore takes what came before it
				fleet.Pause(traffic, 5*time.Millisecond)
			}
		})
	}
	defer wg.Wait()
	defer stop()
	if leader, err = s.Leader(ctx); err != nil {
		return err
	}
	fleet.Pause(ctx, time.Second)
	s.Desk.NewRegion() // once more: epochs of the snapshot's partitions are its own
	restored := time.Now()
	if err := leader.API.RestoreSnapshot(ctx, bytes.NewReader(snapshot.Bytes()), ownership.RestoreTerms{}); err == nil {
		s.Break("a snapshot of another history was restored over live calls, and nobody was asked")
		return nil
	}
	if err := s.restoreUntilDone(ctx, leader, snapshot.Bytes()); err != nil {
		s.Break("restoring a snapshot under traffic: %v", err)
		return nil
	}
	if err := s.ClaimsResume(ctx, restored, 5*time.Second, s.Nodes...); err != nil {
		return err
	}
	stop()
	wg.Wait()
	if err := s.AwaitAll(ctx, fleet.HealWithin); err != nil {
		s.Break("after a restore: %v", err)
		return nil
	}
	for i, id := range calls {
		if err := s.notify(ctx, s.Nodes[i%len(s.Nodes)], id, "established", "restored"); err != nil {
			s.Break("after a restore: %v", err)
			return nil
		}
	}
	return s.endAll(ctx, at, calls)
}

// restoreUntilDone restores as an operator does: a leader that loses the lead meanwhile
// cannot say whether it was done, so it is asked for again.
func (s *Stage) restoreUntilDone(ctx context.Context, leader *fleet.Node, snapshot []byte) (err error) {
	for range 3 {
		if err = leader.API.RestoreSnapshot(ctx, bytes.NewReader(snapshot), ownership.RestoreTerms{Anyhow: true}); !client.Unavailable(err) {
			return err
		}
		s.Note("a restore is asked for again: %v", err)
		if leader, err = s.Leader(ctx); err != nil {
			return err
		}
	}
	return err
}

// installUnderLoad: a node without data is filled up while claims go on; in every
// second round it is killed in the middle.
func installUnderLoad(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	if s.Round == 0 {
		if err := s.fill(ctx, snapshotLoad); err != nil {
			return err
		}
	}
	n := s.Others(leader)[0]
	n.Kill()
	if err := leader.API.Remove(ctx, n.ID); err != nil {
		return fmt.Errorf("removing %s: %w", n.ID, err)
	}
	if err := fleet.Wipe(n.DataDir); err != nil {
		return err
	}
	fault := time.Now()
	if err := n.Start(); err != nil {
		return err
	}
	if s.Round%2 == 1 {
		for _, after := range []time.Duration{150, 250, 400} {
			fleet.Pause(ctx, after*time.Millisecond)
			n.Kill()
			if err := n.Start(); err != nil {
				return err
			}
		}
	}
	acked := s.Load.Count()
	if err := n.Ready(ctx, 2*fleet.HealWithin); err != nil {
		s.Break("filling up a node under load: %v; %s", err, lastLine(tail(n.LogFile)))
		return nil
	}
	s.Recovered("node filled up", time.Since(fault), 0)
	if s.Load.Count() == acked {
		s.Break("no claim was acknowledged while a node was filled up")
	}
	return nil
}

// multitudeDies: a death costs the same, however many calls it leaves; and no
// second node looks dead over it.
func multitudeDies(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := s.fill(ctx, multitude); err != nil {
		return err
	}
	s.Note("%d claims took %s", multitude, time.Since(begun).Round(time.Second))
	victim := s.Others(leader)[0]
	before, err := leader.API.Partitions(ctx)
	if err != nil {
		return err
	}
	fault := time.Now()
	victim.Kill()
	var took []time.Duration
	moved := fleet.Until(ctx, 60*time.Second, 20*time.Millisecond, func() bool {
		asked := time.Now()
		id := s.fresh()
		if out, err := s.Load.Claim(leader, id); err == nil {
			s.Load.Keep(id, out)
			took = append(took, time.Since(asked))
		}
		mine, err := partitionsOf(ctx, leader, victim.ID)
		return err == nil && len(mine) == 0
	})
	if !moved {
		s.Break("a minute after an owner in a table of %d calls died, it still owns partitions", multitude)
		return nil
	}
	s.Recovered("partitions have owners", time.Since(fault), barOwners)
	if len(took) > 0 {
		s.Recovered("claim p99 meanwhile", quantile(sorted(took), 0.99), barHerd)
	}
	after, err := leader.API.Partitions(ctx)
	if err != nil {
		return err
	}
	now := map[ownership.PartitionID]api.PartitionIn{}
	for _, p := range after {
		now[p.ID] = p
	}
	for _, p := range before {
		if p.Owner != victim.ID && now[p.ID].Owner != p.Owner {
			s.Break("a healthy node lost its partition: %d went from %s to %s when %s died", p.ID, p.Owner, now[p.ID].Owner, victim.ID)
		}
	}
	return s.bringBack(ctx, victim)
}

// twoFaults: a second fault while the first one stands. Without a quorum there is
// no claim; when it is back nothing is lost. A call that rang in the round before has had
// its time when the next one begins: the cloud comes seldom towards its end, and then
// into the next outage.
func twoFaults(ctx context.Context, s *Stage) error {
	if s.Round > 0 {
		fleet.Pause(ctx, ringsFor)
	}
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	a, b := s.Others(leader)[0], s.Others(leader)[1]
	fault := time.Now()
	switch s.Round % 3 {
	case 0: // the leader dies while a follower is cut off
		if err := s.Sunder([]*fleet.Node{a}, s.Others(a)); err != nil {
			return err
		}
		leader.Kill()
		fleet.Pause(ctx, cutFor)
		s.saysNo(ctx, b)
		if err := s.Mend(); err != nil {
			return err
		}
		if err := s.ClaimsResume(ctx, time.Now(), barMinority, a, b); err != nil {
			return err
		}
		return s.bringBack(ctx, leader)
	case 1: // two owners stand still
		if err := a.Pause(); err != nil {
			return err
		}
		if err := b.Pause(); err != nil {
			return err
		}
		fleet.Pause(ctx, time.Until(fault.Add(pausedFor)))
		s.saysNo(ctx, leader)
		for _, n := range []*fleet.Node{a, b} {
			if err := n.Continue(); err != nil {
				return err
			}
		}
	default: // one is deaf to the leader, the other one dies
		if err := s.Deaf(a, leader); err != nil {
			return err
		}
		b.Kill()
		fleet.Pause(ctx, cutFor)
		if err := s.Mend(); err != nil {
			return err
		}
		if err := s.bringBack(ctx, b); err != nil {
			return err
		}
	}
	if err := s.ClaimsResume(ctx, time.Now(), barMinority, s.Nodes...); err != nil {
		return err
	}
	fleet.Pause(ctx, restBetween)
	return s.AwaitAll(ctx, fleet.HealWithin)
}
