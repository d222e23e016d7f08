package graphsim

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Endpoint names one of the cloud's own endpoints.
type Endpoint string

// The endpoints that can fail.
const (
	EndpointOpenID Endpoint = "openid"
	EndpointKeys   Endpoint = "keys"
	EndpointToken  Endpoint = "token"
	EndpointCalls  Endpoint = "calls"
)

// Fault is what an endpoint does instead of, or before, its work (faults.md F38,
// F41, F42). The zero Fault is none.
type Fault struct {
	Share      float64       // of requests; 0: all
	Delay      time.Duration // before anything else
	Status     int           // instead of the work; 0: after the delay it works
	RetryAfter string        // header of that response, as it stands
	Body       FaultBody
	Location   string // with a 3xx Status
	Reset      bool   // drop the connection without a response
}

// FaultBody is what a failing endpoint writes.
type FaultBody int

// The bodies of a failing endpoint.
const (
	BodyEmpty   FaultBody = iota
	BodyHTML              // a captive portal's page
	BodyHuge              // 100 MB of spaces
	BodyNoKeys            // {"keys":[]}
	BodyHalf              // a length that is not kept, then the connection ends
	BodyGarbage           // bytes that are no JSON
)

// faults keeps the fault and the number of requests of each endpoint.
type faults struct {
	mu    sync.Mutex
	set   map[Endpoint]Fault
	count map[Endpoint]int
	dice  *dice
}

// SetFault makes an endpoint fail from now on; the zero Fault heals it.
func (c *Cloud) SetFault(e Endpoint, f Fault) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	if f != (Fault{}) && f.Share == 0 {
		f.Share = 1
	}
	c.faults.set[e] = f
}

// Requests returns the number of requests an endpoint has had.
func (c *Cloud) Requests(e Endpoint) int {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	return c.faults.count[e]
}

// around wraps an endpoint's work with its fault.
func (f *faults) around(e Endpoint, work http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.count[e]++
		fault := f.set[e]
		f.mu.Unlock()
		if fault.Share == 0 || !f.dice.chance(fault.Share) {
			work(w, r)
			return
		}
		if wait(r.Context(), fault.Delay) != nil {
			return
		}
		switch {
		case fault.Reset:
			panic(http.ErrAbortHandler)
		case fault.Status == 0 && fault.Body == BodyEmpty:
			work(w, r)
		default:
			fault.write(w)
		}
	}
}

func (f Fault) write(w http.ResponseWriter) {
	for name, value := range map[string]string{"Retry-After": f.RetryAfter, "Location": f.Location} {
		if value != "" {
			w.Header().Set(name, value)
		}
	}
	status := f.Status
	set(&status, http.StatusOK)
	body := ""
	switch f.Body {
	case BodyHTML:
		w.Header().Set("Content-Type", "text/html")
		body = "<html><body>Please sign in</body></html>"
	case BodyNoKeys:
		body = `{"keys":[]}`
	case BodyGarbage:
		body = "{\"keys\":[\x00\xff"
	case BodyHalf:
		w.Header().Set("Content-Length", strconv.Itoa(1<<10))
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"keys":[{"kty":`)) // the reader sees the early end
		panic(http.ErrAbortHandler)
	case BodyHuge:
		w.WriteHeader(status)
		page := []byte(strings.Repeat(" ", 1<<20))
		for range 100 {
			if _, err := w.Write(page); err != nil {
				return // the reader had enough
			}
		}
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // a reader that left needs no answer
}
