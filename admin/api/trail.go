package api

import (
	"slices"
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
)

// Trail is what the nodes remember of one call, step by step. Each keeps the newest steps
// in its memory, so old ones are gone, and all of a node that was killed.
type Trail struct {
	Steps []history.Step     `json:"steps" doc:"What nodes did with its notifications, oldest first, each by the clock of its node."`
	Calls []ownership.CallID `json:"calls,omitempty" doc:"Those that the id names, where there are several: ask for one of them to be told why it is where it is."`
	More  bool               `json:"more,omitempty" doc:"There were too many steps: the oldest are left out."`
	Nodes []TrailNode        `json:"nodes" doc:"Who was asked, and how far back each remembers."`
}

// Sort puts steps in the order of their times; of two at one time the one that came first stays first.
func (t *Trail) Sort() {
	slices.SortStableFunc(t.Steps, func(a, b history.Step) int { return a.At.Compare(b.At) })
}

// TrailNode is one node's part in a trail, or that of a region that could not be asked.
type TrailNode struct {
	Region ownership.Region `json:"region"`
	Node   ownership.NodeID `json:"node,omitempty" doc:"Absent: the whole region."`
	Since  time.Time        `json:"since,omitzero" doc:"It remembers steps since then; absent: it has none at all."`
	Error  string           `json:"error,omitempty" doc:"Why its steps are missing."`
}

// Timeline is what happened to a call.
type Timeline struct {
	Call  ownership.CallID `json:"call,omitempty"`
	Known bool             `json:"known" doc:"It stands in the table, ended or not."`
	Items []history.Event  `json:"items" doc:"Of the region's history, which is the same on all its nodes."`
	Trail
}

// LogFollow says whose steps nodes write to their logs, one line each, and until when.
type LogFollow struct {
	Call   ownership.CallID   `json:"call,omitempty" maxLength:"160"`
	Tenant ownership.TenantID `json:"tenant,omitempty" maxLength:"64"`
	Node   ownership.NodeID   `json:"node,omitempty" maxLength:"64" doc:"Every step of this node."`
	Level  string             `json:"level" enum:"debug,info" doc:"debug: every step; info: those that failed."`
	Until  time.Time          `json:"until" doc:"Then it ends by itself."`
	By     string             `json:"by,omitempty" doc:"Name of the token that asked for it."`
	Nodes  []ownership.NodeID `json:"nodes" doc:"Who does it."`
}

// LogAsk asks for it: name one of call, tenant and node.
type LogAsk struct {
	Call   string `json:"call,omitempty" maxLength:"160" doc:"Call id, in any spelling."`
	Tenant string `json:"tenant,omitempty" maxLength:"64"`
	Node   string `json:"node,omitempty" maxLength:"64"`
	Level  string `json:"level,omitempty" enum:"debug,info,off" doc:"debug, which is meant where none is given: every step; info: those that failed; off: no more."`
	For    string `json:"for,omitempty" maxLength:"32" doc:"How long, such as 10m, which is meant where nothing is given; 24h at most."`
}

// LogFollows is what the region's nodes follow.
type LogFollows struct {
	Items   []LogFollow `json:"items"`
	Missing []string    `json:"missing,omitempty" doc:"Nodes that did not answer, and why."`
}
