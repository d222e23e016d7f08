package webhook

import (
	"log/slog"
	"net/http"
	"net/url"

	"tandem/doorway"
)

// A flood of refused requests must not fill the disk: so many of them are told
// at level info in a second, the rest at debug. The metrics count all.
const (
	refusedLines = 20
	refusedBurst = 200
)

// finish writes, counts and logs a result.
func (h *Handler) finish(w http.ResponseWriter, r *http.Request, res result, q *request) {
	hurried := q != nil && (q.hurried() || res.refused.local() && q.rings())
	if res.refused != nil && strange(r) {
		h.tell(r, res, q)
		forget(r)
		writeBare(w, *res.refused, hurried)
	} else {
		h.write(w, res, hurried)
		h.tell(r, res, q)
	}
	if q != nil {
		h.diary.replied(q, res)
	}
	h.count.requests[res.outcome].Inc()
	switch res.outcome {
	case outcomeRegionRedirect:
		h.count.hops[hopRegion].Inc()
	case outcomeNodeRedirect:
		h.count.hops[hopNode].Inc()
	}
	if q != nil {
		observe(h.count.whole, h.now().Sub(q.received))
	}
}

func (h *Handler) tell(r *http.Request, res result, q *request) {
	level := slog.LevelDebug
	if res.refused != nil && h.refusals.Allow() {
		level = slog.LevelInfo
	}
	if h.log.Enabled(r.Context(), level) {
		h.log.LogAttrs(r.Context(), level, "public request", h.describe(r, res, q)...)
	}
}

// strange reports whether a request came over HTTP/2 by a connection on which no
// good token has come yet. Its client decides by its windows when a body that is sent
// to it ends, and could keep any number of them, with their requests, in memory.
func strange(r *http.Request) bool {
	return r.ProtoMajor >= 2 && !doorway.Of(r.Context()).IsKnown()
}

var nowhere url.URL

// forget drops what a refused request holds: its answer may be long in leaving.
// Nothing of an HTTP/2 request is looked at once its handler has ended.
func forget(r *http.Request) {
	clear(r.Header)
	r.URL, r.RequestURI, r.Host, r.Form = &nowhere, "", "", nil
}
