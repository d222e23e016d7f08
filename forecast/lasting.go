package forecast

import (
	"math"
	"slices"
	"sort"
	"time"
)

// Longest is how long a call can last: the calling cloud ends each after a day.
const Longest = 24 * time.Hour

// Lasting says how long calls last: the share of them that is still there after a
// time, from those that ended and from those that have not yet. A call that still
// runs counts as far as it has come (Kaplan and Meier's estimate): else a region that
// was started an hour ago would believe that no call lasts longer.
type Lasting struct {
	at    []time.Duration // ends, rising
	share []float64       // that lasted longer than at[i], falling
	ended int
}

// NewLasting learns from the lengths of calls that ended and the ages of live ones.
func NewLasting(ended, live []time.Duration) Lasting {
	ended, live = slices.Sorted(slices.Values(ended)), slices.Sorted(slices.Values(live))
	l := Lasting{ended: len(ended)}
	share, seen := 1.0, 0
	for i := 0; i < len(ended); {
		t, same := ended[i], i
		for i < len(ended) && ended[i] == t {
			i++
		}
		for seen < len(live) && live[seen] < t {
			seen++
		}
		share *= 1 - float64(i-same)/float64(len(ended)-same+len(live)-seen)
		l.at, l.share = append(l.at, t), append(l.share, share)
	}
	return l
}

// Ended is from how many calls that ended it has learnt.
func (l Lasting) Ended() int { return l.ended }

// Beyond is the share of calls that last longer than t.
func (l Lasting) Beyond(t time.Duration) float64 {
	if t >= Longest {
		return 0
	}
	i := sort.Search(len(l.at), func(i int) bool { return l.at[i] > t })
	if i == 0 {
		return 1
	}
	return l.share[i-1]
}

// Mean is how long a call lasts.
func (l Lasting) Mean() time.Duration {
	var sum float64
	share, from := 1.0, time.Duration(0)
	for i, at := range l.at {
		at = min(at, Longest)
		sum += share * float64(at-from)
		share, from = l.share[i], at
	}
	return time.Duration(sum + share*float64(Longest-from))
}

// AllOver is after how long all the live calls of those ages have ended, with that
// probability (between 0 and 1, both excluded). Of a call that is older than all it has
// learnt from it knows only that the cloud ends it.
func (l Lasting) AllOver(live []time.Duration, probability float64) time.Duration {
	if len(live) == 0 {
		return 0
	}
	// Ages by the second: a region has more calls than a day has seconds.
	many := map[time.Duration]int{}
	for _, age := range live {
		many[min(max(age, 0), Longest).Truncate(time.Second)]++
	}
	over := func(left time.Duration) bool {
		sum := 0.0 // of logarithms: a product of 100,000 shares is 0 in floating point
		for age, n := range many {
			still := 0.0
			if now := l.Beyond(age); now > 0 {
				still = l.Beyond(age+left) / now
			} else if age+left < Longest {
				still = 1
			}
			sum += float64(n) * math.Log1p(-still)
		}
		return sum >= math.Log(probability)
	}
	seconds := sort.Search(int(Longest/time.Second), func(s int) bool { return over(time.Duration(s) * time.Second) })
	return time.Duration(seconds) * time.Second
}
