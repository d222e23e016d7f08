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
