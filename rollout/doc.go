// Package rollout judges versions of bots by what became of their calls: is a version
// worse than the others, or proven as good as they, and how many calls may it be given
// meanwhile? It has no clock, no goroutine and no table: a leader tells it what it hears,
// and when.
//
// # The bound
//
// While a version with a rule is not proven, its calls that have not ended well, those
// under way and those on their way to it among them, are at most five, or one in a hundred
// of the app's new calls since it came. Whatever a version does, it can hurt no more.
//
// # The tests
//
// Two tests go on side by side, of failures by the cloud's code and of calls that died right
// after their answer. Each is a likelihood ratio against "its share is no worse than the
// others' at their worst, and some", mixed over several worse shares. Such a ratio is a
// martingale, so by Ville's inequality it may be looked at after each call and ever passes
// 1/α with a chance of α at most; a test for a fixed number of calls that is looked at again and again
// would halt every good version in the end. There are two paces: the fast one is sure after
// five calls of a version that ends them all, the slow one finds a share of failures that is somewhat
// higher, after hundreds.
//
// The evidence begins anew after each window of calls that were well: a version that was good
// for a month and breaks today must not live off its good name.
//
// # Short calls
//
// A call that ends with a good code within seconds of its answer looks like a caller's
// change of mind, and is one at every version alike. So nothing is made of how many they
// are, only of how many more than the others'. Where most calls are short (an
// announcement of three seconds), they say nothing, and are no hurt.
package rollout
