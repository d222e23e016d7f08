package api

import (
	"slices"
	"time"

	"tandem/ownership"
)

// Identity is who this node is: what its store is stamped with.
type Identity struct {
	Deployment  string           `json:"deployment" doc:"All regions together."`
	Region      ownership.Region `json:"region"`
	Node        ownership.NodeID `json:"node"`
	Incarnation string           `json:"incarnation" doc:"Random id made with the node's store."`
	Version     string           `json:"version" doc:"Software version."`
}

// Peer is one server of the raft group.
type Peer struct {
	ID          ownership.NodeID `json:"id"`
	Address     string           `json:"address" doc:"host:port of raft and the peer link"`
	Voter       bool             `json:"voter"`
	Leader      bool             `json:"leader"`
	Known       bool             `json:"known" doc:"The answering node knows whether it is well; the leader does."`
	Healthy     bool             `json:"healthy"`
	LastContact string           `json:"last_contact,omitempty" doc:"Time since it was last heard, where the answering node knows."`
}

// ClusterStatus is how one node stands in its raft group.
type ClusterStatus struct {
	State       string           `json:"state" doc:"leader, follower, candidate or shutdown"`
	Term        uint64           `json:"term"`
	Leader      ownership.NodeID `json:"leader" doc:"Empty while there is none."`
	LeaderAddr  string           `json:"leader_addr"`
	Applied     uint64           `json:"applied" doc:"Raft index the table has seen."`
	Commit      uint64           `json:"commit"`
	LastContact time.Time        `json:"last_contact,omitzero" doc:"When the leader was last heard."`
	LeaseUntil  time.Time        `json:"lease_until,omitzero" doc:"Until when this node may act as owner."`
	Durable     uint64           `json:"durable" doc:"Raft index that the table's file holds."`
	Stalled     string           `json:"stalled,omitempty" doc:"Why new calls may get no owner, as far as this node can tell."`
	Voters      int              `json:"voters"`
	Secure      bool             `json:"secure" doc:"The cluster port speaks mTLS."`
}

// Status is the answer of GET /v1/status.
type Status struct {
	Identity
	Cluster   ClusterStatus       `json:"cluster"`
	State     ownership.NodeState `json:"state" doc:"active, draining or gone"`
	Leased    bool                `json:"leased" doc:"This node may act as owner now."`
	Nodes     int                 `json:"nodes" doc:"Nodes that are not gone."`
	Live      int                 `json:"live" doc:"Live calls in the region."`
	LiveHere  int                 `json:"live_here" doc:"Live calls on this node."`
	Capacity  int                 `json:"capacity" doc:"Live calls that its nodes may hold, silent ones not counted."`
	Room      int                 `json:"room" doc:"New calls that its active nodes can take."`
	StartedAt time.Time           `json:"started_at"`
	Now       time.Time           `json:"now"`
	Warnings  []string            `json:"warnings" doc:"What an operator should be told loudly."`
}

// Promise is one guarantee and whether it holds at this moment.
type Promise struct {
	Name    string `json:"name"`
	Holds   bool   `json:"holds" doc:"The answering node knows that it holds."`
	Unknown bool   `json:"unknown,omitempty" doc:"The answering node cannot tell whether it holds; another one can."`
	Text    string `json:"text" doc:"What is promised."`
	Why     string `json:"why" doc:"What it rests on now, or what is missing."`
}

// Summary is what one region tells the others.
type Summary struct {
	Deployment   string           `json:"deployment"`
	Region       ownership.Region `json:"region"`
	AsOf         time.Time        `json:"as_of"`
	TableVersion uint64           `json:"table_version" doc:"Raft index of the table's newest change."`
	Healthy      bool             `json:"healthy" doc:"It has a leader and room on an active node."`
	Nodes        int              `json:"nodes" doc:"Nodes that are not gone."`
	Active       int              `json:"active" doc:"Nodes that are active and not silent."`
	Live         int              `json:"live"`
	Capacity     int              `json:"capacity" doc:"Live calls that its nodes may hold, silent ones not counted."`
	Room         int              `json:"room" doc:"New calls that its active nodes can take."`
	Doors        []string         `json:"doors,omitempty" doc:"Admin URLs of its nodes: other regions ask them too."`
	Node         ownership.NodeID `json:"node,omitempty" doc:"Who answers."`
	Leader       ownership.NodeID `json:"leader,omitempty"`
	Format       uint32           `json:"format,omitempty" doc:"Command format that the region writes."`
	Rules        *RulesMark       `json:"rules,omitempty" doc:"Which rules it has."`

	Apps []ownership.AppRoom `json:"apps,omitempty" doc:"What it can take, app by app. Absent: it is not known."`

	NodesList  []SummaryNode                    `json:"nodes_list,omitempty" doc:"Its nodes, gone ones too, by id: at most 512."`
	Partitions map[ownership.NodeID][][2]uint64 `json:"partitions,omitempty" doc:"By owner: number and epoch of each partition that is not retired."`
	LeftOut    string                           `json:"left_out,omitempty" doc:"What is too much to be told here."`
}

// Bounds of a summary; what is beyond them is left out, and said to be.
const (
	SummaryNodes      = 512
	SummaryPartitions = 4096
)

// NodeSilent is what a summary calls a node that may act for no call: its lease is
// over. The other states are those of ownership.NodeState.
const NodeSilent = "silent"

// SummaryNode is what a region tells of one of its nodes.
type SummaryNode struct {
	ID        ownership.NodeID `json:"id"`
	State     string           `json:"state" enum:"active,draining,silent,gone"`
	Zone      string           `json:"zone,omitempty"`
	PublicURL string           `json:"public_url,omitempty"`
	AdminURL  string           `json:"admin_url,omitempty"`
	Cluster   string           `json:"cluster" doc:"host:port of its cluster port"`
	Version   string           `json:"version,omitempty" doc:"Software version."`
}

