package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/admin/console"
	"tandem/ownership"
	"tandem/ownership/history"
)

// pageEvents is how many events the console's first page of them holds.
const pageEvents = 100

// pageCalls is how many calls a page of the console holds.
const pageCalls = 50

// pageRoutes puts the console on the door.
func (d *Door) pageRoutes() error {
	pages, err := console.New(consoleSource{d}, d.log, d.cfg.Secure || !d.cfg.Loopback)
	if err != nil {
		return err
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		d.router.Handler(method, console.Root+"*page", pages)
	}
	d.router.HandlerFunc(http.MethodGet, "/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, console.Root, http.StatusSeeOther)
	})
	return nil
}

// consoleSource shows the console what the API shows, from the same functions.
type consoleSource struct{ d *Door }

// Login begins a session for whoever may read.
func (s consoleSource) Login(r *http.Request, secret string) (string, int, string) {
	who, refused := s.d.auth.enter(r, secret)
	if refused == nil && !who.may(api.RoleRead) {
		refused = refusedRole
	}
	if refused != nil {
		return "", refused.status, refused.text
	}
	return s.d.sessions.begin(who), http.StatusOK, ""
}

// Enter lets in whoever has a session whose token still may read.
func (s consoleSource) Enter(r *http.Request, session string) (string, int, string) {
	if s.d.auth.open() {
		session = ""
	} else if who, ok := s.d.sessions.find(session); ok && s.d.auth.still(who, api.RoleRead) {
		return who.Name, http.StatusOK, ""
	} else if session != "" {
		return "", refusedToken.status, refusedToken.text
	}
	who, refused := s.d.auth.enter(r, session)
	if refused != nil {
		return "", refused.status, refused.text
	}
	return who.Name, http.StatusOK, ""
}

// Logout ends a session.
func (s consoleSource) Logout(session string) { s.d.sessions.end(session) }

// Frame returns what stands around every page.
func (s consoleSource) Frame() console.Frame {
	st := s.d.status()
	return console.Frame{
		Deployment: st.Deployment, Region: st.Region, Node: st.Node, Version: cmp.Or(st.Version, "dev"),
		Applied: s.d.deps.Table.Applied(), Now: st.Now, Open: s.d.auth.open(), Warnings: st.Warnings,
	}
}

// Overview returns the first page.
func (s consoleSource) Overview() console.Overview {
	sum := s.d.summary()
	out := console.Overview{
		Leader: s.d.deps.Cluster.Status().Leader, Live: sum.Live, Capacity: sum.Capacity, Active: sum.Active, Total: sum.Nodes,
		Regions: s.d.regions(), Promises: s.d.promises(),
	}
	owned := map[ownership.NodeID][]ownership.Partition{}
	for _, p := range s.d.deps.Table.Partitions() {
		if !p.Retired {
			owned[p.Owner] = append(owned[p.Owner], p)
		}
	}
	for _, n := range s.d.nodes() {
		out.Nodes = append(out.Nodes, console.Node{Node: n, Owned: owned[n.ID]})
	}
	return out
}

// Calls returns one page of calls.
func (s consoleSource) Calls(ctx context.Context, q console.Query) (console.Calls, error) {
	if r := ownership.Region(q.Region); r != "" && r != s.d.cfg.Region {
		return s.callsElsewhere(ctx, r, q)
	}
	in := callsAsked{Node: q.Node, Tenant: strings.TrimSpace(q.Tenant), App: strings.TrimSpace(q.App), Group: strings.TrimSpace(q.Group), State: q.State}
	if p := strings.TrimSpace(q.Partition); p != "" {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return console.Calls{}, fmt.Errorf("partition is %.64q: write a whole number", p)
		}
		in.Partition = uint32(n)
	}
	f, err := in.filter()
	if err != nil {
		return console.Calls{}, err
	}
	page, err := s.d.page(f, q.Cursor, pageCalls)
	if err != nil {
		return console.Calls{}, err
	}
	out := console.Calls{Next: page.Next, Regions: s.d.abroad.others()}
	for _, c := range page.Items {
		out.Items = append(out.Items, s.row(c.Call))
	}
	for _, n := range s.d.deps.Table.Nodes() {
		if n.State != ownership.NodeGone {
			out.Nodes = append(out.Nodes, n.ID)
		}
	}
	return out, nil
}

func (s consoleSource) row(c ownership.Call) console.CallRow {
	p, known := s.d.deps.Table.Partition(c.Partition)
	row := console.CallRow{Call: c, Reserved: known && reserved(c, p)}
	row.Call.Owner = cmp.Or(c.Owner, cmp.Or(p.Owner, c.Placement.Owner))
	return row
}

// Call returns the page of one call.
func (s consoleSource) Call(ctx context.Context, raw string) (console.Call, error) {
	id, err := ownership.ParseCallID(raw)
	if err != nil {
		return console.Call{}, err
	}
	c, ok := s.d.deps.Table.Call(id)
	if !ok {
		return s.callElsewhere(ctx, id)
	}
	// The candidates are a table on the page, so their sentences are left out.
	part, since := s.d.sinceSentences(c)
	events, err := s.d.deps.Journal.Timeline(c.ID)
	if err != nil {
		return console.Call{}, err
	}
	return console.Call{
		CallRow: s.row(c), Partition: part, Why: append(claimSentences(c), since...),
		Timeline: pageTimes(events),
	}, nil
}

// Latest returns the newest events, newest first.
func (s consoleSource) Latest() []history.Event {
	latest, err := s.d.deps.Journal.Latest(pageEvents)
	if err != nil {
		s.d.log.Error("reading the newest events for the console", "err", err)
	}
	slices.Reverse(latest)
	return pageTimes(latest)
}

// Stream serves the events without names, as a browser's onmessage wants them.
func (s consoleSource) Stream(w http.ResponseWriter, r *http.Request, session string) {
	after, err := resumePoint(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("after"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	who, _ := s.d.sessions.find(session) // nobody's where the door is open
	if !s.d.streams.enter(who.hash) {
		w.Header().Set("Retry-After", retryAfter)
		http.Error(w, busyStreams, http.StatusServiceUnavailable)
		return
	}
	defer s.d.streams.leave(who.hash)
	eventFeed{s.d}.pump(r.Context(), newEventStream(w, false), who, after, true)
}

// pageTimes cuts the events' times to what pages show.
func pageTimes(events []history.Event) []history.Event {
	for i := range events {
		events[i].At = events[i].At.Truncate(time.Microsecond)
	}
	return events
}
