//go:build race

package graph

// raceDetector: its pools forget at random, so allocations cannot be counted.
const raceDetector = true
