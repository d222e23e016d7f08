//go:build !race

package raftlog

const underRace = false
