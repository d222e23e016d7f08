// Package console holds the pages with which a person looks at a region. They
// are made on the server and read well without JavaScript; a little script
// renews the overview and follows the events. Nothing comes from elsewhere:
// templates, style and script are inside the program, and the pages' content
// security policy lets nothing else in.
package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tandem/ownership"
	"tandem/ownership/history"
)

//go:embed pages static
var files embed.FS

// Root is the path under which the console lives.
const Root = "/console/"

// cookieName is the cookie that keeps the session's id: for this path only, out of
// scripts' reach, never sent from other sites.
const cookieName = "tandem_session"

// SessionLife is how long a login lasts, and a browser keeps the cookie.
const SessionLife = 12 * time.Hour

// policy lets the pages use this program's own files only. Templates hold no
// inline style and no inline script.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// What a Source returns for a call that no region knows, and where not all regions can be
// asked.
var (
	ErrNotFound    = errors.New("no region knows such a call")
	ErrUnreachable = errors.New("the other region cannot be asked")
)

// Source is what the pages show.
type Source interface {
	// Frame is what every page shows around its content.
	Frame() Frame
	Overview() Overview
	// Calls returns one page of calls, of another region too; an error is the reader's
	// mistake, or ErrUnreachable. ctx names the reader (ownership.By).
	Calls(ctx context.Context, q Query) (Calls, error)
	// Call returns one call of whichever region has it, or ErrNotFound, ErrUnreachable, or
	// another error for a bad id.
	Call(ctx context.Context, id string) (Call, error)
	// Latest returns the newest events, newest first.
	Latest() []history.Event
	// Stream serves the events after the request's Last-Event-ID for as long as the
	// session opens the pages.
	Stream(w http.ResponseWriter, r *http.Request, session string)
	// Login judges a token: a new session where it may read, else the status and
	// the text to refuse it with.
	Login(r *http.Request, token string) (session string, status int, text string)
	// Enter judges a session: a name where its token may read still, else the
	// status and the text to refuse it with. An empty session is judged too:
	// without tokens set up, everybody on loopback may read.
	Enter(r *http.Request, session string) (name string, status int, text string)
	// Logout ends a session.
	Logout(session string)
}

// Console is the pages as an http.Handler for Root and everything below.
type Console struct {
	source Source
	log    *slog.Logger
	secure bool
	pages  map[string]*template.Template
	static http.Handler
}

// New prepares the pages; secure marks the cookie for https only.
func New(source Source, log *slog.Logger, secure bool) (*Console, error) {
	c := &Console{source: source, log: log, secure: secure, pages: map[string]*template.Template{}}
	for _, name := range []string{"overview", "calls", "call", "events", "login", "trouble"} {
		t, err := template.New("frame.html").Funcs(functions).ParseFS(files, "pages/frame.html", "pages/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("reading the console's pages: %w", err)
		}
		c.pages[name] = t
	}
	static, err := fs.Sub(files, "static")
	if err != nil {
		return nil, fmt.Errorf("reading the console's files: %w", err)
	}
	c.static = http.StripPrefix(Root+"static/", http.FileServerFS(static))
	return c, nil
}

// ServeHTTP answers one request. Everything but the login page and the style
// needs a reader.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	path := strings.TrimPrefix(r.URL.Path, Root)
	switch {
	case strings.HasPrefix(path, "static/") && path != "static/":
		w.Header().Set("Cache-Control", "public, max-age=300")
		c.static.ServeHTTP(w, r)
		return
	case path == "login":
		c.login(w, r)
		return
	case path == "logout" && r.Method == http.MethodPost:
		c.source.Logout(sessionOf(r))
		c.forget(w)
		http.Redirect(w, r, Root+"login", http.StatusSeeOther)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		c.trouble(w, r, "", http.StatusMethodNotAllowed, "This page is for reading.")
		return
	}
	session := sessionOf(r)
	name, status, text := c.source.Enter(r, session)
	switch {
	case name != "" && path == "stream":
		c.source.Stream(w, r, session)
	case name != "":
		c.page(w, r, name, path)
	case path == "stream":
		http.Error(w, text, status)
	case status == http.StatusUnauthorized:
		http.Redirect(w, r, Root+"login?"+url.Values{"next": {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
	default:
		c.trouble(w, r, "", status, text)
	}
}

// sessionOf returns the id that a browser keeps; empty: none.
func sessionOf(r *http.Request) string {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// page answers a reader.
func (c *Console) page(w http.ResponseWriter, r *http.Request, reader, path string) {
	call, isCall := strings.CutPrefix(path, "calls/")
	ctx := ownership.By(r.Context(), reader)
	switch {
	case path == "":
		c.show(w, r, reader, "overview", http.StatusOK, c.source.Overview())
	case path == "calls":
		q := queryOf(r.URL.Query())
		calls, err := c.source.Calls(ctx, q)
		if err != nil {
			c.trouble(w, r, reader, statusOf(err), err.Error())
			return
		}
		calls.Query = q
		c.show(w, r, reader, "calls", http.StatusOK, calls)
	case isCall:
		found, err := c.source.Call(ctx, call)
		switch {
		case errors.Is(err, ErrNotFound):
			c.trouble(w, r, reader, http.StatusNotFound, "No region knows a call "+call+".")
		case err != nil:
			c.trouble(w, r, reader, statusOf(err), err.Error())
		default:
			c.show(w, r, reader, "call", http.StatusOK, found)
		}
	case path == "events":
		c.show(w, r, reader, "events", http.StatusOK, c.source.Latest())
	default:
		c.trouble(w, r, reader, http.StatusNotFound, "There is no such page.")
	}
}

func statusOf(err error) int {
	if errors.Is(err, ErrUnreachable) {
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// view is what a template gets.
type view struct {
	Frame
	Page   string
	Reader string // empty: nobody is logged in
	Body   any
}

// trouble shows a page that says what is wrong.
func (c *Console) trouble(w http.ResponseWriter, r *http.Request, reader string, status int, text string) {
	c.show(w, r, reader, "trouble", status, struct {
		Status int
		Title  string
		Text   string
	}{status, http.StatusText(status), text})
}

// show fills a page in full before the first byte goes out: half a page would
// have the wrong status.
func (c *Console) show(w http.ResponseWriter, r *http.Request, reader, page string, status int, body any) {
	v := view{Page: page, Reader: reader, Body: body}
	if reader != "" {
		v.Frame = c.source.Frame() // who has not entered learns nothing of the region
	}
	var out bytes.Buffer
	if err := c.pages[page].Execute(&out, v); err != nil {
		c.log.Error("making a console page failed", "page", page, "err", err)
		http.Error(w, "This page could not be made.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = out.WriteTo(w) // a reader that has gone needs no answer
	}
}
