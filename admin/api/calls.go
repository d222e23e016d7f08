package api

import (
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
)

// MostCalls is the most calls that one page holds.
const MostCalls = 1000

// CallPage is one page of calls.
type CallPage struct {
	Items []CallIn `json:"items"`
	Next  string   `json:"next,omitempty" doc:"Cursor of the next page; absent at the end."`
	Gathered
}

// CallIn is a call's record.
type CallIn struct {
	Region ownership.Region `json:"region,omitempty" doc:"Whose it is, in a gathered answer."`
	ownership.Call
}

// PartitionIn is a partition's record.
type PartitionIn struct {
	Region ownership.Region `json:"region,omitempty" doc:"Whose it is, in a gathered answer."`
	ownership.Partition
	Moved *Moved `json:"moved,omitempty" doc:"It changed its owner in the last minute."`
}

// Moved says from whom a partition came, and when.
type Moved struct {
	From ownership.NodeID `json:"from,omitempty"`
	At   time.Time        `json:"at"`
}

// CallExplanation says why a call is where it is.
type CallExplanation struct {
	Call      ownership.CallID    `json:"call"`
	State     ownership.CallState `json:"state,omitzero"`
	Placement ownership.Placement `json:"placement" doc:"As it was decided at the claim."`
	Partition ownership.Partition `json:"partition" doc:"As it is now."`
	Why       []string            `json:"why" doc:"The same in sentences."`
	Timeline  []history.Event     `json:"timeline"`
	Known     bool                `json:"known" doc:"It stands in the table, ended or not."`
	Trail
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

// CallbackURI is a signed callback URI for an outgoing call.
type CallbackURI struct {
	URI       string                `json:"uri"`
	Partition ownership.PartitionID `json:"partition"`
	Epoch     ownership.Epoch       `json:"epoch"`
}

// CallbackBody is the body of POST /v1/callback-uris.
type CallbackBody struct {
	App   ownership.AppID `json:"app" minLength:"1" maxLength:"64" doc:"App id as in the configuration."`
	Group string          `json:"group,omitempty" maxLength:"512" doc:"Calls of one group get the same partition."`
}
