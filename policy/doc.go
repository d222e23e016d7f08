// Package policy holds what operators write about calls: region rules say which
// region a new call belongs to, pins say which nodes it should go to. Both are
// conditions over a call's Facts, in CEL (https://cel.dev), compiled and bounded
// when they are read.
//
// Nothing here reads a clock, a file or the network: equal facts and rules have
// equal verdicts at the webhook, in explain and in dry runs. ownership, the store
// and the clients know nothing of it, so that the language stays out of them.
package policy
