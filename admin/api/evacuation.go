package api

import (
	"time"

	"tandem/forecast"
	"tandem/ownership"
)

// Evacuation is a region that takes no new calls, or would take none.
type Evacuation struct {
	Region    ownership.Region   `json:"region"`
	Evacuated bool               `json:"evacuated" doc:"By the rules in force; false: the plan says what it would bring."`
	To        []ownership.Region `json:"to" doc:"Who takes its new calls, in this order."`
	Since     time.Time          `json:"since,omitzero" doc:"When the rules that say so were set, as far as versions are kept."`
	By        string             `json:"by,omitempty"`
	Note      string             `json:"note,omitempty"`
	AsOf      time.Time          `json:"as_of"`

	forecast.Plan
	Recorded int       `json:"recorded" doc:"New calls that arrived there and are remembered: the last 4,096 at each node. The plan is made from them."`
	From     time.Time `json:"recorded_since,omitzero" doc:"The oldest of them."`
	Missing  []string  `json:"missing" doc:"What could not be asked, and why."`
}

// EvacuationAsk is the body of PUT /v1/regions/{name}/evacuation.
type EvacuationAsk struct {
	To   []ownership.Region `json:"to,omitempty" maxItems:"64" doc:"Who takes its new calls, in this order; absent: the other regions that are well, those with the most room first."`
	Note string             `json:"note,omitempty" maxLength:"300" doc:"Why, for the history of the rules."`
}
