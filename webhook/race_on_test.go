//go:build race

package webhook

// raceDetector: its pools forget at random, so allocations cannot be counted.
const raceDetector = true
