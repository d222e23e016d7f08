package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humahttprouter"

	"tandem/admin/api"
	"tandem/ownership"
)

// Any node shows any region: a read that names another region is sent on to that
// region's doors, as it is, in the name of whoever asked here, and their answer passes
// through. What was sent on is never sent on again.

// Elsewhere reaches the admin doors of the other regions. Their errors wrap
// ownership.ErrUnknown and ownership.ErrUnreachable.
type Elsewhere interface {
	// Get asks a region, bounded in time and size, in the name of ownership.Operator.
	Get(ctx context.Context, region ownership.Region, pathAndQuery string) (*http.Response, error)
	// Stream is the same for an answer that goes on until the context's end.
	Stream(ctx context.Context, region ownership.Region, pathAndQuery string, header http.Header) (*http.Response, error)
}

// abroad is the part of the door that reaches the other regions.
type abroad struct {
	self    ownership.Region
	doors   Elsewhere // nil: nobody reaches them
	regions func() []api.Region
	table   Table
	auth    *guard
	streams *places
	router  http.Handler // this door's own paths
	closing <-chan struct{}
}

// reach says how far a read goes beyond this region.
type reach int

const (
	toOne     reach = iota + 1 // the region that is asked for
	toAll                      // that, or all of them, gathered
	untilOne                   // that, or whichever knows the call
	toldByAll                  // that, with what all regions remember
	asStream                   // the region that is asked for, for as long as it goes on
	inPath                     // the region that its path names
)

const (
	metaReach = "reach" // in an operation's metadata
	forwarded = "Tandem-Forwarded"
	gatherIn  = 3 * time.Second // the time that other regions have, together
)

// far lets a read reach other regions.
func far(op huma.Operation, how reach) huma.Operation {
	op.Metadata[metaReach] = how
	op.Errors = append(op.Errors, http.StatusBadGateway)
	if !strings.Contains(op.Path, "{") {
		op.Errors = append(op.Errors, http.StatusNotFound) // the region
	}
	return op
}

// isAll reports whether all regions are asked for.
func isAll(r ownership.Region) bool { return r == "all" || r == "*" }

// reach sends reads of other regions on, and answers in their place.
func (x *abroad) reach(ctx huma.Context, next func(huma.Context)) {
	how, _ := ctx.Operation().Metadata[metaReach].(reach)
	region := ownership.Region(ctx.Query("region"))
	if how == inPath && ctx.Query("lost") != "true" { // what is lost answers nothing
		region = ownership.Region(ctx.Param("name"))
	}
	if region == x.self || region == "" && how != untilOne && how != toldByAll {
		next(ctx)
		return
	}
	r, w, _ := humahttprouter.Unwrap(ctx)
	if how == 0 { // only the region itself shows its tokens
		writeProblem(w, http.StatusMisdirectedRequest, x.elsewhere(region))
		return
	}
	sent := caller(ctx.Context()).pass != "" || r.Header.Get(forwarded) != ""
	switch {
	case region == "" && how == toldByAll && !sent && x.doors != nil:
		x.witness(ctx.Context(), w, r)
	case region == "":
		if sent || how == toldByAll || !x.search(ctx.Context(), w, r, ctx.Param("id")) {
			next(ctx)
		}
	case isAll(region) && how != toAll:
		writeProblem(w, http.StatusBadRequest, "This is told of one region at a time: name it.")
	case !isAll(region) && !x.knows(region):
		writeProblem(w, http.StatusNotFound, fmt.Sprintf("There is no region %q.", string(region)))
	case sent || x.doors == nil:
		writeProblem(w, http.StatusMisdirectedRequest, x.elsewhere(region))
	case isAll(region):
		x.gather(ctx.Context(), w, r)
	case how == asStream:
		x.passStream(ctx.Context(), w, r, region)
	default:
		resp, err := x.doors.Get(ctx.Context(), region, hence(r, "region"))
		if err != nil {
			refuseWith(w, problem(err))
			return
		}
		defer resp.Body.Close()
		passOn(w, resp, region)
	}
}

// others are the other regions, in the configuration's order.
func (x *abroad) others() (all []ownership.Region) {
	for _, r := range x.regions() {
		if !r.Here {
			all = append(all, r.Name)
		}
	}
	return all
}

func (x *abroad) knows(name ownership.Region) bool {
	return slices.ContainsFunc(x.regions(), func(r api.Region) bool { return r.Name == name })
}

// elsewhere says which door to ask about another region.
func (x *abroad) elsewhere(name ownership.Region) string {
	for _, r := range x.regions() {
		if r.Name == name {
			return fmt.Sprintf("This is a node of %s; ask one of %s at %s.", x.self, name, cmp.Or(r.AdminURL, "its admin door"))
		}
	}
	return fmt.Sprintf("This is a node of %s, and it asks no other one for somebody else.", x.self)
}

