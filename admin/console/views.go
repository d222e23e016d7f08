package console

import (
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// Frame is what every page shows around its content.
type Frame struct {
	Deployment string
	Region     ownership.Region
	Node       ownership.NodeID
	Version    string
	Applied    uint64
	Now        time.Time
	Open       bool // no tokens are set up
	Warnings   []string
}

// Overview is the first page.
type Overview struct {
	Leader         ownership.NodeID // empty: none
	Live, Capacity int
	Active, Total  int // nodes
	Regions        []api.Region
	Nodes          []Node
	Promises       []api.Promise
}

// Node is one node with its partitions.
type Node struct {
	api.Node
	Owned []ownership.Partition
}

// Query is what the table of calls is filtered by, as the reader typed it.
type Query struct {
	Region                                             string // empty: this one
	Node, Partition, Tenant, App, Group, State, Cursor string
}

// queryOf reads the filters of a URL.
func queryOf(v url.Values) Query {
	return Query{
		Region: v.Get("region"),
		Node:   v.Get("node"), Partition: v.Get("partition"), Tenant: v.Get("tenant"), App: v.Get("app"),
		Group: v.Get("group"), State: v.Get("state"), Cursor: v.Get("cursor"),
	}
}

// URL returns the page of calls with these filters and another cursor.
func (q Query) URL(cursor string) string {
	v := url.Values{}
	for name, s := range map[string]string{
		"region": q.Region, "node": q.Node, "partition": q.Partition, "tenant": q.Tenant, "app": q.App, "group": q.Group, "state": q.State, "cursor": cursor,
	} {
		if s != "" {
			v.Set(name, s)
		}
	}
	return Root + "calls?" + v.Encode()
}

// Narrowed reports whether any filter is set.
func (q Query) Narrowed() bool {
	q.Cursor = ""
	return q != Query{}
}

// Calls is one page of the table of calls.
type Calls struct {
	Query Query
	Items []CallRow
	Next  string
	// To choose from.
	Nodes   []ownership.NodeID
	Regions []ownership.Region
}

// CallRow is one call with its owner as it is now.
type CallRow struct {
	ownership.Call
	Reserved bool // it waits for its owner, which fell silent
}

// Call is the page of one call.
type Call struct {
	CallRow
	Region    ownership.Region // empty: this one
	Partition ownership.Partition
	Why       []string
	Timeline  []history.Event
}

// states are the words of the filter's list.
var states = []string{"claimed", "answered", "orphaned", "ended"}

// functions are what the templates may call.
var functions = template.FuncMap{
	"states": func() []string { return states },
	"clock":  func(t time.Time) string { return stamp(t, "15:04:05.000") },
	"moment": func(t time.Time) string { return stamp(t, "2006-01-02 15:04:05.000") },
	"iso":    func(t time.Time) string { return stamp(t, time.RFC3339Nano) },
	"gone":   func(s ownership.NodeState) bool { return s == ownership.NodeGone },
	"call":   func(id ownership.CallID) string { return Root + "calls/" + url.PathEscape(string(id)) },
	"short":  short,
	"share":  share,
	"level":  level,
	"answered": func(doors []api.RegionDoor) (n int) {
		for _, d := range doors {
			if d.Answered {
				n++
			}
		}
		return n
	},
	"score": func(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) },
	"span":  span,
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
