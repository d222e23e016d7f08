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

// Refusal is the door's answer to what a page asked or wanted done.
type Refusal struct {
	Status int
	Text   string
}

func (r *Refusal) Error() string { return r.Text }

// Reader is who looks at the pages.
type Reader struct {
	Name    string // empty: nobody has entered
	Operate bool   // may change things
}

// Source is what the pages show.
type Source interface {
	// Frame is what every page shows around its content.
	Frame() Frame
	// Ask has the door answer one request of its API, in the name of whom Enter let in: a
	// page shows what the API tells, and changes what the API lets the reader change, with
	// the API's line in the audit log. body nil: none; out nil: the answer's is not read.
	// from is the region that answered, empty for this one. A *Refusal says what the door
	// has against it.
	Ask(ctx context.Context, method, path string, body, out any) (from ownership.Region, err error)
	// File serves one answer of that API as it comes, in the same name.
	File(w http.ResponseWriter, r *http.Request, path string)
	// Latest returns the newest events that a filter takes, newest first, and the id of the
	// newest one of all.
	Latest(f EventFilter, limit int) (events []history.Event, newest uint64, err error)
	// Stream serves the events after the request's Last-Event-ID for as long as the
	// session opens the pages.
	Stream(w http.ResponseWriter, r *http.Request, session string)
	// Login judges a token: a new session where it may read, else the status and
	// the text to refuse it with.
	Login(r *http.Request, token string) (session string, status int, text string)
	// Enter judges a session: who it is, with a context in their name, where its token may
	// read still, else the status and the text to refuse it with. An empty session is judged
	// too: without tokens set up, everybody on loopback may read.
	Enter(r *http.Request, session string) (ctx context.Context, who Reader, status int, text string)
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

// names are the pages' templates.
var names = []string{"overview", "calls", "call", "events", "nodes", "node", "partitions", "partition", "regions", "region", "rules", "tokens", "audit", "peers", "certificates", "pulse", "ledger", "entry", "login", "trouble"}

// New prepares the pages; secure marks the cookie for https only.
func New(source Source, log *slog.Logger, secure bool) (*Console, error) {
	c := &Console{source: source, log: log, secure: secure, pages: map[string]*template.Template{}}
	for _, name := range names {
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
	}
	session := sessionOf(r)
	ctx, who, status, text := c.source.Enter(r, session)
	switch {
	case who.Name != "" && path == "stream":
		c.source.Stream(w, r, session)
	case who.Name != "":
		c.serve(w, r.WithContext(ctx), who, path)
	case path == "stream":
		http.Error(w, text, status)
	case status == http.StatusUnauthorized && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		http.Redirect(w, r, Root+"login?"+url.Values{"next": {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
	default:
		c.trouble(w, r, who, status, text)
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

// view is what a template gets.
type view struct {
	Frame
	Reader Reader
	Page   string
	At     ownership.Region // the region that the page is about; empty: this one
	Act    string           // the change that the page asks to confirm; empty: none
	Query  url.Values
	Search string // what was looked for last
	Every  int    // it renews itself after so many seconds; 0: it does not
	Said   string // what a change has done, in a sentence
	Failed string // or why it was not done
	Body   any
}

// trouble shows a page that says what is wrong.
func (c *Console) trouble(w http.ResponseWriter, r *http.Request, who Reader, status int, text string) {
	c.show(w, r, view{Reader: who, Page: "trouble", Search: r.URL.Query().Get("q"), Body: struct {
		Title string
		Text  string
	}{http.StatusText(status), text}}, status)
}

// show fills a page in full before the first byte goes out: half a page would
// have the wrong status.
func (c *Console) show(w http.ResponseWriter, r *http.Request, v view, status int) {
	if v.Reader.Name != "" {
		v.Frame = c.source.Frame() // who has not entered learns nothing of the region
	}
	var out bytes.Buffer
	if err := c.pages[v.Page].Execute(&out, v); err != nil {
		c.log.Error("making a console page failed", "page", v.Page, "err", err)
		http.Error(w, "This page could not be made.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = out.WriteTo(w) // a reader that has gone needs no answer
	}
}
