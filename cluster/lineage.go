package cluster

import (
	"fmt"

	"tandem/cluster/leader"
	"tandem/cluster/presence"
	"tandem/ownership"
)

// naming is what the entering goroutine saw of its own process in the table, since a
// snapshot last replaced that: one of another day names a process that was before.
type naming struct {
	swaps uint64
	seen  bool
	at    uint64 // index of the table then; 0: it names another one now
}

// keepLineage brings what stands beside the stamp up to what the table says, and
// ends this process when the table names another one after it.
func (c *entry) keepLineage() error {
	if id := c.tb.Identity(); id != "" {
		if err := c.st.Belong(id); err != nil {
			return fmt.Errorf("keeping the region's identity: %w", err)
		}
	}
	now := c.swaps.Load()
	if now != c.naming.swaps {
		c.naming = naming{swaps: now}
	}
	named := c.named(c.self)
	if now%2 == 1 || now != c.swaps.Load() {
		return nil // it is open which table that was
	}
	if named != c.process {
		c.naming.at = 0
	}
	switch {
	case named == c.process:
		c.naming.seen = true
		if c.naming.at == 0 {
			c.naming.at = c.tb.Applied()
		}
		// Not before the table that names it is on disk: a node whose table is set back by
		// a crash would not know any more whom it descends from.
		if c.tb.Durable() < c.naming.at {
			return nil
		}
		if err := c.st.Confirm(c.process); err != nil {
			return fmt.Errorf("keeping this process's id: %w", err)
		}
	case c.naming.seen && named != "":
		return c.twin(c.where(c.self))
	}
	return nil
}

// twin says what is wrong when two processes run on the data of one node, and what
// to do.
func (c *entry) twin(seen []string) error {
	at := "an address that is not known here"
	for _, addr := range seen {
		if addr != c.addr {
			at = addr
		}
	}
	return presence.Twin(c.self, at)
}

// inTable reports whether the table holds this node's record as it is now.
func (c *standing) inTable() bool {
	n, ok := c.tb.Node(c.self)
	if !ok || n.State == ownership.NodeGone {
		return false
	}
	want := c.ownRecord()
	want.State, want.Voter, want.JoinedAt, want.DrainBy, want.GoneAt = n.State, n.Voter, n.JoinedAt, n.DrainBy, n.GoneAt
	return n == want
}

// ownRecord is this node's record as the table should hold it: one of an older format
// names no process.
func (c *standing) ownRecord() ownership.Node {
	n := c.cfg.Node
	if c.tb.Format() < ownership.FormatReservations {
		n.Process = ""
	}
	return n
}

// ownsTooFew reports whether the node may take calls but lacks partitions. A region
// of an older format bears some only to a node that has none.
func (c *entry) ownsTooFew() bool {
	n, ok := c.tb.Node(c.self)
	if !ok || n.State != ownership.NodeActive || !c.Leased() {
		return false
	}
	own := len(c.tb.PartitionsOf(c.self))
	return own == 0 || own < c.cfg.Partitions && c.tb.Format() >= ownership.FormatReservations
}

// joining is this node's request to be taken in, and why it has no token to show, if it
// should have one.
func (c *entry) joining() (req leader.JoinRequest, noToken error) {
	_, member := c.tb.Node(c.self)
	token := ""
	if !member {
		token, noToken = c.token()
	}
	me := c.me()
	return leader.JoinRequest{
		Node: c.cfg.Node, Partitions: c.cfg.Partitions, Stamp: c.st.Stamp(), Identity: me.GetIdentity(), HasState: member,
		Ancestors: me.GetAncestors(), Over: me.GetOver(), LastIndex: c.raft.LastIndex(), Settings: c.cfg.Settings,
		Token: token,
	}, noToken
}
