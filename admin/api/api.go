// Package api holds what the admin door's HTTP API carries: what is asked, what is
// answered, and the bounds that both ends keep. The door and its Go client stand on
// it, so it knows neither. JSON names are promised: a name may be added, none changes
// its meaning. The tags beside them are for the API's published description.
package api

import "time"

// SnapshotTime bounds one snapshot, either way.
const SnapshotTime = 15 * time.Minute

// Consistency of a read: how much the answering node makes sure of first.
const (
	Local        = "local"        // the table as this node holds it now
	Leader       = "leader"       // not older than what the leader held when asked
	Linearizable = "linearizable" // the same; leader gives no less, since a leader is one only as long as a quorum confirms it
)

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
