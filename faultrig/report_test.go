package faultrig

import (
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	all := make([]time.Duration, 20)
	for i := range all {
		all[i] = time.Duration(i + 1)
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 10, 0.95: 19, 1: 20} {
		if got := quantile(all, q); got != want {
			t.Errorf("quantile %v of 1 to 20 is %d, want %d", q, got, want)
		}
	}
}
