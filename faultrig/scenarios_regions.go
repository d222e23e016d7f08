package faultrig

import (
	"context"
	"net/http"
	"strings"
	"time"

	"tandem/faultrig/claims"
	"tandem/faultrig/fleet"
	"tandem/ownership"
)

const (
	downWithin   = 15 * time.Second // a region that does not answer is called down
	upWithin     = 15 * time.Second
	decideWithin = 1500 * time.Millisecond // a new call, whatever the other region does
)

// regionScenarios take the other region away, as real processes.
func regionScenarios() []Scenario {
	two := fleet.Options{Away: 1}
	return []Scenario{
		{Fault: "F22", Title: "the other region is down", Fleet: two, Claims: 2, Round: regionDown},
		{Fault: "F23", Title: "the other region hangs", Fleet: two, Claims: 2, Round: regionHangs},
		{Fault: "F24", Title: "two regions are cut from each other", Needs: []fleet.Need{fleet.NeedNetwork}, Fleet: fleet.Options{Away: 1, Network: true}, Claims: 2, Round: regionsCut},
		{Fault: "F57", Title: "the node dies whose admin door names the other region", Fleet: fleet.Options{Away: 3}, Claims: 2, Round: deadDoor},
	}
}

// firstOf posts a new call of a tenant and gives the status and the Location.
func (s *Stage) firstOf(ctx context.Context, n *fleet.Node, tenant string) (status int, location string, took time.Duration) {
	m := claims.Mix{App: fleet.ClaimsApp, Tenant: tenant}
	id := s.fresh()
	ctx, cancel := context.WithTimeout(ctx, claims.Patience)
	defer cancel()
	begun := time.Now()
	res, err := s.Load.Post(ctx, m, "", n.Public+"/api/calls", m.Incoming(id))
	if err != nil {
		return 0, err.Error(), time.Since(begun)
	}
	_ = res.Body.Close() // its status and headers are all
	return res.StatusCode, res.Header.Get("Location"), time.Since(begun)
}

// homeward: calls whose home is the other region are sent there.
func (s *Stage) homeward(ctx context.Context, from *fleet.Node, within time.Duration, why string) {
	for _, tenant := range []string{fleet.SoftTenant, fleet.HardTenant} {
		var status int
		var to string
		if !fleet.Until(ctx, within, 100*time.Millisecond, func() bool {
			status, to, _ = s.firstOf(ctx, from, tenant)
			return status == http.StatusFound && strings.HasPrefix(to, s.BaseOf(s.otherOf(from)))
		}) {
			s.Break("%s, a call whose home is %s got %d to %q at %s", why, s.otherOf(from), status, to, from.ID)
		}
	}
}

func (s *Stage) otherOf(n *fleet.Node) ownership.Region {
	if n.Region == fleet.AwayRegion {
		return fleet.Region
	}
	return fleet.AwayRegion
}

// stays: while its home does not answer, a call stays where it arrives, unless
// its rule is hard.
func (s *Stage) stays(ctx context.Context, at *fleet.Node, why string) {
	begun := time.Now()
	var status int
	if !fleet.Until(ctx, downWithin, 100*time.Millisecond, func() bool {
		var took time.Duration
		status, _, took = s.firstOf(ctx, at, fleet.SoftTenant)
		if took > decideWithin {
			s.Late("%s, a new call took %s", why, took.Round(time.Millisecond))
		}
		return status == http.StatusOK || status == http.StatusFound && s.here(ctx, at)
	}) {
		s.Break("%s, a call whose home it is got %d at %s for %s", why, status, at.ID, downWithin)
		return
	}
	s.Recovered("calls stay", time.Since(begun), 0)
	if status, _, _ := s.firstOf(ctx, at, fleet.HardTenant); status != http.StatusServiceUnavailable {
		s.Break("%s, a call that may be nowhere else got %d", why, status)
	}
}

// here: the next soft call is redirected within the region, not out of it.
func (s *Stage) here(ctx context.Context, at *fleet.Node) bool {
	status, to, _ := s.firstOf(ctx, at, fleet.SoftTenant)
	return status == http.StatusOK || status == http.StatusFound && !strings.HasPrefix(to, s.BaseOf(s.otherOf(at)))
}

func regionDown(ctx context.Context, s *Stage) error {
	at := s.Nodes[0]
	s.homeward(ctx, at, upWithin, "with both regions up")
	for _, n := range s.Away {
		n.Kill()
	}
	s.stays(ctx, at, "with the region down")
	for _, n := range s.Away {
		if err := s.bringBack(ctx, n); err != nil {
			return err
		}
	}
	s.homeward(ctx, at, upWithin, "with the region back")
	return nil
}

func regionHangs(ctx context.Context, s *Stage) error {
	at := s.Nodes[0]
	s.homeward(ctx, at, upWithin, "with both regions up")
	for _, n := range s.Away {
		if err := n.Pause(); err != nil {
			return err
		}
	}
	if err := s.ClaimsResume(ctx, time.Now(), time.Second, s.Nodes...); err != nil {
		return err
	}
	s.stays(ctx, at, "with the region hanging")
	for _, n := range s.Away {
		if err := n.Continue(); err != nil {
			return err
		}
		if err := n.Ready(ctx, fleet.HealWithin); err != nil {
			s.Break("%v", err)
		}
	}
	s.homeward(ctx, at, upWithin, "with the region going on")
	return nil
}

func regionsCut(ctx context.Context, s *Stage) error {
	at := s.Nodes[0]
	s.homeward(ctx, at, upWithin, "with both regions up")
	if err := s.Sunder(s.Nodes, s.Away); err != nil {
		return err
	}
	s.stays(ctx, at, "with the regions cut")
	if err := s.Mend(); err != nil {
		return err
	}
	s.homeward(ctx, at, upWithin, "with the cut mended")
	return nil
}

// deadDoor: a region is down when none of its nodes answers, not when one has
// died.
func deadDoor(ctx context.Context, s *Stage) error {
	at := s.Nodes[0]
	s.homeward(ctx, at, upWithin, "with both regions up")
	door := s.Away[0]
	door.Kill()
	for begun := time.Now(); time.Since(begun) < downWithin && !s.isBroken(); {
		s.homeward(ctx, at, 0, "with one of its nodes dead")
		fleet.Pause(ctx, 200*time.Millisecond)
	}
	if err := s.bringBack(ctx, door); err != nil {
		return err
	}
	s.homeward(ctx, at, upWithin, "with that node back")
	return nil
}
