package node

import (
	"fmt"
	"time"

	"tandem/admin"
	"tandem/ownership"
)

// slowDisk is how old the watchdog's last write may be before an operator is
// told; at three times that the node ends by itself (cluster.stalled_disk).
const slowDisk = time.Second

// promises are those that only the whole node can judge; the admin door adds its
// own. Each is looked at anew, from memory, at every question.
func (n *Node) promises() []admin.Promise {
	disk := n.diskTrouble()
	table := ""
	if err := n.table.Err(); err != nil {
		table = err.Error()
	}
	return []admin.Promise{
		judged("known-calls-routed", "Notifications of known calls are routed from memory, with or without a leader.",
			n.routingTrouble(), "The table is in memory, and this node may act on its own calls."),
		judged("calls-answered", "New calls that are placed here are answered in time.",
			n.answeringTrouble(), "The bot is healthy, and tokens can be checked."),
		judged("claims-durable", "An acknowledged claim is on the disks of a majority of the voters.",
			disk, "This node's disk takes writes."),
		judged("history-durable", "The table's file follows the table, so that a start is quick.",
			table, fmt.Sprintf("The file holds entry %d of %d.", n.table.Durable(), n.table.Applied())),
		judged("calls-survive-their-node", "When this node dies, its ringing calls are answered and its movable calls adopted by others.",
			n.heirTrouble(), "Another active node is there."),
		judged("regions-reachable", "Calls that belong to another region are sent there.",
			n.worldTrouble(), "Every other region is healthy."),
	}
}

// judged makes a promise that holds as long as there is no trouble.
func judged(name, text, trouble, why string) admin.Promise {
	p := admin.Promise{Name: name, Holds: trouble == "", Text: text, Why: trouble}
	if p.Holds {
		p.Why = why
	}
	return p
}

// diskTrouble says why this node's disk cannot be relied on; empty: it can.
func (n *Node) diskTrouble() string {
	s := n.region.Status()
	switch {
	case s.DiskTrouble != "":
		return "the data directory takes no writes: " + s.DiskTrouble
	case s.DiskAge > slowDisk:
		return fmt.Sprintf("the disk has not answered for %v", s.DiskAge.Round(100*time.Millisecond))
	}
	return ""
}

func (n *Node) routingTrouble() string {
	if s := n.region.Status(); !s.Leased {
		return "this node may not act on its own calls now: " + first(s.Trouble, "it has no valid lease") + "; those of others it relays"
	}
	return ""
}

func (n *Node) answeringTrouble() string {
	if healthy, _, _ := n.desk.Health(); !healthy {
		return "the bot beside this node is not healthy, so it gets no new calls"
	}
	if err := n.tokens.Ready(); err != nil {
		return err.Error()
	}
	return ""
}

func (n *Node) heirTrouble() string {
	for _, other := range n.table.Nodes() {
		if other.ID != n.ID() && other.State == ownership.NodeActive {
			return ""
		}
	}
	return "the region has no other active node"
}

func (n *Node) worldTrouble() string {
	for _, r := range n.world.Regions() {
		if r.Name != n.Region() && !r.Healthy {
			return fmt.Sprintf("region %s is not healthy, or cannot be reached", r.Name)
		}
	}
	return ""
}
