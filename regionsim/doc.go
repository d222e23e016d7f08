// Package regionsim holds tests only: a whole region in one bubble of
// testing/synctest. The cluster, store, bot and webhook rooms are the real ones,
// with the shipped timings; the clock is virtual, so minutes pass in seconds, and
// the network, the slowness of disks, the bots and the calling cloud are made
// here. Faults come from a schedule that is drawn from a seed, and an oracle looks
// at all nodes every few virtual milliseconds (ARCHITECTURE.md, I1 to I5, I7). In some
// regions the nodes begin with software of older command formats, and each restart is an upgrade.
//
//	go test ./regionsim                          many seeds, at most a minute
//	go test ./regionsim -run TestSeed -seed 17   one seed again, and its story
//	scripts/nights 10                            new seeds for ten virtual hours
//
// A seed fixes the schedule, not the order in which the scheduler of Go runs what
// is due at the same moment: a finding may need -count to come again.
package regionsim
