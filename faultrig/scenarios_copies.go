package faultrig

import (
	"context"
	"errors"
	"strings"
	"time"

	"tandem/faultrig/fleet"
)

// copiedDisk: of two processes with one identity one acts; the other ends and
// says where the first one runs.
func copiedDisk(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	n := s.Others(leader)[0]
	twin, err := s.Spare(s.Round, 0, func(doc map[string]any) {
		fleet.Joining(doc)
		doc["node"].(map[string]any)["id"] = string(n.ID)
	})
	if err != nil {
		return err
	}
	if err := n.Stop(15 * time.Second); err != nil {
		s.Break("%v", err)
	}
	if err := fleet.CopyData(n, twin); err != nil {
		return err
	}
	if s.Round%2 == 0 { // the copy comes while the first one runs
		if err := s.bringBack(ctx, n); err != nil {
			return err
		}
		if err := twin.Start(); err != nil {
			return err
		}
	} else if err := errors.Join(n.Start(), twin.Start()); err != nil { // both at once
		return err
	}
	return s.oneActs(ctx, n, twin)
}

// oneActs waits until one of two processes of one identity acts and the other has ended
// with a sentence, and has the fleet's own go on, with the data of the one that acted.
func (s *Stage) oneActs(ctx context.Context, n, twin *fleet.Node) error {
	defer twin.Kill()
	acts := func(n *fleet.Node) bool { st, err := n.Status(ctx); return err == nil && st.Leased }
	var ended *fleet.Node
	if !fleet.Until(ctx, fleet.HealWithin, 20*time.Millisecond, func() bool {
		if acts(n) && acts(twin) {
			s.Break("two processes act as node %s", n.ID)
		}
		for _, p := range []*fleet.Node{n, twin} {
			if len(p.Exits()) > 0 && strings.Contains(tail(p.LogFile), "another process") {
				ended = p
			}
		}
		return ended != nil || s.isBroken()
	}) {
		s.Break("two processes of node %s run, and none ended within %s; the end of the copy's log: %s", n.ID, fleet.HealWithin, lastLine(tail(twin.LogFile)))
	}
	if ended == nil {
		return nil
	}
	at := n
	if ended == n {
		at = twin
	}
	if said := tail(ended.LogFile); !strings.Contains(said, at.PeerAt) {
		s.Break("the second process of %s ended, but did not say that the first one runs at %s: %s", n.ID, at.PeerAt, lastLine(said))
	}
	twin.Kill()
	if ended == n { // the copy was first: what it wrote since is the node's data from now on
		if err := fleet.CopyData(twin, n); err != nil {
			return err
		}
	}
	return s.bringBack(ctx, n)
}
