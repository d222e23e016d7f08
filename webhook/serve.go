package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"

	"tandem/doorway"
	"tandem/graph"
	"tandem/ownership"
	"tandem/token"
	"tandem/traces"
)

// fewStreams is how many requests at a time are taken by a connection on which no
// good token has come yet: those of HTTP/2 hold memory without a descriptor each.
const fewStreams = 16

// ServeHTTP answers one request of the public listener.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	echo(w.Header(), r.Header)
	place := doorway.Of(r.Context())
	underWay := place.Begin()
	defer place.End()
	if underWay > fewStreams && !place.IsKnown() {
		place.SendAway()
		h.finish(w, r, refused(refuseBusy, nil), nil)
		return
	}
	select {
	case h.inFlight <- struct{}{}:
		h.count.inFlight.Inc()
		defer func() { <-h.inFlight; h.count.inFlight.Dec() }()
	default:
		if !place.IsKnown() {
			place.GiveWay() // it may be strangers who hold the door
		}
		h.finish(w, r, refused(refuseBusy, nil), nil)
		return
	}
	defer h.recoverFrom(w, r)
	if !cleanTarget(r) {
		h.serveNotFound(w, r)
		return
	}
	h.router.ServeHTTP(w, r)
}

// recoverFrom turns a crash into an answer: one odd body must not look like a
// dead node. What net/http itself throws to end a connection passes.
func (h *Handler) recoverFrom(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	h.crashed(v)
	h.finish(w, r, refused(refuseCrash, nil), nil)
}

func (h *Handler) crashed(v any) {
	h.log.Error("the public door crashed on a request", "crash", fmt.Sprint(v), "stack", string(debug.Stack()))
}

func (h *Handler) serveNotFound(w http.ResponseWriter, r *http.Request) {
	h.finish(w, r, refused(refuseNotFound, nil), nil)
}

func (h *Handler) serveWrongMethod(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == h.cfg.HealthPath {
		w.Header().Set("Allow", "GET, HEAD")
		h.finish(w, r, refused(refuseMethod, nil), nil)
		return
	}
	w.Header().Set("Allow", http.MethodPost) // the router would add OPTIONS, which is not answered
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		h.count.asGet.Inc()
		h.finish(w, r, refused(refuseGet, nil), nil)
		return
	}
	h.finish(w, r, refused(refuseMethod, nil), nil)
}

func (h *Handler) servePlain(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	q := arrived(h.now(), r.Header)
	h.finish(w, r, h.receive(w, r, &q), &q)
}

func (h *Handler) serveHandle(w http.ResponseWriter, r *http.Request, seg httprouter.Params) {
	q := arrived(h.now(), r.Header)
	of, err := ParseHandle(seg[0].Value, seg[1].Value, seg[2].Value, seg[3].Value)
	if err != nil {
		h.finish(w, r, refused(refuseNotFound, err), &q)
		return
	}
	q.handle = &of
	h.finish(w, r, h.receive(w, r, &q), &q)
}

// request is one admitted request: what of it decides, and what goes on.
type request struct {
	app      ownership.AppID
	tenant   ownership.TenantID // as the token says
	header   http.Header
	body     []byte
	received time.Time // at the first node that saw it
	came     time.Time // here
	message  string    // delivery id
	ids      ids
	handle   *Handle  // nil on the plain path
	mark     string   // the h parameter as it came
	from     string   // the t parameter: the trace of the request that was redirected here
	trace    string   // this request's own, for a redirect; empty: there is none
	letter   bool     // another region relayed it
	token    []string // the Authorization header, for the door of another region
	hops     hops
	parts    []part
	dry      bool      // explain asks: nothing is counted, nothing changes
	guessed  bool      // explain asks without a token: the app is a guess
	by       *policies // explain asks by other rules than those in force; nil: by those
}

// arrived begins with a request. By the ids in its headers it can be found whatever
// becomes of it.
func arrived(now time.Time, header http.Header) request {
	return request{received: now, came: now, ids: idsOf(header)}
}

// foreign reports whether a call is another app's than the one that the token is
// for: such a token says nothing about the call. Tenants are not compared, for
// a bot is called from more than one.
func (q *request) foreign(app ownership.AppID) bool { return app != q.app && !q.guessed }

// receive takes a request through the door: headers, token, handle, body, and
// only then what it says.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request, q *request) result {
	if no, bad := h.checkHeaders(r); bad {
		return refused(no, nil)
	}
	if h.attempts.spent(r.Header) {
		return refused(refuseAttempts, nil)
	}
	claims, err := h.tokens.Verify(token.WithSender(r.Context(), doorway.Caller(r, h.cfg.Proxies)), r.Header)
	if err != nil {
		no := refusalOfToken(err)
		if no.status == http.StatusUnauthorized { // a tenant that is not listed is the cloud's own word
			h.attempts.failed(r.Header)
		}
		return refused(no, err)
	}
	doorway.Of(r.Context()).Known()
	start := h.now()
	q.app, q.tenant = ownership.AppID(claims.App), ownership.TenantID(claims.Tenant)
	if err := h.readQuery(r.URL.RawQuery, q); err != nil {
		return refused(refuseNotFound, err)
	}
	if q.body, err = readBody(w, r, h.cfg.BodyLimit); err != nil {
		return refused(refusalOfBody(err), err)
	}
	msg, err := h.decode(q)
	if err != nil {
		return refused(refusalOfDecode(err), err)
	}
	if msg.Kind == graph.Legacy {
		return result{status: http.StatusNoContent, outcome: outcomeHandshake}
	}
	concern := r.Header[headerCalls]
	q.token = r.Header["Authorization"]
	strip(r.Header)
	q.header = r.Header
	q.message = graph.MessageID(r.Header, q.body)
	h.count.unknown.Add(float64(msg.Unknown))
	q.parts = split(msg, q.handle)
	if q.letter = isLetter(r.Context()); q.letter && !q.narrow(concern) {
		return refused(refusePartly, errors.New("the letter of another region concerns no call of its body"))
	}
	if h.manyNew(q.parts) {
		return refused(refuseTooMany, nil)
	}
	h.readMark(q)
	h.diary.came(q)
	q.traced(r.Context(), h.traces)
	// What has been received is carried out even if the caller hangs up: half a
	// hand-over helps nobody, and the cloud repeats with the same message id.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.cfg.ClaimTimeout+h.cfg.HandOver)
	defer cancel()
	if until, ok := r.Context().Deadline(); ok && q.letter { // then its sender tells the cloud that it failed
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	ds, res := h.decide(ctx, q)
	observe(h.count.decision, h.now().Sub(start))
	if ds == nil {
		return res
	}
	return h.respond(ctx, q, ds)
}

