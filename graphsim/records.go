package graphsim

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Records of calls as Graph keeps them: one for each chain, once all its calls are over.
// Source: https://learn.microsoft.com/graph/api/callrecords-cloudcommunications-list-callrecords (v1.0).

// recordPage is how many records one page has.
const recordPage = 60

// recordsKept bounds the records of calls that are forgotten.
const recordsKept = 100_000

// chain is what the calls of one chain add up to.
type chain struct {
	id, thread string
	app        string
	start, end time.Time
	open       bool
}

// add puts one call into its chain's record.
func (r *chain) add(k *call) {
	r.id, r.app = k.chain, k.app.ID
	if k.thread != "" {
		r.thread = k.thread
	}
	if r.start.IsZero() || k.born.Before(r.start) {
		r.start = k.born
	}
	if k.overSince.After(r.end) {
		r.end = k.overSince
	}
	r.open = r.open || !k.over
}

// archive keeps what a call adds to its chain's record when the call is forgotten. The
// lock is held.
func (l *ledger) archive(k *call) {
	if l.chains == nil {
		l.chains = map[string]*chain{}
	}
	if l.chains[k.chain] == nil && len(l.chains) < recordsKept {
		l.chains[k.chain] = &chain{}
	}
	if r := l.chains[k.chain]; r != nil {
		r.add(k)
	}
}

// records returns those of an app's calls that began between two times, in their order.
func (l *ledger) records(app string, since, until time.Time) []chain {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[string]chain{}
	for id, r := range l.chains {
		all[id] = *r
	}
	for _, k := range l.order {
		r := all[k.chain]
		r.add(k)
		all[k.chain] = r
	}
	var out []chain
	for _, r := range all {
		if r.app == app && !r.open && !r.start.Before(since) && r.start.Before(until) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b chain) int {
		if c := a.start.Compare(b.start); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	return out
}

// json is a record as Graph tells it: with a name that nobody who reads it may keep.
func (r chain) json() map[string]any {
	out := map[string]any{
		"id": r.id, "version": 1, "type": "peerToPeer", "modalities": []string{"audio"},
		"startDateTime": r.start.UTC().Format(time.RFC3339Nano), "endDateTime": r.end.UTC().Format(time.RFC3339Nano), "lastModifiedDateTime": r.end.UTC().Format(time.RFC3339Nano),
		"organizer": map[string]any{"user": map[string]any{"id": "821809f5-0000-0000-0000-3b5136c0e777", "displayName": "Abbie Wilkins"}},
	}
	if r.thread != "" {
		out["type"] = "groupCall"
		out["joinWebUrl"] = "https://teams.microsoft.com/l/meetup-join/" + url.PathEscape(r.thread) + "/0?context=%7b%7d"
	}
	return out
}

// listRecords serves GET communications/callRecords.
func (c *callsDoor) listRecords(w http.ResponseWriter, r *http.Request) {
	app, ok := c.bearers.known(r.Header.Get("Authorization"))
	if !ok {
		graphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken")
		return
	}
	query := r.URL.Query()
	since, until, err := readFilter(query.Get("$filter"))
	skip, serr := strconv.Atoi(query.Get("$skiptoken"))
	if query.Get("$skiptoken") == "" {
		serr = nil
	}
	if err != nil || serr != nil || skip < 0 {
		graphError(w, http.StatusBadRequest, "BadRequest")
		return
	}
	all := c.ledger.records(app.ID, since, until)
	page := all[min(skip, len(all)):min(skip+recordPage, len(all))]
	items := make([]map[string]any, len(page))
	for i, rec := range page {
		items[i] = rec.json()
	}
	answer := map[string]any{"value": items}
	if end := skip + len(page); end < len(all) {
		query.Set("$skiptoken", strconv.Itoa(end))
		answer["@odata.nextLink"] = c.GraphURL() + "/communications/callRecords?" + query.Encode()
	}
	writeJSON(w, http.StatusOK, answer)
}

// readFilter reads the part of OData that Graph takes here: bounds of startDateTime.
func readFilter(filter string) (since, until time.Time, err error) {
	until = time.Now().Add(time.Hour)
	for part := range strings.SplitSeq(filter, " and ") {
		if part == "" {
			continue
		}
		f := strings.Fields(part)
		if len(f) != 3 || f[0] != "startDateTime" {
			return since, until, fmt.Errorf("the filter %q is not understood", part)
		}
		at, err := time.Parse(time.RFC3339, f[2])
		switch {
		case err != nil:
			return since, until, err
		case f[1] == "ge":
			since = at
		case f[1] == "lt":
			until = at
		default:
			return since, until, fmt.Errorf("the filter %q is not understood", part)
		}
	}
	return since, until, nil
}
