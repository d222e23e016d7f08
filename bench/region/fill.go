package region

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tandem/faultrig/fleet"
)

// Filling says how far a fill is.
type Filling struct {
	Done, Wanted int
	Failed       int64
	Took         time.Duration
}

// Fill brings the region to so many live calls, with so many clients at a time: each call
// is claimed at any node, taken by its owner's bot, and told to be established. tell hears
// how far it is every few seconds. It ends when that is done or the limit has passed, and the
// table of each node has all that.
func (r *Region) Fill(ctx context.Context, wanted, clients int, limit time.Duration, tell func(Filling)) (Filling, error) {
	s, err := r.Nodes[0].Status(ctx)
	if err != nil {
		return Filling{}, fmt.Errorf("filling the region: %w", err)
	}
	f := &fill{Region: r, begun: time.Now(), wanted: int64(wanted - s.Live), nodes: r.Up()}
	filling, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go f.tellOn(filling, tell)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for f.taken.Add(1) <= f.wanted && filling.Err() == nil && time.Since(f.begun) < limit {
				f.one(filling, cancel)
			}
		})
	}
	wg.Wait()
	now := f.now()
	if err := context.Cause(filling); err != nil {
		return now, err
	}
	return now, r.settled(ctx)
}

type fill struct {
	*Region
	begun               time.Time
	nodes               []*fleet.Node
	wanted              int64
	taken, done, failed atomic.Int64
}

// tries is how often a call of a fill is tried; allowed, how many may fail by then.
const (
	tries   = 5
	allowed = 1000
)

// one brings one call to live, or gives the fill up.
func (f *fill) one(ctx context.Context, giveUp context.CancelCauseFunc) {
	var err error
	for range tries {
		var n uint64
		if n, err = f.Claim(ctx, Any(f.nodes), nil); err == nil {
			if err = f.Follow(ctx, nil, n); err == nil {
				f.done.Add(1)
				return
			}
		}
		fleet.Pause(ctx, 50*time.Millisecond)
	}
	if f.failed.Add(1) > allowed {
		giveUp(fmt.Errorf("filling the region: %d calls were refused, the last one so: %w", f.failed.Load(), err))
	}
}

func (f *fill) now() Filling {
	return Filling{int(f.done.Load()), int(f.wanted), f.failed.Load(), time.Since(f.begun)}
}

func (f *fill) tellOn(ctx context.Context, tell func(Filling)) {
	for fleet.Pause(ctx, 5*time.Second) {
		tell(f.now())
	}
}

// settled waits until each node has told the table all that it knows, and has in its own
// table what the others told.
func (r *Region) settled(ctx context.Context) error {
	var owed float64
	if !fleet.Until(ctx, 5*time.Minute, 250*time.Millisecond, func() bool {
		owed = 0
		for _, n := range r.Up() {
			for _, name := range []string{"tandem_bot_records", "tandem_raft_lag_entries", "tandem_table_lag_entries"} {
				v, err := r.Metric(ctx, n, name)
				if err != nil {
					v = 1
				}
				owed += v
			}
		}
		return owed == 0
	}) {
		return fmt.Errorf("the tables lack %.0f facts and entries five minutes after they were told the last one", owed)
	}
	return nil
}
