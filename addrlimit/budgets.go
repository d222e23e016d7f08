package addrlimit

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Budget is what each key may use up.
type Budget struct {
	Rate  rate.Limit // in a second
	Burst int        // at once
}

// Fresh returns a whole budget that belongs to no key, such as one that is shared by
// all for whom there is no place.
func (b Budget) Fresh() *rate.Limiter { return rate.NewLimiter(b.Rate, b.Burst) }

// sweepEvery is how often full places are looked through at most: it takes a walk
// over all of them.
const sweepEvery = time.Second

// Budgets keeps one budget for each key, for a bounded number of keys. It is safe for
// concurrent use.
type Budgets[K comparable] struct {
	each   Budget
	places int
	kept   atomic.Int64 // keys that have a budget

	mu    sync.Mutex
	of    map[K]*rate.Limiter
	swept time.Time
}

// NewBudgets returns budgets for so many keys at a time.
func NewBudgets[K comparable](each Budget, places int) *Budgets[K] {
	return &Budgets[K]{each: each, places: places, of: map[K]*rate.Limiter{}}
}

// Of returns the budget of a key, a new one for a new key. When all places are
// taken, keys whose budgets are whole again give theirs up; nil: none is free.
func (b *Budgets[K]) Of(key K, now time.Time) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l, ok := b.of[key]; ok {
		return l
	}
	if len(b.of) >= b.places && now.Sub(b.swept) >= sweepEvery {
		b.swept = now
		maps.DeleteFunc(b.of, func(_ K, l *rate.Limiter) bool { return l.TokensAt(now) >= float64(b.each.Burst) })
	}
	var l *rate.Limiter
	if len(b.of) < b.places {
		l = b.each.Fresh()
		b.of[key] = l
	}
	b.kept.Store(int64(len(b.of)))
	return l
}

// Spent reports whether the key has used its budget up. It makes none.
func (b *Budgets[K]) Spent(key K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.of[key]
	return ok && l.TokensAt(now) < 1
}

// Len returns how many keys have a budget. It takes no lock.
func (b *Budgets[K]) Len() int { return int(b.kept.Load()) }
