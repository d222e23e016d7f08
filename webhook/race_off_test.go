//go:build !race

package webhook

// raceDetector says whether allocations can be counted.
const raceDetector = false
