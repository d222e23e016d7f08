//go:build race

package raftlog

// underRace says that the tests run with -race, which checks pointers, too.
const underRace = true
