// Package api holds what the admin door's HTTP API carries: what is asked, what is
// answered, and the bounds that both ends keep. The door and its Go client stand on
// it, so it knows neither. JSON names are promised: a name may be added, none changes
// its meaning. The tags beside them are for the API's published description.
package api

import (
	"time"

	"tandem/ownership"
)

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
	Gathered
}

// Gathered is what an answer says of its parts, where several regions told it.
type Gathered struct {
	Parts   []Part `json:"parts,omitempty" doc:"Of region=all: what came from where."`
	Partial bool   `json:"partial,omitempty" doc:"A part is missing."`
}

// Told returns it.
func (g Gathered) Told() Gathered { return g }

// Part is what one region told of a gathered answer.
type Part struct {
	Region  ownership.Region `json:"region"`
	AsOf    time.Time        `json:"as_of,omitzero" doc:"When it was read there, by that region's clock."`
	Items   int              `json:"items"`
	Next    string           `json:"next,omitempty" doc:"Cursor to go on with in that region alone."`
	Partial bool             `json:"partial,omitempty" doc:"It is missing."`
	Error   string           `json:"error,omitempty" doc:"Why it is missing."`
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
