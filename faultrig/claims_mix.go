package faultrig

import (
	"fmt"
	"slices"

	"tandem/ownership"
)

// mix is what kind of call a claimant makes: of which app, of which tenant, and
// whether it belongs to a meeting. The zero mix is a plain call.
type mix struct {
	app    string
	tenant string
	thread string
}

const (
	secondApp    = "5c1e7a52-0f52-4c41-a1c0-35a2b3f3f9b6" // of the claimants, beside claimsApp
	pinnedTenant = "6e1fc0e1-a55f-4277-89f4-aae9486d40a8" // an operator has pinned its calls to pinnedZone
	pinnedZone   = "b"
	meetings     = 5 // that go on at a time
)

var plainCall = mix{app: claimsApp, tenant: claimsTenant}

// mixLocked draws what a new call is like.
func (c *claimants) mixLocked() mix {
	m := plainCall
	if c.dice.IntN(3) == 0 {
		m.app = secondApp
	}
	switch c.dice.IntN(4) {
	case 0:
		m.tenant = pinnedTenant
	case 1:
		// A meeting lasts for some forty calls, then another one takes its place.
		m.thread = fmt.Sprintf("19:meeting_%d_%d@thread.v2", len(c.mixes)/200, c.dice.IntN(meetings))
	}
	return m
}

// mixOf gives the mix of a call; those that scenarios make by themselves are
// plain.
func (c *claimants) mixOf(id ownership.CallID) mix {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := c.mixes[id]; ok {
		return m
	}
	return plainCall
}

func (m mix) incoming(id ownership.CallID) string {
	more := ""
	if m.thread != "" {
		more = fmt.Sprintf(`"chatInfo":{"@odata.type":"#microsoft.graph.chatInfo","threadId":%q,"messageId":"0"},`, m.thread)
	}
	return fmt.Sprintf(incoming, id, more, m.tenant)
}

// judgeMix: every claim kept its app and its tenant; what was placed by a pin is
// where the pin says, and what was placed beside its group is in the partition of
// another call of that group.
func (s *Stage) judgeMix(t table) {
	zone := map[ownership.NodeID]string{}
	for _, n := range s.all() {
		zone[n.ID] = n.Zone
	}
	wrong := map[string]string{}
	s.Load.mu.Lock()
	defer s.Load.mu.Unlock()
	// By what was claimed: an ended call's record tells its groups no more.
	meeting := map[string][]ownership.Call{}
	for id, m := range s.Load.mixes {
		if c, ok := t.calls[id]; ok && m.thread != "" {
			meeting[m.thread] = append(meeting[m.thread], c)
		}
	}
	for id, m := range s.Load.mixes {
		c, ok := t.calls[id]
		if !ok || c.State == ownership.CallEnded && c.Tenant == "" {
			continue // never claimed; or a tombstone, which keeps little
		}
		switch {
		case string(c.App) != m.app || string(c.Tenant) != m.tenant:
			wrong[string(id)] = fmt.Sprintf("was claimed for app %s and tenant %s and stands for %s and %s", m.app, m.tenant, c.App, c.Tenant)
		case c.Placement.Reason == ownership.ReasonPinned && zone[c.Placement.Owner] != pinnedZone:
			wrong[string(id)] = fmt.Sprintf("was placed by its pin, but on %s", c.Placement.Owner)
		case c.Placement.Reason == ownership.ReasonTogether && m.thread == "":
			wrong[string(id)] = "was placed beside a group, but belongs to none"
		case c.Placement.Reason == ownership.ReasonTogether && !slices.ContainsFunc(meeting[m.thread], func(o ownership.Call) bool {
			// Media that stay with a node of which others own the partition by now are
			// joined on that node, in a partition of its own.
			return o.ID != id && (o.Partition == c.Partition || o.Pinned && o.Placement.Owner == c.Placement.Owner)
		}):
			wrong[string(id)] = fmt.Sprintf("was placed beside its group in partition %d, where no other call of it is", c.Partition)
		}
	}
	s.some("I3: claims that are not what was claimed", wrong, len(s.Load.mixes))
}
