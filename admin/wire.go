package admin

import (
	"crypto/sha256"
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
)

// The types below are what the API's answers and the Go client carry. Their
// JSON names are promised: a name may be added, none changes its meaning.

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
	Capacity  int                 `json:"capacity" doc:"Live calls that its nodes may hold."`
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
	Active       int              `json:"active" doc:"Nodes that may get new calls."`
	Live         int              `json:"live"`
	Capacity     int              `json:"capacity" doc:"Live calls that its nodes may hold."`
	Room         int              `json:"room" doc:"New calls that its active nodes can take."`
	Doors        []string         `json:"doors,omitempty" doc:"Admin URLs of its nodes: other regions ask them too."`
}

// Node is a node's record with what the table counts for it.
type Node struct {
	ownership.Node
	Live       int  `json:"live" doc:"Live calls on its partitions."`
	Partitions int  `json:"partitions" doc:"Partitions it owns."`
	Leader     bool `json:"leader"`
	Here       bool `json:"here" doc:"It is the node that answers."`
}

// JoinRequest asks to bring the node that is asked and the one at the address
// into one region. The newcomer tells its own record over the cluster port,
// where its certificate vouches for it.
type JoinRequest struct {
	Address string           `json:"address" minLength:"3" maxLength:"300" pattern:"^[^\\s/@]+:[0-9]{1,5}$" doc:"host:port of the other node's raft and peer link"`
	ID      ownership.NodeID `json:"id,omitempty" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"The node that is expected to come in; absent: whoever answers there."`
}

// Freshness says how fresh an answer is: which consistency it was given with,
// up to which raft index the table had been applied, and when it was read.
type Freshness struct {
	Consistency string    `json:"consistency" header:"Tandem-Consistency"`
	Applied     uint64    `json:"applied" header:"Tandem-Applied-Index"`
	AsOf        time.Time `json:"as_of" header:"Tandem-As-Of" timeFormat:"2006-01-02T15:04:05.999999999Z07:00"`
}

// List is the body of every answer that holds several things of one kind.
type List[T any] struct {
	Items []T `json:"items"`
}

// CallPage is one page of calls.
type CallPage struct {
	Items []ownership.Call `json:"items"`
	Next  string           `json:"next,omitempty" doc:"Cursor of the next page; absent at the end."`
}

// CallExplanation says why a call is where it is.
type CallExplanation struct {
	Call      ownership.CallID    `json:"call"`
	State     ownership.CallState `json:"state"`
	Placement ownership.Placement `json:"placement" doc:"As it was decided at the claim."`
	Partition ownership.Partition `json:"partition" doc:"As it is now."`
	Why       []string            `json:"why" doc:"The same in sentences."`
	Timeline  []history.Event     `json:"timeline"`
}

// Explanation says what the webhook would do with a notification.
type Explanation struct {
	Status   int           `json:"status" doc:"The status the webhook would answer with; 0: the bot's own."`
	Verdict  string        `json:"verdict" doc:"One sentence."`
	Location string        `json:"location,omitempty" doc:"Where a redirect would lead."`
	Steps    []ExplainStep `json:"steps"`
	Calls    []ExplainCall `json:"calls,omitempty" doc:"One for each notification in the body."`
}

// ExplainStep is one stage of the webhook and its finding.
type ExplainStep struct {
	Name string `json:"name" doc:"token, decode, tenant, region, route"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

// ExplainCall is what would happen to one call.
type ExplainCall struct {
	Call      ownership.CallID     `json:"call"`
	Kind      string               `json:"kind"`
	Region    ownership.Region     `json:"region,omitempty"`
	Known     bool                 `json:"known" doc:"It stands in the table, ended or not."`
	Placement *ownership.Placement `json:"placement,omitempty"`
	Route     string               `json:"route" doc:"here, redirect, relay or refuse"`
	Why       string               `json:"why"`
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
}

// CallbackURI is a signed callback URI for an outgoing call.
type CallbackURI struct {
	URI       string                `json:"uri"`
	Partition ownership.PartitionID `json:"partition"`
	Epoch     ownership.Epoch       `json:"epoch"`
}

// Whoami is how the door knows a caller.
type Whoami struct {
	Name    string    `json:"name"`
	Roles   []Role    `json:"roles"`
	Expires time.Time `json:"expires,omitzero"`
	Once    bool      `json:"once,omitempty" doc:"The token ends with its first use."`
	Open    bool      `json:"open" doc:"No tokens are set up and the door listens on loopback: everybody may do everything."`

	hash [sha256.Size]byte // of the token
}

// TokenInfo is one token of the door without its secret.
type TokenInfo struct {
	Name    string    `json:"name"`
	Roles   []Role    `json:"roles"`
	Origin  string    `json:"origin" enum:"file,region" doc:"file: the tokens file of the node that answers; region: kept for every node of the region."`
	Once    bool      `json:"once,omitempty" doc:"It ends with its first use."`
	Expires time.Time `json:"expires,omitzero"`
	Expired bool      `json:"expired"`
	MadeBy  string    `json:"made_by,omitempty" doc:"Name of the token that asked for it."`
	MadeAt  time.Time `json:"made_at,omitzero"`
	UsedFor string    `json:"used_for,omitempty" doc:"Cluster address of the node that a token for one use is bound to."`
	UsedAt  time.Time `json:"used_at,omitzero" doc:"When that node came in: the token has ended."`
}

// The origins of a token.
const (
	OriginFile   = "file"
	OriginRegion = "region"
)

// TokenAsk asks for a new token of the region's doors.
type TokenAsk struct {
	Name    string    `json:"name" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._@-]*$" doc:"Shown in the audit log."`
	Roles   []Role    `json:"roles" minItems:"1" maxItems:"4" uniqueItems:"true"`
	Expires time.Time `json:"expires,omitzero" doc:"Absent: never. A token for one use must expire."`
	Once    bool      `json:"once,omitempty" doc:"For one node's join only, which its role must be."`
}

// TokenMade is a new token. Its secret is told this once and kept nowhere.
type TokenMade struct {
	TokenInfo
	Token string `json:"token" doc:"What goes into the Authorization header after Bearer."`
}

// Change is one line of the audit log.
type Change struct {
	At      time.Time `json:"at"`
	By      string    `json:"by" doc:"Name of the token; loopback when none is set up."`
	From    string    `json:"from" doc:"Address of the caller."`
	Action  string    `json:"action" doc:"Operation id of the API."`
	Subject string    `json:"subject,omitempty" doc:"Path of the request."`
	Status  int       `json:"status" doc:"What it was answered with."`
	Detail  string    `json:"detail,omitempty"`
}

// Readiness is the answer of GET /readyz.
type Readiness struct {
	Ready  bool          `json:"ready"`
	Checks []CheckResult `json:"checks,omitempty"`
}

// CheckResult is one check's answer.
type CheckResult struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// Role says what a token may do.
type Role string

// The roles. RoleOperate includes RoleRead; the others stand alone.
const (
	RoleRead    Role = "read"    // look at everything but secrets
	RoleOperate Role = "operate" // and change it
	RoleBot     Role = "bot"     // ask for callback URIs
	RoleJoin    Role = "join"    // take a node into the region
)

// allRoles are the roles that a token can have.
var allRoles = []Role{RoleRead, RoleOperate, RoleBot, RoleJoin}

// anyRole is asked for where any token will do.
const anyRole Role = "any"
