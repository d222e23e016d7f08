package admin

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tandem/admin/console"
	"tandem/doorway"
)

// NewServer returns an http.Server with the door's limits: 32 KiB of headers
// within 5 s, 30 s for the rest of a request and for its answer (streams and
// snapshots extend their own), and an idle time above that of balancers. Its Shutdown ends the event streams.
func NewServer(d *Door) *http.Server {
	s := &http.Server{
		Handler:           d,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       620 * time.Second,
		MaxHeaderBytes:    32 << 10,
	}
	s.RegisterOnShutdown(d.Close)
	return s
}

// outer is what every request passes first: the headers that browsers heed, a
// bound on the body, and a refusal of requests that another site's page made a
// browser send.
func (d *Door) outer(inner http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusForbidden, "Another site's page sent this request.")
	}))
	checked := cross.Handler(sameSite(inner))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if strings.ContainsRune(r.URL.Path, 0) {
			writeProblem(w, http.StatusBadRequest, "The path holds a NUL.")
			return
		}
		if r.URL.Path != "/v1/snapshot" {
			// On a copy: the server looks at the body of its own request to see
			// whether it was read to the end. If it found a wrapped one there, it
			// would take what is left of a refused body for the next request.
			bounded := *r
			bounded.Body = http.MaxBytesReader(w, r.Body, d.cfg.BodyLimit)
			r = &bounded
		}
		checked.ServeHTTP(w, r)
	})
}

// sameSite refuses reads, too, that a page of another site made a browser send:
// such a page cannot see the answer, but a snapshot or a profile costs. Links to
// the console's pages are no harm.
func sameSite(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		stranger := site == "cross-site" || site == "same-site"
		if origin := r.Header.Get("Origin"); site == "" && origin != "" {
			u, err := url.Parse(origin)
			stranger = err != nil || u.Host != r.Host
		}
		link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && (r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, console.Root))
		if stranger && !link {
			writeProblem(w, http.StatusForbidden, "Another site's page sent this request.")
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// Listener bounds the connections of a listener: so many at a time, a quarter of them
// from one address. When the places are taken, whoever has been idle the longest
// without a token of this door gives way, and some are always kept for newcomers, such
// as probes. The server must be watched: Door.Watch.
func Listener(l net.Listener, all int) *doorway.Door {
	return doorway.New(l, doorway.Config{All: all, Each: max(1, all/4)})
}
