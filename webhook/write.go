package webhook

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"tandem/graph"
	"tandem/ownership"
)

// Retry-After in seconds: spread, so that callers turned away together do not
// come back together. A recording rings for 5 s only: it comes back at once. So does
// any call that rings where this node cannot help and another may, as when this one
// is cut off: it has 15 s, and the name that it is posted to leads to any node.
const (
	retryLeast = 1
	retryMost  = 3
)

func retryAfter(hurried bool) string {
	if hurried {
		return strconv.Itoa(retryLeast)
	}
	return strconv.Itoa(retryLeast + rand.IntN(retryMost-retryLeast+1))
}

// local reports whether another node may do what this one refuses.
func (r *refusal) local() bool {
	return r != nil && (*r == refuseNoLeader || *r == refuseNoLease || *r == refuseBehind)
}

// bodies holds each refusal's body, written once.
var bodies = func() map[string][]byte {
	m := map[string][]byte{}
	for _, r := range refusals {
		type inner struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		}
		b, err := json.Marshal(map[string]inner{"error": {r.code, r.text}})
		if err != nil {
			panic(err) // fixed texts
		}
		m[r.code] = append(b, '\n')
	}
	return m
}()

// write sends a result; hurried says that the call has little time left.
func (h *Handler) write(w http.ResponseWriter, res result, hurried bool) {
	head := w.Header()
	switch {
	case res.refused != nil:
		writeRefusal(w, *res.refused, hurried)
	case res.reply != nil:
		writeReply(w, *res.reply)
	case res.location != "":
		head.Set("Location", res.location)
		head.Set("Cache-Control", "no-store") // one notification was redirected, not the address
		w.WriteHeader(res.status)
	default:
		w.WriteHeader(res.status)
	}
}

func writeRefusal(w http.ResponseWriter, r refusal, hurried bool) {
	head := w.Header()
	head.Set("Content-Type", "application/json")
	head.Set("X-Content-Type-Options", "nosniff")
	writeBare(w, r, hurried)
	w.Write(bodies[r.code]) //nolint:errcheck // the caller has gone; there is nobody to tell
}

// writeBare refuses without a body.
func writeBare(w http.ResponseWriter, r refusal, hurried bool) {
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	switch r.status {
	case http.StatusUnauthorized:
		head.Set("WWW-Authenticate", `Bearer error="invalid_token"`) // RFC 6750, section 3
	case http.StatusServiceUnavailable:
		head.Set("Retry-After", retryAfter(hurried))
	case http.StatusRequestEntityTooLarge:
		head.Set("Connection", "close")
	}
	w.WriteHeader(r.status)
}

// writeReply passes the bot's answer through, byte for byte.
func writeReply(w http.ResponseWriter, reply ownership.Reply) {
	head := w.Header()
	for name, values := range reply.Header {
		name = http.CanonicalHeaderKey(name)
		if isHopHeader(name) || isOurs(name) {
			continue
		}
		head[name] = append([]string(nil), values...)
	}
	w.WriteHeader(reply.Status)
	w.Write(reply.Body) //nolint:errcheck // the caller has gone; there is nobody to tell
}

// passable reports whether a bot's status may go to the cloud. Redirects are
// the router's: a Location comes from the configuration or not at all.
func passable(status int) bool {
	return status >= 200 && status < 300 || status >= 400 && status < 600
}

// isHopHeader knows the headers that belong to one connection (RFC 9110,
// section 7.6.1), and Content-Length, which is counted anew.
func isHopHeader(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length":
		return true
	}
	return false
}

// isOurs knows the headers that only Tandem writes.
func isOurs(name string) bool {
	return strings.HasPrefix(name, "Tandem-") || name == "Location"
}

// echoed are the ids that a response carries back, as the cloud's own samples
// do.
var echoed = []string{"Client-Request-Id", "Scenario-Id"}

func echo(to, from http.Header) {
	for _, name := range echoed {
		if v := from[name]; len(v) == 1 && graph.IsPlain(v[0]) {
			to[name] = v
		}
	}
}
