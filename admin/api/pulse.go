package api

import (
	"time"

	"tandem/ownership"
)

// Pulse is how the region's nodes were in the last hour, each by its own word.
type Pulse struct {
	Nodes []PulseNode `json:"nodes"`
}

// PulseNode is one node's part.
type PulseNode struct {
	Node    ownership.NodeID `json:"node"`
	Error   string           `json:"error,omitempty" doc:"Why it says nothing."`
	Samples []PulseSample    `json:"samples" doc:"Oldest first. It remembers an hour, and nothing of before its start."`
	Bots    []PulseBot       `json:"bots,omitempty" doc:"The bots beside it, now."`
	Ends    []End            `json:"ends,omitempty" doc:"When its certificates end, soonest first."`
}

// PulseSample is what happened in one span of time. Rates are by the second, times in
// milliseconds; a time is 0 where nothing was measured.
type PulseSample struct {
	At        time.Time `json:"at" doc:"Its end."`
	Live      float64   `json:"live" doc:"Live calls in the region, as this node knows them, at its end."`
	Here      float64   `json:"here" doc:"Live calls of this node at its end."`
	Claims    float64   `json:"claims" doc:"Calls that this node claimed, each second."`
	Redirects float64   `json:"redirects" doc:"Notifications that it sent to another node or region, each second."`
	Relays    float64   `json:"relays" doc:"Notifications that it relayed to another node or region, each second."`
	P50       float64   `json:"answer_p50_ms" doc:"Half of its answers took no longer, from a call's first notification until Graph had the answer."`
	P99       float64   `json:"answer_p99_ms" doc:"99 of 100 took no longer."`
}

// PulseAsk is what nodes are asked.
type PulseAsk struct {
	Node   ownership.NodeID `json:"node,omitempty"` // empty: all
	Points int              `json:"points"`         // samples of each at most
}

// PulseBot is the bot of one app.
type PulseBot struct {
	App     ownership.AppID `json:"app"`
	Healthy bool            `json:"healthy"`
}

// End is when a certificate ends.
type End struct {
	What string    `json:"what" doc:"Its key of the configuration."`
	At   time.Time `json:"at"`
}