// RulesMark tells rules apart.
type RulesMark struct {
	Number uint64 `json:"number" doc:"Grows with each change."`
	Digest string `json:"digest" doc:"Of the rules' text."`
}

// NodeUnknown is what a node without a lease calls the others: it hears nothing of them.
const NodeUnknown = "unknown"

// Node is a node's record with what the table counts for it.
type Node struct {
	ownership.Node
	Standing   string   `json:"standing" enum:"active,draining,silent,unknown,gone" doc:"How it is now: its state, unless nothing is heard of it (silent) or the answering node cannot know, for it has no lease itself (unknown)."`
	Silence    *Silence `json:"silence,omitempty" doc:"Since when it is silent or not known, why, and what came of it."`
	Live       int      `json:"live" doc:"Live calls on its partitions."`
	Partitions int      `json:"partitions" doc:"Partitions it owns."`
	Leader     bool     `json:"leader"`
	Here       bool     `json:"here" doc:"It is the node that answers."`
}

// Silence says why nothing is heard of a node, and what came of it.
type Silence struct {
	ownership.Silence
	Text string `json:"text" doc:"All of it as a sentence."`
}

// Region is what this region knows of one region, itself included.
type Region struct {
	Name     ownership.Region `json:"name"`
	URL      string           `json:"url"`
	AdminURL string           `json:"admin_url,omitempty"`
	Healthy  bool             `json:"healthy"`
	Here     bool             `json:"here"`
	Partial  bool             `json:"partial" doc:"Not all of it is known."`
	AsOf     time.Time        `json:"as_of,omitzero"`
	Nodes    int              `json:"nodes"`
	Live     int              `json:"live"`
	Capacity int              `json:"capacity"`
	Error    string           `json:"error,omitempty" doc:"What did not go well at the last look, such as doors that did not answer."`

	Age      string              `json:"age,omitempty" doc:"How old what is known of it is."`
	RTT      string              `json:"rtt,omitempty" doc:"Of a request there and back, at its nearest door."`
	Doors    []RegionDoor        `json:"doors,omitempty" doc:"Its admin doors, and which of them answered."`
	Apps     []ownership.AppRoom `json:"apps,omitempty" doc:"What it can take, app by app. Absent: it is not known."`
	List     []SummaryNode       `json:"nodes_list,omitempty" doc:"Its nodes."`
	Rules    *RulesMark          `json:"rules,omitempty"`
	Versions []string            `json:"versions,omitempty" doc:"Software of its nodes."`
	Drift    []string            `json:"drift,omitempty" doc:"What differs from this region's, and should not."`
}

// Scaling is the answer of GET /v1/scaling.
type Scaling struct {
	Live     int     `json:"live" doc:"Live calls in the region."`
	Capacity int     `json:"capacity" doc:"Live calls that its active nodes may hold."`
	Used     float64 `json:"used" doc:"Live calls by capacity; 1 where no node is active."`
	Nodes    int     `json:"nodes" doc:"Active nodes."`
	Wanted   int     `json:"wanted" doc:"Nodes that would be as full as asked, at least 1."`
}

// RegionDoor is one admin door of another region.
type RegionDoor struct {
	URL       string `json:"url"`
	Answered  bool   `json:"answered"`
	Streaming bool   `json:"streaming" doc:"It tells of its region as it happens."`
	RTT       string `json:"rtt,omitempty"`
	Error     string `json:"error,omitempty"`
}

// Versions returns the software of the nodes that are not gone, each once.
func (s Summary) Versions() []string {
	var all []string
	for _, n := range s.NodesList {
		if n.State != ownership.NodeGone.String() && n.Version != "" && !slices.Contains(all, n.Version) {
			all = append(all, n.Version)
		}
	}
	slices.Sort(all)
	return all
}

// JoinRequest asks to bring the node that is asked and the one at the address
// into one region. The newcomer tells its own record over the cluster port,
// where its certificate vouches for it.
type JoinRequest struct {
	Address string           `json:"address" minLength:"3" maxLength:"300" pattern:"^[^\\s/@]+:[0-9]{1,5}$" patternDescription:"host:port, as in 10.0.0.2:8471" doc:"host:port of the other node's raft and peer link"`
	ID      ownership.NodeID `json:"id,omitempty" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" patternDescription:"letters, digits, dots, dashes and underscores" doc:"The node that is expected to come in; absent: whoever answers there."`
}

// DrainAsk says when a drain ends by force.
type DrainAsk struct {
	Until time.Time `json:"until,omitzero" doc:"Absent: when its last call ends."`
}

// MoveAsk says where a partition goes.
type MoveAsk struct {
	To ownership.NodeID `json:"to" minLength:"1" maxLength:"64"`
}

// TransferAsk says who is to lead; empty: any voter.
type TransferAsk struct {
	To ownership.NodeID `json:"to,omitempty" maxLength:"64"`
}

// Reloaded says what a reload left for later.
type Reloaded struct {
	Waiting []string `json:"waiting" doc:"Sections of the configuration that differ and wait for a restart of the node; empty: all that is written is in force." nullable:"false"`
}

// RegionLease says how long leases last in the region.
type RegionLease struct {
	Length string `json:"length" minLength:"2" maxLength:"32" doc:"How long a node may act as owner without hearing from the leader, as in 2s or 1m30s."`
}

// Claims is a page of the calls that a region claimed, the oldest first.
type Claims struct {
	Calls []ownership.CallID `json:"calls"`
	Next  uint64             `json:"next" doc:"Where the next page begins."`
	More  bool               `json:"more" doc:"There is one already."`
}
