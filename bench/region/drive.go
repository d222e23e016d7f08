package region

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"tandem/faultrig/fleet"
)

// Drive does something so many times a second until ctx ends, each time when it is due,
// whether the ones before are done or not, and returns when all are. What is due while
// underWay of them are not done begins later, and is late.
func Drive(ctx context.Context, perSecond float64, do func(due time.Time)) {
	every := time.Duration(float64(time.Second) / perSecond)
	under := make(chan struct{}, underWay)
	var wg sync.WaitGroup
	defer wg.Wait()
	for due := time.Now(); fleet.Pause(ctx, time.Until(due)); due = due.Add(every) {
		select {
		case under <- struct{}{}:
		case <-ctx.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-under }()
			do(due)
		})
	}
}

const underWay = 512

// Each does something with so many clients, each again and again, for a time. It returns
// when all are done.
func Each(ctx context.Context, clients int, lasts time.Duration, do func(client int)) {
	ctx, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				do(i)
			}
		})
	}
	wg.Wait()
}

// Tally is what became of one kind of request.
type Tally struct {
	mu     sync.Mutex
	took   *hdrhistogram.Histogram
	begun  time.Time
	last   time.Time // success
	ended  time.Time // zero: it goes on
	gap    time.Duration
	later  int64 // 503
	failed int64 // in any other way
	err    error // the first of those
}

// The longest duration that is told apart, and the digits that it keeps.
const (
	longest = int64(2 * time.Minute / time.Microsecond)
	digits  = 3
)

// NewTally begins a tally.
func NewTally() *Tally {
	now := time.Now()
	return &Tally{took: hdrhistogram.New(1, longest, digits), begun: now, last: now}
}

// Hear counts what was due, or begun, at a time and is answered now.
func (t *Tally) Hear(due time.Time, err error) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.gap = max(t.gap, now.Sub(t.last))
		t.last = now
		_ = t.took.RecordValue(min(max(now.Sub(due).Microseconds(), 1), longest)) // it is within the bounds
	case Refused(err, http.StatusServiceUnavailable):
		t.later++
	default:
		t.failed++
		if t.err == nil {
			t.err = err
		}
	}
}

// Said is a tally at an end.
type Said struct {
	Count, Later, Failed int64 // answered well; with 503; otherwise or not at all
	P50, P99, Max, Gap   time.Duration
	Rate                 float64 // well answered ones a second
	Err                  error   // the first that failed
}

// Say tells the tally, which ends with that.
func (t *Tally) Say() Said {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended.IsZero() {
		t.ended = time.Now()
	}
	at := func(q float64) time.Duration { return time.Duration(t.took.ValueAtQuantile(q)) * time.Microsecond }
	n := t.took.TotalCount()
	return Said{
		Count: n, Later: t.later, Failed: t.failed, Err: t.err, P50: at(50), P99: at(99), Max: at(100),
		Gap: max(t.gap, t.ended.Sub(t.last)), Rate: float64(n) / t.ended.Sub(t.begun).Seconds(),
	}
}
