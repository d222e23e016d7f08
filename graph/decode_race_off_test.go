//go:build !race

package graph

// raceDetector says whether allocations can be counted.
const raceDetector = false
