package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"tandem/admin/api"
	"tandem/admin/console"
	"tandem/ownership"
	"tandem/ownership/history"
)

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

// consoleSource shows the console what the API tells. Its pages ask this door's own router
// in the reader's name: so there is one rule of who may do what, one check of what is asked,
// and one audit log.
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
func (s consoleSource) Enter(r *http.Request, session string) (context.Context, console.Reader, int, string) {
	who, refused := s.enter(r, session)
	if refused != nil {
		return r.Context(), console.Reader{}, refused.status, refused.text
	}
	ctx := context.WithValue(context.WithValue(r.Context(), pageReader{}, who), pageFrom{}, r.RemoteAddr)
	return ctx, console.Reader{Name: who.Name, Operate: who.may(api.RoleOperate)}, http.StatusOK, ""
}

func (s consoleSource) enter(r *http.Request, session string) (visitor, *refusal) {
	if s.d.auth.open() {
		session = ""
	} else if session != "" {
		if who, ok := s.d.sessions.find(session); ok {
			if who, refused := s.d.auth.known(who.hash, s.d.now()); refused == nil && who.may(api.RoleRead) {
				return who, nil
			}
		}
		return visitor{}, refusedToken
	}
	return s.d.auth.enter(r, session)
}

// pageFrom is in that context, too: the address of the reader's browser.
type pageFrom struct{}

// Ask has the router answer as it answers any client.
func (s consoleSource) Ask(ctx context.Context, method, path string, body, out any) (ownership.Region, error) {
	var sent io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return "", fmt.Errorf("asking for a page: %w", err)
		}
		sent = bytes.NewReader(text)
	}
	r, err := asked(ctx, method, path, sent)
	if err != nil {
		return "", err
	}
	got := &ownAnswer{header: http.Header{}}
	s.d.router.ServeHTTP(got, r)
	if got.status/100 != 2 {
		return "", &console.Refusal{Status: got.status, Text: problemText(got.body.Bytes())}
	}
	if out != nil {
		if err := json.Unmarshal(got.body.Bytes(), out); err != nil {
			return "", fmt.Errorf("reading the answer of %s: %w", path, err)
		}
	}
	return ownership.Region(got.header.Get("Tandem-Region")), nil
}

// asked is a request that the door's own router answers in a reader's name.
func asked(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, path, body)
	if err != nil {
		return nil, fmt.Errorf("asking for a page: %w", err)
	}
	r.RemoteAddr, _ = ctx.Value(pageFrom{}).(string)
	r.Header.Set("Content-Type", "application/json")
	return r, nil
}

// File has the router answer the browser itself.
func (s consoleSource) File(w http.ResponseWriter, r *http.Request, path string) {
	ask, err := asked(r.Context(), r.Method, path, http.NoBody)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.d.router.ServeHTTP(w, ask)
}

// problemText is a problem in one line for people.
func problemText(body []byte) string {
	var told huma.ErrorModel
	if json.Unmarshal(body, &told) != nil || told.Detail == "" {
		return "The door says no more."
	}
	text := told.Detail
	for _, e := range told.Errors {
		text += " " + strings.TrimPrefix(e.Location, "body.") + ": " + e.Message + "."
	}
	return text
}

// Logout ends a session.
func (s consoleSource) Logout(session string) { s.d.sessions.end(session) }

// Frame returns what stands around every page.
func (s consoleSource) Frame() console.Frame {
	st, silent := s.d.status(), s.d.silences()
	f := console.Frame{
		Deployment: st.Deployment, Region: st.Region, Node: st.Node, Version: cmp.Or(st.Version, "dev"),
		Applied: s.d.deps.Table.Applied(), Now: st.Now, Open: s.d.auth.open(), Silent: silent,
		Warnings: slices.DeleteFunc(st.Warnings, func(text string) bool { return slices.Contains(silent, text) }),
	}
	for _, r := range s.d.regions() {
		f.Regions = append(f.Regions, r.Name)
	}
	return f
}

// eventsSought is how far back the newest events are looked for that a page shows.
const eventsSought = 4096

// Latest returns the newest events that a filter takes.
func (s consoleSource) Latest(f console.EventFilter, limit int) (out []history.Event, newest uint64, err error) {
	latest, err := s.d.deps.Journal.Latest(eventsSought)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range slices.Backward(latest) {
		newest = max(newest, e.ID)
		if len(out) < limit && f.Takes(e) {
			out = append(out, e)
		}
	}
	if f.Call != "" && len(out) < limit {
		if out, err = s.d.deps.Journal.Timeline(ownership.CallID(f.Call)); err != nil {
			return nil, 0, err
		}
		out = slices.DeleteFunc(out, func(e history.Event) bool { return !f.Takes(e) })
		slices.Reverse(out)
		out = out[:min(limit, len(out))]
	}
	return out, newest, nil
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
