package forecast

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// Live is one live call.
type Live struct {
	Tenant string
	Age    time.Duration
}

// Routed is new calls of the past, where they go, and where they would go.
type Routed struct {
	Before, After string // empty: nobody may take them
	Why           string // of After
	Calls         int
}

// Question is what is asked about live calls that are to end where they are, and new
// ones that are to go elsewhere.
type Question struct {
	Live    []Live
	Ended   []time.Duration // how long calls of the past lasted
	Traffic []Routed
	Over    time.Duration  // in which that traffic came
	Room    map[string]int // of each region that answers
}

// Plan is the answer.
type Plan struct {
	Live     int       `json:"live" doc:"Calls that run now and stay where they are until they end."`
	Tenants  []Tenant  `json:"tenants" doc:"Whose they are, most first; the last one without a name is all others."`
	Ages     []Ages    `json:"ages" doc:"How old they are."`
	Ends     Ends      `json:"ends"`
	NewCalls []Arrival `json:"new_calls" doc:"Where the new calls of the recent past would go, by region."`
}

// Tenant is how many calls a tenant has.
type Tenant struct {
	Tenant string `json:"tenant,omitempty"`
	Live   int    `json:"live"`
	Oldest int    `json:"oldest_s" doc:"Age of the oldest, in seconds."`
}

// Ages is how many calls are younger than a number of seconds, and older than the one
// before it.
type Ages struct {
	Below int `json:"below_s"`
	Live  int `json:"live"`
}

// Ends says when the last of the live calls will have ended, in seconds from now, with
// a probability of one half, 0.9 and 0.99.
type Ends struct {
	P50     int `json:"p50_s"`
	P90     int `json:"p90_s"`
	P99     int `json:"p99_s"`
	Learned int `json:"learned_from" doc:"Calls of the past from which this is known; from few it is a guess."`
}

// Arrival is what goes to one region.
type Arrival struct {
	Region    string  `json:"region,omitempty" doc:"Empty: nobody may take them."`
	Before    int     `json:"before" doc:"Of the recent calls, as it is now."`
	After     int     `json:"after" doc:"Of the same calls, as it would be."`
	PerMinute float64 `json:"per_minute" doc:"What that is in a minute."`
	Needs     int     `json:"needs" doc:"Calls at a time that this adds, by how long calls last."`
	Room      int     `json:"room" doc:"Calls that the region can take now; -1: it does not answer."`
	Enough    bool    `json:"enough"`
	Why       []Why   `json:"why" doc:"The reasons, most first."`
}

// Why is one reason for which calls go to a region.
type Why struct {
	Text  string `json:"text"`
	Calls int    `json:"calls"`
}

// Bounds of what a plan tells.
const (
	mostTenants = 20
	mostReasons = 10
)

var ageBounds = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, Longest}

// Evacuate answers.
func Evacuate(q Question) Plan {
	ages := make([]time.Duration, len(q.Live))
	for i, c := range q.Live {
		ages[i] = c.Age
	}
	l := NewLasting(q.Ended, ages)
	over := func(p float64) int { return int(l.AllOver(ages, p) / time.Second) }
	return Plan{
		Live: len(q.Live), Tenants: byTenant(q.Live), Ages: byAge(ages),
		Ends:     Ends{P50: over(0.5), P90: over(0.9), P99: over(0.99), Learned: l.Ended()},
		NewCalls: arrivals(q, l.Mean()),
	}
}

func byTenant(live []Live) []Tenant {
	all := map[string]Tenant{}
	for _, c := range live {
		t := all[c.Tenant]
		all[c.Tenant] = Tenant{c.Tenant, t.Live + 1, max(t.Oldest, int(c.Age/time.Second))}
	}
	list := slices.SortedFunc(maps.Values(all), func(a, b Tenant) int {
		return cmp.Or(cmp.Compare(b.Live, a.Live), cmp.Compare(a.Tenant, b.Tenant))
	})
	if len(list) <= mostTenants {
		return list
	}
	rest := Tenant{}
	for _, t := range list[mostTenants:] {
		rest.Live, rest.Oldest = rest.Live+t.Live, max(rest.Oldest, t.Oldest)
	}
	return append(list[:mostTenants:mostTenants], rest)
}

func byAge(ages []time.Duration) []Ages {
	out := make([]Ages, len(ageBounds))
	for i, b := range ageBounds {
		out[i].Below = int(b / time.Second)
	}
	for _, a := range ages {
		i := slices.IndexFunc(ageBounds, func(b time.Duration) bool { return a < b })
		if i < 0 {
			i = len(out) - 1
		}
		out[i].Live++
	}
	return out
}

func arrivals(q Question, mean time.Duration) []Arrival {
	all := map[string]*Arrival{}
	at := func(r string) *Arrival {
		if all[r] == nil {
			room, ok := q.Room[r]
			if !ok {
				room = -1
			}
			all[r] = &Arrival{Region: r, Room: room, Why: []Why{}}
		}
		return all[r]
	}
	reasons := map[string]map[string]int{}
	for _, c := range q.Traffic {
		at(c.Before).Before += c.Calls
		at(c.After).After += c.Calls
		if reasons[c.After] == nil {
			reasons[c.After] = map[string]int{}
		}
		reasons[c.After][c.Why] += c.Calls
	}
	out := make([]Arrival, 0, len(all))
	for r, a := range all {
		if q.Over > 0 {
			a.PerMinute = math.Round(10*float64(a.After)/q.Over.Minutes()) / 10
			a.Needs = max(0, int(math.Ceil(float64(a.After-a.Before)/q.Over.Seconds()*mean.Seconds())))
		}
		a.Enough = r != "" && (a.After == 0 || a.Room >= a.Needs && a.Room >= 0)
		for text, n := range reasons[r] {
			a.Why = append(a.Why, Why{text, n})
		}
		slices.SortFunc(a.Why, func(x, y Why) int { return cmp.Or(cmp.Compare(y.Calls, x.Calls), cmp.Compare(x.Text, y.Text)) })
		a.Why = a.Why[:min(len(a.Why), mostReasons)]
		out = append(out, *a)
	}
	slices.SortFunc(out, func(x, y Arrival) int { return cmp.Compare(x.Region, y.Region) })
	return out
}
