package console

import (
	"fmt"
	"html/template"
	"strconv"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// Frame is what every page shows around its content.
type Frame struct {
	Deployment string
	Region     ownership.Region
	Node       ownership.NodeID
	Version    string
	Applied    uint64
	Now        time.Time
	Open       bool     // no tokens are set up
	Silent     []string // nodes of which nothing is heard, in sentences
	Warnings   []string
	Regions    []ownership.Region // this one first
}

// states are the words of the filter's list.
var states = []string{"claimed", "answered", "orphaned", "ended"}

// functions are what the templates may call.
var functions = template.FuncMap{
	"states":   func() []string { return states },
	"roles":    func() []api.Role { return roles },
	"clock":    func(t time.Time) string { return stamp(t, "15:04:05.000") },
	"when":     when,
	"rows":     func(now time.Time, rows []CallRow) callRows { return callRows{now, rows} },
	"minute":   func(t time.Time) string { return stamp(t, "15:04") },
	"moment":   func(t time.Time) string { return stamp(t, "2006-01-02 15:04:05.000") },
	"second":   func(t time.Time) string { return stamp(t, "2006-01-02 15:04:05") },
	"day":      func(t time.Time) string { return stamp(t, "2006-01-02 15:04") },
	"iso":      func(t time.Time) string { return stamp(t, time.RFC3339Nano) },
	"gone":     func(s ownership.NodeState) bool { return s == ownership.NodeGone },
	"call":     func(id ownership.CallID) string { return link("", "calls", string(id)) },
	"short":    short,
	"share":    share,
	"level":    level,
	"answered": answered,
	"score":    func(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) },
	"span":     span,
	"age":      age,
	"since":    func(now, t time.Time) string { return age(now.Sub(t)) },
	"seconds":  func(s int) string { return age(time.Duration(s) * time.Second) },
	"after":    func(d time.Duration) string { return "+" + brief(d) },
	"brief":    brief,
	"soon":     soon,
	"chart":    draw,
	"word":     word,
	"count":    count,
	"inc":      func(n uint64) uint64 { return n + 1 },
	"came":     came,
	"next":     func(e ownership.Epoch) ownership.Epoch { return e + 1 },
}

func answered(doors []api.RegionDoor) (n int) {
	for _, d := range doors {
		if d.Answered {
			n++
		}
	}
	return n
}

// came says from whom a partition came, where an event tells nothing else.
func came(from ownership.NodeID) string {
	if from == "" {
		return ""
	}
	return "from " + string(from)
}

// word is how something is spelled in an address.
func word(v any) string { return fmt.Sprint(v) }

// count says how many of something there are.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// age writes a time that people need not know exactly.
func age(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
}

// brief writes a time that people want to know.
func brief(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	default:
		return d.Round(10 * time.Millisecond).String()
	}
}

// when writes a time of today without its day.
func when(now, t time.Time) string {
	if now.UTC().Format(time.DateOnly) == t.UTC().Format(time.DateOnly) {
		return stamp(t, "15:04:05.000")
	}
	return stamp(t, "2006-01-02 15:04:05")
}

// stamp writes a time in UTC; the zero time is a dash.
func stamp(t time.Time, layout string) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format(layout)
}

// short keeps the two ends of a long id, which is what people compare.
func short(v any) string {
	s := fmt.Sprint(v)
	if len(s) <= 16 {
		return s
	}
	return s[:8] + "…" + s[len(s)-4:]
}

// share returns live ÷ capacity as a percentage from 0 to 100; only nothing is 0.
func share(live, capacity int) int {
	switch {
	case live <= 0:
		return 0
	case capacity <= 0 || live >= capacity:
		return 100
	default:
		return max(1, live*100/capacity)
	}
}

// level says in a word how full that is: the bar's class.
func level(live, capacity int) string {
	switch s := share(live, capacity); {
	case s >= 90:
		return "full"
	case s >= 70:
		return "busy"
	default:
		return "calm"
	}
}

// span writes the time between two moments; a dash when either is missing.
func span(from, to time.Time) string {
	if from.IsZero() || to.IsZero() {
		return "–"
	}
	d := to.Sub(from)
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
