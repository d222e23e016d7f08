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
	Lost      bool               `json:"lost,omitempty" doc:"The plan says what the region's sudden loss would bring, as the answering region sees it."`
	To        []ownership.Region `json:"to" doc:"Who takes its new calls, in this order."`
	Since     time.Time          `json:"since,omitzero" doc:"When the rules that say so were set, as far as versions are kept."`
	By        string             `json:"by,omitempty"`
	Note      string             `json:"note,omitempty"`
	AsOf      time.Time          `json:"as_of"`

	forecast.Plan
	Recorded int       `json:"recorded" doc:"New calls that arrived there (of a loss: here) and are remembered: the last 4,096 at each node. The plan is made from them."`
	From     time.Time `json:"recorded_since,omitzero" doc:"The oldest of them."`
	Missing  []string  `json:"missing" doc:"What could not be asked, and why."`
}

// EvacuationAsk is the body of PUT /v1/regions/{name}/evacuation.
type EvacuationAsk struct {
	To   []ownership.Region `json:"to,omitempty" maxItems:"64" doc:"Who takes its new calls, in this order; absent: the other regions that are well, those with the most room first."`
	Note string             `json:"note,omitempty" maxLength:"300" doc:"Why, for the history of the rules."`
}

// NodeForecast says what the drain of a node would bring, or its loss: how many calls stay
// with it, and whether the others have room for the rest.
type NodeForecast struct {
	Node  ownership.NodeID    `json:"node"`
	State ownership.NodeState `json:"state"`
	AsOf  time.Time           `json:"as_of"`

	Live    int               `json:"live" doc:"Calls that it owns."`
	Bound   int               `json:"bound" doc:"Of them have their media on it: drained, it keeps them until they end; lost, they are gone with it, and their bots' successors are told rejoin after silence."`
	Movable int               `json:"movable" doc:"Of them another node takes over, at the end of a drain or when it is lost."`
	Ringing int               `json:"ringing" doc:"Of them are not answered yet: another node answers them where it is lost."`
	Tenants []forecast.Tenant `json:"tenants" doc:"Whose they are, most first; the last one without a name is all others."`
	Ages    []forecast.Ages   `json:"ages" doc:"How old they are."`
	Ends    forecast.Ends     `json:"ends" doc:"When all of them will have ended by themselves."`
	Room    int               `json:"room" doc:"Calls that the other active nodes can take now."`
	Needs   int               `json:"needs" doc:"Calls that they would have to take at once where it is lost: those that move or ring."`
	Enough  bool              `json:"enough"`
}
