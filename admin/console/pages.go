package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"tandem/ownership"
)

// A page asks the API what it shows. It gets the rest of its path and what the reader asked,
// and returns its template and what stands in it.
type page func(a *asking) (template string, body any, err error)

// asking is one request for a page.
type asking struct {
	ctx    context.Context
	source Source
	who    Reader
	id     string           // of the thing that the page is about; empty: of all
	q      url.Values       // the query
	at     ownership.Region // empty: this one
	form   url.Values       // what a change was asked with and could not be done
	leads  string           // instead of a page: where to go
}

// pages are the pages by the first part of their paths.
var pages = map[string]page{
	"": overview, "calls": calls, "search": search, "events": events, "nodes": nodes, "partitions": partitions, "regions": regions,
	"rules": rules, "tokens": tokens, "audit": audit, "peers": peers, "certificates": certificates, "pulse": pulse, "ledger": ledgerPage,
}

// every is after how many seconds a page's parts that are marked with data-renew are fetched
// again.
var every = map[string]int{
	"overview": 2, "calls": 5, "call": 2, "nodes": 5, "node": 2, "partitions": 5, "partition": 2, "regions": 2, "region": 5, "peers": 2, "audit": 5, "pulse": 10,
}

// everyFar is that of a call's page where there are other regions: each of them is asked, too.
const everyFar = 10

// get asks the API, of the region that the page is about.
func (a *asking) get(out any, path string, query ...string) (ownership.Region, error) {
	return a.source.Ask(a.ctx, http.MethodGet, address(path, a.at, query...), nil, out)
}

// address is a path of the API with a query, names and values in turn; empty values are left out.
func address(path string, at ownership.Region, query ...string) string {
	v := url.Values{}
	if at != "" {
		v.Set("region", string(at))
	}
	for i := 0; i+1 < len(query); i += 2 {
		if query[i+1] != "" {
			v.Add(query[i], query[i+1])
		}
	}
	if len(v) > 0 {
		path += "?" + v.Encode()
	}
	return path
}

// serve answers a reader.
func (c *Console) serve(w http.ResponseWriter, r *http.Request, who Reader, path string) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch file, err := ledgerFile(path, r.URL.Query()); {
		case err != nil:
			status, text := refusalOf(err)
			c.trouble(w, r, who, status, text)
		case file != "":
			c.source.File(w, r, file)
		default:
			c.look(w, r, who, path, nil, nil)
		}
	case http.MethodPost:
		c.change(w, r, who, path)
	default:
		c.trouble(w, r, who, http.StatusMethodNotAllowed, "This page is for reading.")
	}
}

// look shows a page; failed is why a change was not done that was asked there by a form.
func (c *Console) look(w http.ResponseWriter, r *http.Request, who Reader, path string, failed error, form url.Values) {
	first, id, named := strings.Cut(path, "/")
	make, ok := pages[first]
	if !ok || named && id == "" {
		c.trouble(w, r, who, http.StatusNotFound, "There is no such page.")
		return
	}
	a := &asking{ctx: r.Context(), source: c.source, who: who, id: id, q: r.URL.Query(), at: ownership.Region(r.URL.Query().Get("region")), form: form}
	if a.at == c.source.Frame().Region {
		a.at = ""
	}
	template, body, err := make(a)
	switch {
	case err != nil:
		status, text := refusalOf(errors.Join(failed, err))
		c.trouble(w, r, who, status, text)
	case a.leads != "":
		http.Redirect(w, r, a.leads, http.StatusSeeOther)
	default:
		v := view{Reader: who, Page: template, At: a.at, Act: a.q.Get("act"), Query: a.q, Said: saids[a.q.Get("did")], Search: a.q.Get("q"), Body: body}
		if one, ok := body.(Call); v.Act == "" && failed == nil && (!ok || one.Lives) {
			v.Every = every[template]
			if ok && len(c.source.Frame().Regions) > 1 {
				v.Every = everyFar
			}
		}
		status := http.StatusOK
		if failed != nil {
			status, v.Failed = refusalOf(failed)
			v.Said, v.Act = "", ""
		}
		c.show(w, r, v, status)
	}
}

// refusalOf says what to answer with.
func refusalOf(err error) (status int, text string) {
	var told *Refusal
	if errors.As(err, &told) {
		return told.Status, told.Text
	}
	return http.StatusInternalServerError, err.Error()
}

// statusOf is the status of a refusal; 0: err is none.
func statusOf(err error) int {
	var told *Refusal
	if errors.As(err, &told) {
		return told.Status
	}
	return 0
}

// v1 is a path of the API.
func v1(parts ...string) string {
	path := "/v1"
	for _, p := range parts {
		path += "/" + url.PathEscape(p)
	}
	return path
}

// Link is a page's address with the region that this page is about. What comes after "?" is
// its query, names and values in turn; empty values are left out.
func (v view) Link(parts ...any) string { return link(v.At, parts...) }

func link(at ownership.Region, parts ...any) string {
	path, q, query := []string{}, url.Values{}, false
	for i := 0; i < len(parts); i++ {
		switch text := word(parts[i]); {
		case text == "?":
			query = true
		case !query:
			path = append(path, url.PathEscape(text))
		case i+1 < len(parts):
			if value := word(parts[i+1]); value != "" {
				q.Set(text, value)
			}
			i++
		}
	}
	if at != "" && !q.Has("region") {
		q.Set("region", string(at))
	}
	out := Root + strings.Join(path, "/")
	if len(q) > 0 {
		out += "?" + q.Encode()
	}
	return out
}

// Is reports whether the page belongs to an entry of the menu.
func (v view) Is(entry string) bool {
	return v.Page == entry || v.Page+"s" == entry
}

// Here reports whether the page is about this node's region.
func (v view) Here() bool { return v.At == "" }

// Place is the region that the page is about.
func (v view) Place() ownership.Region { return cmp.Or(v.At, v.Region) }

// May reports whether the reader may change what the page shows.
func (v view) May() bool { return v.Reader.Operate && v.Here() }
