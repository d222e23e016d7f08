package leader

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tandem/cluster/clocks"
	"tandem/cluster/lease"
	"tandem/ownership"
)

// TestNobodysLeaseIsNoFullRegion: claims wait for the first node that renews, and no longer
// than half of what they have in all.
func TestNobodysLeaseIsNoFullRegion(t *testing.T) {
	settled := func(t *testing.T) *Leadership {
		l := &Leadership{Needs: Needs{Timings: clocks.Timings{Decide: time.Second}}, settled: make(chan struct{}), ctx: t.Context()}
		l.Leases = lease.NewTable(2*time.Second, 0, time.Now())
		close(l.settled)
		return l
	}
	took := func(ctx context.Context, l *Leadership) (time.Duration, error) {
		from := time.Now()
		err := l.Settled(ctx)
		return time.Since(from), err
	}
	renew := func(t *testing.T, l *Leadership) {
		if err := l.Leases.Receive(lease.Renewal{Node: "a", Bot: true}, 2*time.Second, 0, time.Now()); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		at   time.Duration // of the first renewal
		want time.Duration
	}{"it has one": {0, 0}, "the first one comes": {195 * time.Millisecond, 200 * time.Millisecond}, "nobody comes": {time.Minute, 500 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := settled(t)
				if c.at == 0 {
					renew(t, l)
				} else {
					time.AfterFunc(c.at, func() { renew(t, l) })
				}
				if got, err := took(t.Context(), l); err != nil || got != c.want {
					t.Errorf("claims waited %s, %v; want %s", got, err, c.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		l := settled(t)
		renew(t, l)
		time.Sleep(3 * time.Second) // its lease lapses
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if got, err := took(ctx, l); got != 100*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who has 100 ms waited %s, %v", got, err)
		}
		var end context.CancelFunc
		l.ctx, end = context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, end)
		if got, err := took(t.Context(), l); got != 100*time.Millisecond || !errors.Is(err, ownership.ErrNotLeader) {
			t.Errorf("when the lead ended they had waited %s, %v", got, err)
		}
	})
}
