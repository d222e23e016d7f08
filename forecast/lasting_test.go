package forecast

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const minute = time.Minute

func TestLastingOfEndedCalls(t *testing.T) {
	l := NewLasting([]time.Duration{4 * minute, 1 * minute, 2 * minute, 2 * minute}, nil)
	for _, c := range []struct {
		after time.Duration
		share float64
	}{{0, 1}, {minute - 1, 1}, {minute, 0.75}, {2 * minute, 0.25}, {3 * minute, 0.25}, {4 * minute, 0}} {
		if got := l.Beyond(c.after); math.Abs(got-c.share) > 1e-12 {
			t.Errorf("beyond %s last %v, want %v", c.after, got, c.share)
		}
	}
}

// TestLiveCallsCount: an hour after the start only short calls have ended, and those
// that still run say that not all are short.
func TestLiveCallsCount(t *testing.T) {
	live := make([]time.Duration, 99)
	for i := range live {
		live[i] = 60 * minute
	}
	l := NewLasting([]time.Duration{minute}, live)
	if got := l.Beyond(30 * minute); math.Abs(got-0.99) > 1e-12 {
		t.Errorf("%v last longer than half an hour", got)
	}
	if got := l.Beyond(Longest); got != 0 {
		t.Errorf("%v last longer than the cloud lets them", got)
	}
}

// TestAllOver holds the estimate against what then happens, for lengths of many kinds.
func TestAllOver(t *testing.T) {
	lengths := map[string]func(*rand.Rand) time.Duration{
		"all alike":       func(*rand.Rand) time.Duration { return 20 * minute },
		"exponential":     func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * float64(20*minute)) },
		"two kinds":       func(r *rand.Rand) time.Duration { return time.Duration(1+59*r.IntN(2)) * minute },
		"half-hour slots": func(r *rand.Rand) time.Duration { return time.Duration(25+r.IntN(10)) * minute },
	}
	for name, length := range lengths {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			var past []time.Duration
			for range 20_000 {
				past = append(past, length(r))
			}
			l := NewLasting(past, nil)
			for _, p := range []float64{0.5, 0.9} {
				held := 0
				for range 400 {
					var ages []time.Duration
					var last time.Duration
					for len(ages) < 20 { // calls that happen to run at this moment
						n := length(r)
						age := time.Duration(r.Int64N(int64(60 * minute)))
						if age < n {
							ages, last = append(ages, age), max(last, n-age)
						}
					}
					if last <= l.AllOver(ages, p) {
						held++
					}
				}
				if share := float64(held) / 400; share < p-0.08 {
					t.Errorf("with probability %v all are over: that held in %v of the trials", p, share)
				}
			}
		})
	}
}

func TestAllOverOfWhatNobodyKnows(t *testing.T) {
	l := NewLasting(nil, []time.Duration{minute})
	if got := l.AllOver([]time.Duration{Longest - 5*minute}, 0.5); got != 5*minute {
		t.Errorf("a call of which nothing is known ends with the cloud's limit, in 5 minutes: %s", got)
	}
	if got := l.AllOver(nil, 0.99); got != 0 {
		t.Errorf("no call ends in %s", got)
	}
	l = NewLasting([]time.Duration{minute, 2 * minute}, nil)
	if got := l.AllOver([]time.Duration{10 * minute}, 0.5); got != Longest-10*minute {
		t.Errorf("older than all that ended: %s", got)
	}
}

// TestAllOverOfManyCalls: 100,000 shares multiplied are no zero.
func TestAllOverOfManyCalls(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var past, ages []time.Duration
	for range 100_000 {
		past = append(past, time.Duration(r.ExpFloat64()*float64(10*minute)))
		ages = append(ages, time.Duration(r.ExpFloat64()*float64(10*minute)))
	}
	l := NewLasting(past, ages)
	fast, slow := l.AllOver(ages, 0.5), l.AllOver(ages, 0.99)
	if fast < 30*minute || slow < fast || slow > Longest {
		t.Errorf("all over in %s, or in %s", fast, slow)
	}
}
