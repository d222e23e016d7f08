package webhook

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/julienschmidt/httprouter"

	"tandem/spelling"
)

// routes builds the router. Its defaults answer an unclean path with a redirect
// to whatever host the request named (an open redirect), so they are off; and
// cleanTarget lets only clean paths reach it, since it passes `..`, NUL and
// line breaks in parameters.
func (h *Handler) routes() *httprouter.Router {
	r := httprouter.New()
	r.RedirectTrailingSlash = false
	r.RedirectFixedPath = false
	r.HandleOPTIONS = false
	r.HandleMethodNotAllowed = true
	for _, path := range h.cfg.paths() {
		r.POST(path, h.servePlain)
		r.POST(path+"/:region/:partition/:epoch/:ref", h.serveHandle)
	}
	if p := h.cfg.HealthPath; p != "" {
		r.GET(p, h.serveHealth)
		r.HEAD(p, h.serveHealth)
	}
	r.NotFound = http.HandlerFunc(h.serveNotFound)
	r.MethodNotAllowed = http.HandlerFunc(h.serveWrongMethod)
	return r
}

// paths are those at which notifications arrive: the webhook's, and the same below the
// path of the base URLs. What stands in front of this node may take that path away, or
// not.
func (c Config) paths() []string {
	all := []string{c.Path}
	for _, base := range []string{c.RegionURL, c.PublicURL} {
		if u, err := url.Parse(base); err == nil && !slices.Contains(all, u.Path+c.Path) {
			all = append(all, u.Path+c.Path)
		}
	}
	return all
}

// serveHealth answers a probe, without a body and without a line in the log.
func (h *Handler) serveHealth(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	w.Header().Set("Cache-Control", "no-store")
	if h.healthy != nil && !h.healthy(r.Context()) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// cleanTarget reports whether the request's target is spelled in the one way
// that this door knows: no escapes, no empty or dotted segments.
func cleanTarget(r *http.Request) bool {
	return r.URL.RawPath == "" && !r.URL.ForceQuery && spelling.IsPath(r.URL.Path)
}

// query returns the value of a parameter that stands at most once. The values we
// write need no escapes, so none are read.
func query(raw, name string) (value string, found, ok bool) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		key, v, _ := strings.Cut(pair, "=")
		if key != name {
			continue
		}
		if found {
			return "", true, false
		}
		value, found = v, true
	}
	return value, found, true
}

// baseCache remembers which base URLs of the table may begin a Location or a
// callback URI. A join checks them too; checking again here keeps a bad record
// out of every Location.
type baseCache struct{ seen sync.Map }

func (c *baseCache) good(base string) bool {
	if v, ok := c.seen.Load(base); ok {
		return v.(bool)
	}
	ok := spelling.PublicURL(base) == nil
	c.seen.Store(base, ok)
	return ok
}
