package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// pageCalls is how many calls a page holds.
const pageCalls = 50

// Query is what the table of calls is filtered by, as the reader typed it.
type Query struct {
	Region                                             string // empty: this one
	Node, Partition, Tenant, App, Group, State, Cursor string
}

// queryOf reads the filters of a URL.
func queryOf(v url.Values) Query {
	get := func(name string) string { return strings.TrimSpace(v.Get(name)) }
	return Query{
		Region: get("region"), Node: get("node"), Partition: get("partition"), Tenant: get("tenant"), App: get("app"),
		Group: get("group"), State: get("state"), Cursor: v.Get("cursor"),
	}
}

// URL returns the page of calls with these filters and another cursor.
func (q Query) URL(cursor string) string {
	return link("", "calls", "?", "region", q.Region, "node", q.Node, "partition", q.Partition, "tenant", q.Tenant, "app", q.App,
		"group", q.Group, "state", q.State, "cursor", cursor)
}

// Narrowed reports whether any filter is set.
func (q Query) Narrowed() bool {
	q.Cursor, q.Region = "", ""
	return q != Query{}
}

// Calls is one page of the table of calls.
type Calls struct {
	Query Query
	Items []CallRow
	Next  string
	Nodes []api.Node // to choose from
	Named []CallRow  // or: the calls that what was looked for names
	What  string     // that was looked for
}

// CallRow is one call with its owner as it is now.
type CallRow struct {
	api.CallIn
	Reserved bool // it waits for its owner, which fell silent
}

// callRows are the rows of a list, as of now.
type callRows struct {
	Now  time.Time
	Rows []CallRow
}

// calls is the list of calls, or the page of one.
func calls(a *asking) (string, any, error) {
	if a.id != "" {
		return call(a)
	}
	out := Calls{Query: queryOf(a.q)}
	page, err := a.liveFirst(out.Query)
	if err != nil {
		return "", nil, err
	}
	out.Next = page.Next
	owners, err := a.owners()
	if err != nil {
		return "", nil, err
	}
	for _, c := range page.Items {
		out.Items = append(out.Items, rowOf(c, owners))
	}
	var all api.List[api.Node]
	if _, err := a.get(&all, "/v1/nodes"); err != nil {
		return "", nil, err
	}
	out.Nodes = slices.DeleteFunc(all.Items, func(n api.Node) bool { return n.State == ownership.NodeGone })
	return "calls", out, nil
}

// owners are the owners of all partitions.
func (a *asking) owners() (map[ownership.PartitionID]ownership.NodeID, error) {
	var all api.List[api.PartitionIn]
	if _, err := a.get(&all, "/v1/partitions"); err != nil {
		return nil, err
	}
	out := map[ownership.PartitionID]ownership.NodeID{}
	for _, p := range all.Items {
		out[p.ID] = p.Owner
	}
	return out, nil
}

func rowOf(c api.CallIn, owners map[ownership.PartitionID]ownership.NodeID) CallRow {
	row, now := CallRow{CallIn: c}, owners[c.Partition]
	row.Reserved = c.State == ownership.CallAnswered && c.Owner != "" && now != "" && c.Owner != now
	row.Owner = cmp.Or(c.Owner, now, c.Placement.Owner)
	return row
}

// liveFirst lists calls in the order of ownership.ByUrgency. A cursor names the state at
// which a page stopped: "answered/after-…".
func (a *asking) liveFirst(q Query) (all api.CallPage, err error) {
	states, inside := ownership.ByUrgency, ""
	if q.State != "" {
		state, err := ownership.ParseCallState(q.State)
		if err != nil {
			return all, &Refusal{http.StatusBadRequest, err.Error()}
		}
		states = []ownership.CallState{state}
	}
	if q.Cursor != "" {
		name, rest, _ := strings.Cut(q.Cursor, "/")
		i := slices.IndexFunc(states, func(s ownership.CallState) bool { return s.String() == name })
		if i < 0 {
			return all, &Refusal{http.StatusBadRequest, "This is no page of the list: begin with the first one."}
		}
		states, inside = states[i:], rest
	}
	for _, state := range states {
		if len(all.Items) == pageCalls {
			all.Next = state.String() + "/"
			break
		}
		var page api.CallPage
		if _, err := a.get(&page, "/v1/calls", "node", q.Node, "partition", q.Partition, "tenant", q.Tenant, "app", q.App, "group", q.Group,
			"state", state.String(), "cursor", inside, "limit", strconv.Itoa(pageCalls-len(all.Items))); err != nil {
			return all, err
		}
		inside = ""
		all.Items = append(all.Items, page.Items...)
		if page.Next != "" {
			all.Next = state.String() + "/" + page.Next
			break
		}
	}
	return all, nil
}

// Call is the page of one call.
type Call struct {
	CallRow
	Asked  string           // what was looked for
	Known  bool             // the table has its record
	Region ownership.Region // whose it is; empty: this one
	Why    []string
	Now    ownership.Partition
	Story  []Entry
	More   bool // there were older steps
	Nodes  []api.TrailNode
	Lives  bool // there may be more to come
}

