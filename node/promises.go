package node

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/bot"
	"tandem/cluster"
	"tandem/ownership"
)

// slowDisk is how old the watchdog's last write may be before an operator is
// told; at three times that the node ends by itself (cluster.stalled_disk).
const slowDisk = time.Second

// scarceDisk is how little space an operator is told of: the raft log takes it in pieces
// of 64 MiB.
const scarceDisk = 256 << 20

// promises are those that only the whole node can judge; the admin door adds its
// own. Each is looked at anew, from memory, at every question.
func (n *Node) promises() []api.Promise {
	disk := n.diskTrouble()
	table := ""
	if err := n.table.Err(); err != nil {
		table = err.Error()
	}
	return []api.Promise{
		judged("known-calls-routed", "Notifications of known calls are routed from memory, with or without a leader.",
			n.routingTrouble(), "The table is in memory, and this node may act on its own calls."),
		judged("calls-answered", "New calls that are placed here are answered in time.",
			n.answeringTrouble(), "The bot is healthy, and tokens can be checked."),
		judged("claims-durable", "An acknowledged claim is on the disks of a majority of the voters.",
			disk, "This node's disk takes writes."),
		judged("history-durable", "The table's file follows the table, so that a start is quick.",
			table, fmt.Sprintf("The file holds entry %d of %d.", n.table.Durable(), n.table.Applied())),
		survives(n.region.Status(), n.table.Nodes()),
		judged("certificates-hold", "The certificates of this node's doors and of its region's authority are within their time.",
			textOf(ends{n}.ended("")), "None of them has ended."),
		judged("rules-agree", "All nodes of all regions route new calls by the same rules.",
			strings.Join(n.rules.Differ(), "; "), "Nobody that is heard has had others for longer than a change takes to travel."),
		judged("regions-reachable", "Calls that belong to another region are sent there.",
			n.regionsTrouble(), "Every other region is healthy."),
	}
}

// judged makes a promise that holds as long as there is no trouble.
func judged(name, text, trouble, why string) api.Promise {
	p := api.Promise{Name: name, Holds: trouble == "", Text: text, Why: trouble}
	if p.Holds {
		p.Why = why
	}
	return p
}

// diskTrouble says why this node's disk cannot be relied on; empty: it can.
func (n *Node) diskTrouble() string { return diskTroubleOf(n.region.Status()) }

func diskTroubleOf(s cluster.Status) string {
	switch {
	case s.DiskTrouble != "":
		return "the data directory takes no writes: " + s.DiskTrouble
	case s.DiskAge > slowDisk:
		return fmt.Sprintf("the disk has not answered for %v", s.DiskAge.Round(100*time.Millisecond))
	}
	return ""
}

// spaceTrouble says that the disk is nearly full; empty: it is not, or nobody can tell.
func (n *Node) spaceTrouble() string {
	if free, err := n.store.Free(); err == nil && free < scarceDisk {
		return fmt.Sprintf("the disk of the data directory has only %d MiB left: make space, without it this node takes no entry of the log", free>>20)
	}
	return ""
}

// stalled says why new calls may get no owner, as far as this node can tell. A
// leader is believed in only while it renews this node's lease, which it does
// only when a majority hears it; and raft alone would lead over a stalled disk.
func stalled(s cluster.Status) string {
	switch {
	case s.Leader == "":
		return "the region has no leader right now"
	case !s.Leased:
		return fmt.Sprintf("node %s should lead, but this node has no valid lease from it", s.Leader)
	case s.Leader == s.Node && diskTroubleOf(s) != "":
		return "this node leads, and " + diskTroubleOf(s)
	}
	return ""
}

// voters counts the region's voters.
func voters(s cluster.Status) (n int) {
	for _, p := range s.Peers {
		if p.Voter {
			n++
		}
	}
	return n
}

// survives is the promise of what becomes of this node's calls when it dies. While the leader
// drains, another node cannot tell: the leader can.
func survives(s cluster.Status, nodes []ownership.Node) api.Promise {
	trouble, why := heirOf(s, nodes)
	p := judged("calls-survive-their-node", "When this node dies, its ringing calls are answered and its movable calls adopted by others.", trouble, why)
	p.Unknown = trouble != "" && why != ""
	return p
}

// heirOf says who takes this node's calls over when it dies, or why nobody may; both: why this
// node cannot tell, and who can. A dead node stays active in the table while no majority is
// there to change that, so the table alone proves nothing: the leader knows who renewed, the
// others know that the leader runs.
func heirOf(s cluster.Status, nodes []ownership.Node) (trouble, why string) {
	if trouble := stalled(s); trouble != "" {
		return trouble, ""
	}
	others := make(map[ownership.NodeID]bool)
	for _, n := range nodes {
		others[n.ID] = n.ID != s.Node && n.State == ownership.NodeActive
	}
	leads := s.Leader == s.Node
	var heir ownership.NodeID
	voters, left := voters(s), 0 // of the voters, those that may be there without this node
	for _, p := range s.Peers {
		if p.Voter && !p.Self && (p.Leased || !leads) {
			left++
		}
		if others[p.ID] && (leads && p.Leased && p.Bot || !leads && p.Leader) {
			heir = p.ID
		}
	}
	switch needed := voters/2 + 1; {
	case left < needed:
		return fmt.Sprintf("without this node %d of %d voters are left, and %d are needed", left, voters, needed), ""
	case heir == "" && leads:
		return "no other active node has a lease and a healthy bot", ""
	case heir == "":
		return fmt.Sprintf("the leader %s takes no calls, and only it knows whether another node could", s.Leader), "the leader knows"
	case leads:
		return "", fmt.Sprintf("Node %s is active, has a lease and a healthy bot.", heir)
	}
	return "", fmt.Sprintf("Node %s is active and leads: it has just renewed this node's lease. How its bot and the other nodes are, only it knows.", heir)
}

func (n *Node) routingTrouble() string {
	if s := n.region.Status(); !s.Leased {
		return "this node may not act on its own calls now: " + cmp.Or(s.Trouble, "it has no valid lease") + "; those of others it relays"
	}
	return ""
}

func (n *Node) answeringTrouble() string {
	if healthy, _, _ := bot.Worst(n.dispatcher.Health()); !healthy {
		return "the bot beside this node is not healthy, so it gets no new calls"
	}
	return textOf(errors.Join(n.tokens.Ready(), ends{n}.outboundTrouble()))
}

// textOf returns an error's text; empty: there is none.
func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (n *Node) regionsTrouble() string {
	for _, r := range n.regions.Regions() {
		if r.Name != n.Region() && !r.Healthy {
			return fmt.Sprintf("region %s is not healthy, or cannot be reached", r.Name)
		}
	}
	return ""
}
