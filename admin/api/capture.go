package api

import (
	"time"

	"tandem/ownership"
)

// Bounds of one capture, and of one question about captured calls.
const (
	CaptureTime  = time.Hour
	CaptureCalls = 100_000
	ReplayCalls  = 500
)

// Captured is a new call as it may leave the deployment: what the rules could see of it.
type Captured struct {
	At    time.Time         `json:"at"`
	Call  ownership.CallID  `json:"call" maxLength:"160" doc:"Not its id: a name that is the same wherever the call is."`
	Facts map[string]string `json:"facts" doc:"What rules can ask for. Persons, threads and chains have names that only say which are the same; tenants, apps and regions are as they were."`
	To    ownership.Region  `json:"to,omitempty" maxLength:"63" doc:"The region where it went; absent: nobody might take it."`
}

// CaptureEnd is the last word of a capture.
type CaptureEnd struct {
	Calls  int    `json:"calls"`
	Missed int64  `json:"missed" doc:"Calls that came too fast for the reader."`
	Why    string `json:"why" enum:"time,calls,closing"`
}

// ReplayAsk is the body of POST /v1/rules/replay.
type ReplayAsk struct {
	Text  string     `json:"text,omitempty" maxLength:"262144" doc:"The document to hold against the calls; absent: the rules in force."`
	Diff  bool       `json:"diff,omitempty" doc:"Against where they would go by the rules in force, instead of against where they went."`
	Calls []Captured `json:"calls" minItems:"1" maxItems:"500"`
}
