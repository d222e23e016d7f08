package faultrig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"tandem/faultrig/fleet"
)

const (
	diskSize    = 192 << 20              // of each node's ext4: room for two segments of the raft log
	barFrozen   = 6 * time.Second        // leader's disk stalls: claims resume
	frozenFor   = 20 * time.Second       // F11
	freedWithin = 20 * time.Second       // F08: well again after there is space
	slowFsync   = 100 * time.Millisecond // F10
	noticedIn   = 10 * time.Second       // F09: a node whose fsync failed has ended
	watchSlow   = 8 * time.Second        // F10
)

func onDisks() fleet.Options { return fleet.Options{Disks: diskSize} }

// diskScenarios stall, fill, break and cut the disks below the nodes.
func diskScenarios() []Scenario {
	disks := []fleet.Need{fleet.NeedDisks}
	frozen := []fleet.Need{fleet.NeedDisks, fleet.NeedFreeze}
	traced := []fleet.Need{fleet.NeedDisks, fleet.NeedStrace}
	return []Scenario{
		{Fault: "F05", Title: "power loss of one node", Needs: disks, Fleet: onDisks(), Rounds: 3, Calls: 5, Round: powerLossOfOne},
		{Fault: "F06", Title: "power loss of all nodes", Needs: disks, Fleet: onDisks(), Rounds: 3, Short: true, Round: powerLossOfAll},
		{Fault: "F08", Title: "disk of the leader, a follower, all full", Needs: disks, Fleet: onDisks(), Rounds: 3, Calls: 5, Round: fullDisk},
		{Fault: "F09", Title: "fsync fails with EIO on the leader", Needs: traced, Fleet: onDisks(), Calls: 5, Rounds: 2, Short: true, Round: failingFsync},
		{Fault: "F10", Title: "fsync takes 100 ms on the leader", Needs: traced, Fleet: onDisks(), Calls: 5, Round: slowDisk},
		{Fault: "F11", Title: "disk of the leader stalls for 20 s", Needs: frozen, Fleet: onDisks(), Calls: 5, Short: true, Round: stalledLeader},
		{Fault: "F12", Title: "disk of a follower stalls for 60 s", Needs: frozen, Fleet: onDisks(), Calls: 5, Round: stalledFollower},
	}
}

// stalledLeader: raft itself would keep the leader for ever, for its heartbeats
// never touch the disk.
func stalledLeader(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	fault := time.Now()
	if err := leader.Disk.Freeze(); err != nil {
		return err
	}
	took, err := s.resume(ctx, fault, s.Others(leader)...)
	switch {
	case err != nil:
		s.Break("claims did not resume while the leader's disk stood still: %v", err)
	case took > frozenFor:
		s.Break("claims resumed only after %s, when the disk was let go", took)
	default:
		s.Recovered("claims", took, barFrozen)
	}
	fleet.Pause(ctx, time.Until(fault.Add(frozenFor)))
	thawed := time.Now()
	if err := leader.Disk.Thaw(); err != nil {
		return err
	}
	if err := leader.Ready(ctx, fleet.HealWithin); err != nil {
		s.Break("after its disk was let go: %v", err)
		return nil
	}
	s.Recovered("node back", time.Since(thawed), 0)
	return nil
}

func stalledFollower(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := s.Others(leader)[0]
	fault := time.Now()
	if err := victim.Disk.Freeze(); err != nil {
		return err
	}
	if err := s.ClaimsResume(ctx, fault, time.Second, leader); err != nil {
		return err
	}
	fleet.Pause(ctx, time.Until(fault.Add(3*frozenFor)))
	if now, err := s.Leader(ctx); err == nil && now != leader {
		s.Break("the leader changed from %s to %s though only a follower's disk stalled", leader.ID, now.ID)
	}
	thawed := time.Now()
	if err := victim.Disk.Thaw(); err != nil {
		return err
	}
	if err := victim.Ready(ctx, fleet.HealWithin); err != nil {
		s.Break("after its disk was let go: %v", err)
		return nil
	}
	s.Recovered("node back", time.Since(thawed), 0)
	return nil
}

func powerLossOfOne(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := leader
	if s.Round%2 == 1 {
		victim = s.Others(leader)[0]
	}
	fault := time.Now()
	if err := s.cut(victim); err != nil {
		return err
	}
	if err := s.ClaimsResume(ctx, fault, 5*time.Second, s.Others(victim)...); err != nil {
		return err
	}
	if err := victim.Disk.Restore(); err != nil {
		return err
	}
	return s.bringBack(ctx, victim)
}

// cut takes a node's power: its disk forgets what was not synced before the
// process can notice.
func (s *Stage) cut(n *fleet.Node) error {
	err := n.Disk.CutPower()
	n.Kill()
	return err
}