// newCalls is how many calls that this node does not know one body may name. The
// cloud tells of one new call at a time; each takes a place of the region's capacity.
const newCalls = 16

func (h *Handler) manyNew(parts []part) bool {
	if len(parts) <= newCalls {
		return false
	}
	fresh := 0
	for i := range parts {
		if _, known := h.table.Find(parts[i].call); !known && !parts[i].ends {
			fresh++
		}
	}
	return fresh > newCalls
}

// decode reads the body. On a call's signed callback URI the body need not name the
// call.
func (h *Handler) decode(q *request) (graph.Message, error) {
	l := h.limits
	l.Addressed = q.handle != nil && !q.handle.Outgoing()
	return graph.Decode(q.body, l)
}

// checkHeaders looks at what can be refused without a token.
func (h *Handler) checkHeaders(r *http.Request) (refusal, bool) {
	switch {
	case r.ContentLength > h.cfg.BodyLimit:
		return refuseTooLarge, true
	case !isJSON(r.Header["Content-Type"]):
		if strings.Contains(r.URL.RawQuery, "validationToken=") {
			h.handshakes.Do(func() {
				h.log.Warn("a handshake of a Graph change notification came to the door of calls: some subscription names this address as its notificationUrl; said once an hour at most",
					"code", refuseHandshake.code)
			})
			return refuseHandshake, true
		}
		return refuseType, true
	case len(r.Header["Content-Encoding"]) > 0:
		return refuseEncoding, true
	}
	return refusal{}, false
}

func isJSON(values []string) bool {
	if len(values) != 1 {
		return false
	}
	switch values[0] {
	case "application/json", "application/json; charset=utf-8":
		return true
	}
	kind, params, err := mime.ParseMediaType(values[0])
	if err != nil || kind != "application/json" {
		return false
	}
	charset, ok := params["charset"]
	return !ok || strings.EqualFold(charset, "utf-8")
}

// readQuery verifies the handle's signature and keeps the hop mark for later:
// it is bound to the call, which only the body names.
func (h *Handler) readQuery(raw string, q *request) error {
	mark, _, ok := query(raw, "h")
	if !ok {
		return ErrForged
	}
	q.mark = mark
	q.from, _, _ = query(raw, traces.MarkParam) // it proves nothing: not worth a refusal
	if q.handle == nil {
		return nil
	}
	s, _, ok := query(raw, "s")
	if !ok {
		return ErrForged
	}
	return h.verifyHandle(q.handle, s, raw)
}

// verifyHandle checks a handle's signature, and that it was made in this founding of
// the region. Only the region itself knows its identity: another one that gets the
// callback URI sends it there.
func (h *Handler) verifyHandle(of *Handle, s, raw string) error {
	short, found, ok := query(raw, "r")
	if !ok || found && short == "" {
		return ErrForged
	}
	of.Identity = short
	if err := h.handles.Verify(*of, s); err != nil {
		return err
	}
	if own := h.shortIdentity(); of.Region == h.cfg.Region && short != "" && own != "" && short != own {
		return ErrForged
	}
	return nil
}

func (h *Handler) shortIdentity() string {
	if h.identity == nil {
		return ""
	}
	return shortIdentity(h.identity())
}

// strip leaves the headers that go on to the bot: the original ones without
// those of the connection, without any that only Tandem may write, and without
// the token, since whoever holds it can speak as the cloud.
func strip(header http.Header) {
	for name := range header {
		if isHopHeader(name) || isOurs(name) || name == "Authorization" {
			delete(header, name)
		}
	}
}

// errTooLarge: the body grew past the limit while it was read.
var errTooLarge = errors.New("reading a body: it is larger than the limit")

// readBody reads a body to its end. A body of known length costs one
// allocation.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if n := r.ContentLength; n >= 0 {
		body := make([]byte, n)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, fmt.Errorf("reading a body of %d bytes: %w", n, err)
		}
		return body, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("reading a body in chunks: %w", err)
	}
	return body, nil
}

func refusalOfToken(err error) refusal {
	if no := (*token.Refusal)(nil); errors.As(err, &no) {
		switch no.Status {
		case http.StatusForbidden:
			return refuseTenant
		case http.StatusServiceUnavailable:
			return refuseTokenLater
		}
		return refuseToken
	}
	return refuseTokenLater
}

func refusalOfBody(err error) refusal {
	if errors.Is(err, errTooLarge) {
		return refuseTooLarge
	}
	return refuseUnreadable
}

func refusalOfDecode(err error) refusal {
	if errors.Is(err, graph.ErrTooMany) {
		return refuseTooMany
	}
	return refuseMalformed
}
