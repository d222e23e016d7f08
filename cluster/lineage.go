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
func (en *entry) keepLineage() error {
	if id := en.tb.Identity(); id != "" {
		if err := en.st.Belong(id); err != nil {
			return fmt.Errorf("keeping the region's identity: %w", err)
		}
	}
	now := en.swaps.Load()
	if now != en.naming.swaps {
		en.naming = naming{swaps: now}
	}
	named := en.named(en.self)
	if now%2 == 1 || now != en.swaps.Load() {
		return nil // it is open which table that was
	}
	if named != en.process {
		en.naming.at = 0
	}
	switch {
	case named == en.process:
		en.naming.seen = true
		if en.naming.at == 0 {
			en.naming.at = en.tb.Applied()
		}
		// Not before the table that names it is on disk: a node whose table is set back by
		// a crash would not know any more whom it descends from.
		if en.tb.Durable() < en.naming.at {
			return nil
		}
		if err := en.st.Confirm(en.process); err != nil {
			return fmt.Errorf("keeping this process's id: %w", err)
		}
	case en.naming.seen && named != "":
		return en.twin(en.where(en.self))
	}
	return nil
}

// twin says what is wrong when two processes run on the data of one node, and what
// to do.
func (en *entry) twin(seen []string) error {
	at := "an address that is not known here"
	for _, addr := range seen {
		if addr != en.addr {
			at = addr
		}
	}
	return presence.Twin(en.self, at)
}

// inTable reports whether the table holds this node's record as it is now.
func (st *standing) inTable() bool {
	n, ok := st.tb.Node(st.self)
	if !ok || n.State == ownership.NodeGone {
		return false
	}
	want := st.ownRecord()
	want.State, want.Voter, want.JoinedAt, want.DrainBy, want.GoneAt = n.State, n.Voter, n.JoinedAt, n.DrainBy, n.GoneAt
	return n == want
}

// ownRecord is this node's record as the table should hold it: one of an older format
// names no process.
func (st *standing) ownRecord() ownership.Node {
	n := st.cfg.Node
	if st.tb.Format() < ownership.FormatReservations {
		n.Process = ""
	}
	return n
}

// ownsTooFew reports whether the node may take calls but lacks partitions. A region
// of an older format bears some only to a node that has none.
func (en *entry) ownsTooFew() bool {
	n, ok := en.tb.Node(en.self)
	if !ok || n.State != ownership.NodeActive || !en.Leased() {
		return false
	}
	own := len(en.tb.PartitionsOf(en.self))
	return own == 0 || own < en.cfg.Partitions && en.tb.Format() >= ownership.FormatReservations
}

// joining is this node's request to be taken in, and why it has no token to show, if it
// should have one.
func (en *entry) joining() (req leader.JoinRequest, noToken error) {
	_, member := en.tb.Node(en.self)
	token := ""
	if !member {
		token, noToken = en.token()
	}
	me := en.me()
	return leader.JoinRequest{
		Node: en.cfg.Node, Partitions: en.cfg.Partitions, Stamp: en.st.Stamp(), Identity: me.GetIdentity(), HasState: member,
		Ancestors: me.GetAncestors(), Over: me.GetOver(), LastIndex: en.raft.LastIndex(), Settings: en.cfg.Settings,
		Token: token,
	}, noToken
}