// hence is the request's path and query without some of its parameters: older software
// knows no region.
func hence(r *http.Request, without ...string) string {
	q := r.URL.Query()
	for _, name := range without {
		q.Del(name)
	}
	if len(q) == 0 {
		return r.URL.EscapedPath()
	}
	return r.URL.EscapedPath() + "?" + q.Encode()
}

// refuseWith writes a problem.
func refuseWith(w http.ResponseWriter, err error) {
	status := statusOf(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	writeProblem(w, status, err.Error())
}

// passOn answers with what another region answered. What that door has against this node is
// no fault of whoever asked here.
func passOn(w http.ResponseWriter, resp *http.Response, region ownership.Region) {
	h := w.Header()
	for name, values := range resp.Header {
		if name == "Content-Type" || name == "Retry-After" || strings.HasPrefix(name, "Tandem-") {
			h[name] = values
		}
	}
	h.Set("Tandem-Region", string(region))
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest, http.StatusTooManyRequests:
		writeProblem(w, http.StatusBadGateway, refusalOf(resp, region).Error())
		return
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // a caller that has gone needs no answer
}

// refusalOf says what another region's door has against a request.
func refusalOf(resp *http.Response, region ownership.Region) error {
	var told huma.ErrorModel
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // half a problem still has its status
	if json.Unmarshal(text, &told) != nil || told.Detail == "" {
		told.Detail = "it says no more"
	}
	return fmt.Errorf("region %s answers %d: %s", region, resp.StatusCode, told.Detail)
}

// answerOf is one region's whole answer.
type answerOf struct {
	region ownership.Region
	status int
	header http.Header
	body   []byte
	err    error // it did not answer, or refused
}

func (a answerOf) reader() io.ReadCloser { return io.NopCloser(bytes.NewReader(a.body)) }

// askAll asks regions at the same time, and gives each answer as it comes.
func (x *abroad) askAll(ctx context.Context, paths map[ownership.Region]string) <-chan answerOf {
	answers := make(chan answerOf, len(paths))
	for region, path := range paths {
		go func() {
			a := answerOf{region: region}
			defer func() { answers <- a }()
			resp, err := x.doors.Get(ctx, region, path)
			if a.err = err; err != nil {
				return
			}
			defer resp.Body.Close()
			if a.status, a.header = resp.StatusCode, resp.Header; a.status != http.StatusOK {
				a.err = refusalOf(resp, region)
				return
			}
			a.body, a.err = io.ReadAll(resp.Body)
		}()
	}
	return answers
}

// search answers with what the region says that knows a call which this one does not;
// false: none does.
func (x *abroad) search(ctx context.Context, w http.ResponseWriter, r *http.Request, raw string) bool {
	id, err := ownership.ParseCallID(raw)
	if _, here := x.table.Call(id); err != nil || here || x.doors == nil {
		return false
	}
	paths := map[ownership.Region]string{}
	for _, region := range x.others() {
		paths[region] = hence(r)
	}
	ctx, cancel := context.WithTimeout(ctx, gatherIn)
	defer cancel()
	var missing []error
	answers := x.askAll(ctx, paths)
	for left := len(paths) - 1; left >= 0; left-- {
		switch a := <-answers; {
		case a.err == nil:
			defer func() { // the others are not waited for: they are told to end
				cancel()
				for range left {
					<-answers
				}
			}()
			passOn(w, &http.Response{StatusCode: a.status, Header: a.header, Body: a.reader()}, a.region)
			return true
		case a.status != http.StatusNotFound:
			missing = append(missing, a.err)
		}
	}
	if len(missing) == 0 {
		return false
	}
	refuseWith(w, unavailable(fmt.Sprintf("Region %s knows no call %s, and not all others can be asked: %s.", x.self, id, errors.Join(missing...))))
	return true
}

// passStream passes another region's events on until the reader's token ends.
func (x *abroad) passStream(ctx context.Context, w http.ResponseWriter, r *http.Request, region ownership.Region) {
	reader := caller(ctx)
	if !x.streams.enter(reader.hash) {
		refuseWith(w, unavailable(busyStreams))
		return
	}
	defer x.streams.leave(reader.hash)
	ctx, cancel := context.WithCancel(ctx)
	closed := make(chan struct{})
	defer func() { cancel(); <-closed }()
	go func() {
		defer close(closed)
		select {
		case <-x.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	header := http.Header{"Accept": {"text/event-stream"}}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		header.Set("Last-Event-ID", last)
	}
	resp, err := x.doors.Stream(ctx, region, hence(r, "region"), header)
	if err != nil {
		refuseWith(w, problem(err))
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		passOn(w, resp, region)
		return
	}
	w.Header().Set("Tandem-Region", string(region))
	s := newEventStream(w, true)
	for buf := make([]byte, 32<<10); ; {
		n, err := resp.Body.Read(buf)
		if !x.auth.still(reader, api.RoleRead) || err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
			panic(http.ErrAbortHandler) // an orderly end would say that there are no more
		}
		if _, wrong := s.w.Write(buf[:n]); wrong != nil || s.flush() != nil || err != nil {
			return
		}
	}
}
