//go:build unix

package cluster

import (
	"syscall"
	"testing"
	"time"

	"tandem/cluster/clocks"
)

// BenchmarkIdle is a region of three that does nothing, under the shipped timings: what
// all of them take of one core.
func BenchmarkIdle(b *testing.B) {
	r := newRegion(b, func(c *Config) { c.Timings = clocks.Timings{} })
	leaderOf(b, r.form(3)...)
	time.Sleep(5 * time.Second) // what belongs to the beginning is over
	var before, after syscall.Rusage
	b.ResetTimer()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	for b.Loop() {
		time.Sleep(time.Second)
	}
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	b.ReportMetric(100*used.Seconds()/b.Elapsed().Seconds(), "%core")
}
