package ownership

import "context"

type operatorKey struct{}

// By notes the operator (the name of an admin token) in whose name something is
// done in the context.
func By(ctx context.Context, operator string) context.Context {
	return context.WithValue(ctx, operatorKey{}, operator)
}

// Operator returns whom By named; empty: nobody, a node does it of its own accord.
func Operator(ctx context.Context) string {
	name, _ := ctx.Value(operatorKey{}).(string)
	return name
}

// RestoreTerms are what an operator wants, beside the snapshot, when the region's table
// is to be replaced by it.
type RestoreTerms struct {
	Anyhow   bool // also over the live calls of a region that was founded anew
	Unsigned bool // also a snapshot that no handle key of the deployment has signed
	Tokens   bool // with the snapshot's tokens of the admin doors in place of today's
}

// StopCheck says whether a node may be stopped now, for a restart or an upgrade.
type StopCheck struct {
	Node    NodeID   `json:"node"`
	Safe    bool     `json:"safe"`
	Against []string `json:"against" doc:"What speaks against it, in sentences."`
	Voter   bool     `json:"voter"`
	Leader  bool     `json:"leader" doc:"It leads the region: stop it last."`
	Voters  int      `json:"voters"`
	Well    int      `json:"well" doc:"Voters beside it that answer, act as owners and follow the table."`
	Live    int      `json:"live" doc:"Live calls on it."`
	Pinned  int      `json:"pinned" doc:"Those of them whose media are on it: they end with their bot."`
}
