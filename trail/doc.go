// Package trail remembers what this node did with each notification: the steps that the
// rooms on its way tell, in a ring in memory, and in the log of whatever an operator
// follows.
//
// The ring is bounded in bytes and in steps; the oldest go first. What is known of callers
// without a good token has a small ring of its own, so that no flood of strangers takes
// the memory of calls away. A step is written into segments of plain bytes: it costs no
// allocation, nothing for the garbage collector to walk, and pins no request's memory. A
// segment that is full is never written again, so whoever searches holds nobody up.
//
// Nothing of it is durable, and a node that is killed takes it along: what must outlive a
// node stands in the region's history.
package trail