// powerLossOfAll: what was acknowledged is on the disks of a quorum.
func powerLossOfAll(ctx context.Context, s *Stage) error {
	if !fleet.Pause(ctx, 1500*time.Millisecond) { // some claims that no checkpoint has met
		return ctx.Err()
	}
	errs := make(chan error, len(s.Nodes))
	for _, n := range s.Nodes {
		go func() { errs <- s.cut(n) }()
	}
	for range s.Nodes {
		if err := <-errs; err != nil {
			return err
		}
	}
	begun := time.Now()
	for _, n := range s.Nodes {
		if err := n.Disk.Restore(); err != nil {
			return err
		}
		if err := n.Start(); err != nil {
			return err
		}
	}
	if _, err := s.resume(ctx, begun, s.Nodes...); err != nil {
		s.Break("after the power came back: %v; %v", err, s.Nodes[0].Exits())
		return nil
	}
	s.Recovered("claims after power", time.Since(begun), 10*time.Second)
	return nil
}

// fullDisk: the leader, a follower, then every node cannot write. With a majority
// left claims go on, if need be under another leader; without one nothing that
// was acknowledged is lost; and with space again the nodes are back by themselves.
func fullDisk(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	full := [][]*fleet.Node{{leader}, s.Others(leader)[:1], s.Nodes}[s.Round%3]
	fault := time.Now()
	for _, n := range full {
		if err := n.Disk.Fill(0); err != nil {
			return err
		}
	}
	if well := s.Others(full...); len(well) > 0 {
		if err := s.ClaimsResume(ctx, fault, barFrozen, well...); err != nil {
			return err
		}
		acked := s.Load.Count()
		fleet.Pause(ctx, 12*time.Second)
		if got := s.Load.Count() - acked; got < 200 {
			s.Break("with the disk of %s full, only %d claims were acknowledged in 12s", full[0].ID, got)
		}
	} else {
		fleet.Pause(ctx, 6*time.Second)
	}
	freed := time.Now()
	for _, n := range full {
		if err := n.Disk.Empty(); err != nil {
			return err
		}
	}
	for _, n := range full {
		if err := n.Ready(ctx, freedWithin); err != nil {
			s.Break("after there was space again: %v", err)
			return nil
		}
	}
	if err := s.ClaimsResume(ctx, freed, freedWithin, s.Nodes...); err != nil {
		return err
	}
	s.Recovered("nodes back", time.Since(freed), freedWithin)
	return nil
}

// inject attaches strace to a node and changes what its system calls do; end
// takes it off again.
func inject(n *fleet.Node, rule string) (end func(), err error) {
	log, err := os.Create(n.LogFile + ".strace")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(fleet.LookTool("strace"), "-f", "-q", "-p", strconv.Itoa(n.Pid()), "-e", "trace=fsync,fdatasync", "-e", "inject="+rule) //nolint:noctx // the scenario ends it, by pid
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("attaching strace to %s: %w", n.ID, err)
	}
	return func() {
		_ = cmd.Process.Signal(os.Interrupt) // it detaches; an ended node has ended it
		_ = cmd.Wait()                       // its exit status says nothing
	}, nil
}

// failingFsync: an fsync that failed is never tried again; the node ends.
func failingFsync(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	ends := len(leader.Exits())
	fault := time.Now()
	end, err := inject(leader, "fsync,fdatasync:error=EIO")
	if err != nil {
		return err
	}
	ended := fleet.Until(ctx, noticedIn, 20*time.Millisecond, func() bool { return len(leader.Exits()) > ends })
	if !ended {
		s.Break("%s went on for %s although fsync failed", leader.ID, noticedIn)
	} else {
		s.Recovered("node ended", time.Since(fault), 0)
	}
	end()
	if err := s.ClaimsResume(ctx, fault, 10*time.Second, s.Others(leader)...); err != nil {
		return err
	}
	if err := leader.Ready(ctx, fleet.HealWithin); err != nil {
		s.Break("started again after EIO: %v", err)
	}
	return nil
}

// slowDisk: throughput falls, but nobody loses the leadership over it.
func slowDisk(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	before, err := leader.Status(ctx)
	if err != nil {
		return err
	}
	end, err := inject(leader, "fsync,fdatasync:delay_enter="+strconv.Itoa(int(slowFsync.Microseconds())))
	if err != nil {
		return err
	}
	defer end()
	acked := s.Load.Count()
	fleet.Pause(ctx, watchSlow)
	after, err := leader.Status(ctx)
	if err != nil {
		return err
	}
	if after.Cluster.Term != before.Cluster.Term {
		s.Break("the term went from %d to %d over a slow disk", before.Cluster.Term, after.Cluster.Term)
	}
	if got := s.Load.Count() - acked; got < 10 {
		s.Break("with fsyncs of %s, only %d claims were acknowledged in %s", slowFsync, got, watchSlow)
	}
	return nil
}
