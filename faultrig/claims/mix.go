package claims

import (
	"fmt"

	"tandem/faultrig/fleet"
	"tandem/ownership"
)

// Mix is what kind of call a claimant makes: of which app, of which tenant, and
// whether it belongs to a meeting. The zero mix is a plain call.
type Mix struct {
	App    string
	Tenant string
	thread string
}

const (
	meetings = 5 // that go on at a time
)

// PlainCall is what a scenario makes by itself.
var PlainCall = Mix{App: fleet.ClaimsApp, Tenant: fleet.ClaimsTenant}

// mixLocked draws what a new call is like.
func (c *Load) mixLocked() Mix {
	m := PlainCall
	if c.dice.IntN(3) == 0 {
		m.App = fleet.SecondApp
	}
	switch c.dice.IntN(4) {
	case 0:
		m.Tenant = fleet.PinnedTenant
	case 1:
		// A meeting lasts for some forty calls, then another one takes its place.
		m.thread = fmt.Sprintf("19:meeting_%d_%d@thread.v2", len(c.mixes)/200, c.dice.IntN(meetings))
	}
	return m
}

// MixOf returns the mix of a call; those that scenarios make by themselves are
// plain.
func (c *Load) MixOf(id ownership.CallID) Mix {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := c.mixes[id]; ok {
		return m
	}
	return PlainCall
}

// Incoming is the first notification of a call.
func (m Mix) Incoming(id ownership.CallID) string {
	more := ""
	if m.thread != "" {
		more = fmt.Sprintf(`"chatInfo":{"@odata.type":"#microsoft.graph.chatInfo","threadId":%q,"messageId":"0"},`, m.thread)
	}
	return fmt.Sprintf(incoming, id, more, m.Tenant)
}