// Over reports whether the call has ended.
func (c Call) Over() bool { return c.State == ownership.CallEnded }

// Entry is one line of a call's story: a step of a node, or a change of the table.
type Entry struct {
	At     time.Time
	After  time.Duration // since the entry before it
	Region ownership.Region
	Node   ownership.NodeID
	Kind   string
	Text   string
	To     string
	Status int
	Took   time.Duration
	Table  bool // the table was changed
	Failed bool
}

// call is the story of one call, whatever names it.
func call(a *asking) (string, any, error) {
	var why api.CallExplanation
	from, err := a.get(&why, v1("calls", a.id, "explain"))
	if err != nil {
		return "", nil, err
	}
	out := Call{Asked: a.id, Known: why.Known || why.State != 0, Why: why.Why, Now: why.Partition, Story: storyOf(why), More: why.More, Nodes: why.Nodes, Region: from}
	if len(why.Calls) > 1 {
		list := Calls{What: a.id}
		for _, id := range why.Calls {
			c := api.CallIn{Call: ownership.Call{ID: id}}
			if _, err := a.get(&c, v1("calls", string(id))); err != nil && statusOf(err) != http.StatusNotFound {
				return "", nil, err
			}
			list.Named = append(list.Named, rowOf(c, nil))
		}
		return "calls", list, nil
	}
	out.ID = why.Call
	if out.Known {
		if _, err := a.get(&out.CallIn, v1("calls", string(why.Call))); err != nil {
			return "", nil, err
		}
		out.CallRow = rowOf(out.CallIn, map[ownership.PartitionID]ownership.NodeID{why.Partition.ID: why.Partition.Owner})
		if len(out.Placement.Candidates) == 0 {
			out.Placement = why.Placement
		}
		// The candidates are a table on the page, so their sentences are left out.
		out.Why = slices.DeleteFunc(out.Why, func(s string) bool {
			return strings.Contains(s, " could not take it: ") || strings.Contains(s, " scored ")
		})
	}
	out.Lives = out.State.Live() || out.State == ownership.CallOrphaned
	return "call", out, nil
}

// storyOf puts what the nodes did and what the table was told in one order.
func storyOf(why api.CallExplanation) (all []Entry) {
	for _, e := range why.Timeline {
		all = append(all, Entry{At: e.At, Node: e.Node, Kind: string(e.Kind), Text: e.Text, Table: true,
			Failed: e.Kind == history.Orphaned || e.Kind == history.Lapsed})
	}
	for _, s := range why.Steps {
		all = append(all, Entry{At: s.At, Region: s.Region, Node: s.Node, Kind: string(s.Kind), Text: s.Text, To: s.To, Status: s.Status, Took: s.Took, Failed: s.Failed()})
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return a.At.Compare(b.At) })
	for i := range all {
		if i > 0 {
			all[i].After = all[i].At.Sub(all[i-1].At)
		}
	}
	return all
}

// search leads to what an id, a name or a number names.
func search(a *asking) (string, any, error) {
	what := strings.TrimSpace(a.q.Get("q"))
	if what == "" {
		a.leads = link(a.at, "calls")
		return "", nil, nil
	}
	found := func(path string, query ...string) bool {
		_, err := a.get(nil, path, query...)
		return err == nil
	}
	listed := func(name, value string) bool {
		var page api.CallPage
		_, err := a.get(&page, "/v1/calls", name, value, "limit", "1")
		return err == nil && len(page.Items) > 0
	}
	group := what
	if !strings.Contains(what, ":") || strings.HasPrefix(what, "19:") {
		group = "thread:" + what
	}
	switch {
	case len(what) <= 64 && found(v1("nodes", what)):
		a.leads = link(a.at, "nodes", what)
	case isNumber(what) && found(v1("partitions", what)):
		a.leads = link(a.at, "partitions", what)
	case len(what) <= 64 && listed("tenant", what):
		a.leads = link(a.at, "calls", "?", "tenant", what)
	case len(what) <= 64 && listed("app", what):
		a.leads = link(a.at, "calls", "?", "app", what)
	case len(group) <= 512 && listed("group", group):
		a.leads = link(a.at, "calls", "?", "group", group)
	default:
		var err error
		if len(what) <= 160 {
			if _, err = a.get(nil, v1("calls", what, "explain")); err == nil {
				a.leads = link(a.at, "calls", what)
				return "", nil, nil
			}
		}
		if statusOf(err) >= 500 { // who cannot be asked may know it
			return "", nil, err
		}
		return "", nil, &Refusal{http.StatusNotFound, "Nothing is known by “" + cut(what, 80) + "”. It was looked for as the id of a call, of a call chain and of a notification in all regions that answer, " +
			"and as a tenant, an app, a thread, a node and a partition in this one."}
	}
	return "", nil, nil
}

func isNumber(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && n > 0
}

// cut shortens a text for a sentence.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
