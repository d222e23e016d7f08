package faultrig

import (
	"context"
	"slices"
	"sync"
	"time"

	"tandem/faultrig/fleet"
)

// lag watches how late the rig's own timers are: on a machine that is busy with
// other work, measured times say nothing of the product.
type lag struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *lag) watch(ctx context.Context) {
	const tick = 10 * time.Millisecond
	for {
		begun := time.Now()
		if !fleet.Pause(ctx, tick) {
			return
		}
		l.mu.Lock()
		l.all = append(l.all, time.Since(begun)-tick)
		l.mu.Unlock()
	}
}

// starvedAt is the 99th percentile of timer lag above which a machine is too
// busy for bars in wall-clock time.
const starvedAt = 60 * time.Millisecond

// p99 returns the 99th percentile so far.
func (l *lag) p99() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return 0
	}
	return quantile(slices.Sorted(slices.Values(l.all)), 0.99)
}
