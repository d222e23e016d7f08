package claims

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"tandem/faultrig/fleet"
	"tandem/ownership"
)

// Keep counts a probe's claim as acknowledged.
func (c *Load) Keep(id ownership.CallID, out Told) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked[id] = out
	c.claims++
}

// Count tells how many new calls were acknowledged.
func (c *Load) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.claims
}

// Acks returns what was told of each call that was acknowledged.
func (c *Load) Acks() map[ownership.CallID]Told {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.acked)
}

// Operations returns all that was asked and heard, in no certain order.
func (c *Load) Operations() []porcupine.Operation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.history)
}

// LastOn is when a new call was last placed on a node.
func (c *Load) LastOn(node ownership.NodeID) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[node]
}

// End notes that a scenario ends a call.
func (c *Load) End(id ownership.CallID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended[id] = time.Now()
}

// EndedAt is when somebody of the rig began to end a call; zero: nobody did.
func (c *Load) EndedAt(id ownership.CallID) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended[id]
}

// Close lets go of connections.
func (c *Load) Close() { c.http.CloseIdleConnections() }

// Misplaced says what is wrong with the calls of a table, of how many: every claim kept
// its app and its tenant; what was placed by a pin is where the pin says, and what was
// placed beside its group is in the partition of another call of that group.
func (c *Load) Misplaced(calls map[ownership.CallID]ownership.Call, zone map[ownership.NodeID]string) (wrong map[string]string, of int) {
	wrong = map[string]string{}
	c.mu.Lock()
	defer c.mu.Unlock()
	// By what was claimed: an ended call's record tells its groups no more.
	meeting := map[string][]ownership.Call{}
	for id, m := range c.mixes {
		if call, ok := calls[id]; ok && m.thread != "" {
			meeting[m.thread] = append(meeting[m.thread], call)
		}
	}
	for id, m := range c.mixes {
		call, ok := calls[id]
		if !ok || call.State == ownership.CallEnded && call.Tenant == "" {
			continue // never claimed; or a tombstone, which keeps little
		}
		switch {
		case string(call.App) != m.App || string(call.Tenant) != m.Tenant:
			wrong[string(id)] = fmt.Sprintf("was claimed for app %s and tenant %s and stands for %s and %s", m.App, m.Tenant, call.App, call.Tenant)
		case call.Placement.Reason == ownership.ReasonPinned && zone[call.Placement.Owner] != fleet.PinnedZone:
			wrong[string(id)] = fmt.Sprintf("was placed by its pin, but on %s", call.Placement.Owner)
		case call.Placement.Reason == ownership.ReasonTogether && m.thread == "":
			wrong[string(id)] = "was placed beside a group, but belongs to none"
		case call.Placement.Reason == ownership.ReasonTogether && !slices.ContainsFunc(meeting[m.thread], func(o ownership.Call) bool {
			// Media that stay with a node of which others own the partition by now are
			// joined on that node, in a partition of its own.
			return o.ID != id && (o.Partition == call.Partition || o.Pinned && o.Placement.Owner == call.Placement.Owner)
		}):
			wrong[string(id)] = fmt.Sprintf("was placed beside its group in partition %d, where no other call of it is", call.Partition)
		}
	}
	return wrong, len(c.mixes)
}
