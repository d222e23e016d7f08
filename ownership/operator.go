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
