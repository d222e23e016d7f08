// Package machine simulates the Instance Metadata Service (IMDS) of a machine of Azure: the
// tokens of its managed identity and announced maintenance, over real HTTP on loopback. It
// is as particular as the real one: without "Metadata: true" and a known api-version it
// refuses.
package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Config says what the machine is.
type Config struct {
	Name string // of the machine; empty: vm-0
	// Tokens hands out the token of a managed identity, by client id; empty: of the
	// system-assigned one. false: the machine has no such identity.
	Tokens func(clientID string) (string, bool)
}

// Event is announced maintenance, as the service writes it.
type Event struct {
	ID                string   `json:"EventId"`
	EventType         string   // Freeze, Reboot, Redeploy, Preempt, Terminate
	ResourceType      string   // empty: VirtualMachine
	Resources         []string // empty: this machine
	EventStatus       string   // empty: Scheduled
	NotBefore         string   // RFC 1123; empty: it has begun
	Description       string
	EventSource       string // empty: Platform
	DurationInSeconds int
}

// Machine is a running metadata service.
type Machine struct {
	cfg    Config
	url    string
	server *http.Server
	done   chan struct{}

	mu       sync.Mutex
	number   int
	events   []Event
	begun    []string // approved events
	failures []int    // statuses of the next answers
	asked    map[string]int
}

// Start opens the service on a port of loopback; Close ends it.
func Start(ctx context.Context, cfg Config) (*Machine, error) {
	if cfg.Name == "" {
		cfg.Name = "vm-0"
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a machine's metadata service: %w", err)
	}
	m := &Machine{cfg: cfg, url: "http://" + l.Addr().String(), done: make(chan struct{}), asked: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metadata/identity/oauth2/token", m.guarded(m.token, "2018-02-01"))
	mux.HandleFunc("GET /metadata/scheduledevents", m.guarded(m.tell, "2020-07-01"))
	mux.HandleFunc("POST /metadata/scheduledevents", m.guarded(m.approve, "2020-07-01"))
	mux.HandleFunc("GET /metadata/instance/compute/name", m.guarded(m.name, "2021-02-01"))
	m.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(m.done)
		if err := m.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}()
	return m, nil
}

// Close ends the service and waits for it.
func (m *Machine) Close() {
	_ = m.server.Close() // its listener is gone either way
	<-m.done
}

// URL is the base URL of the service.
func (m *Machine) URL() string { return m.url }

// Name is what the machine is called.
func (m *Machine) Name() string { return m.cfg.Name }

// Announce puts an event into what the service tells, in place of one with its id.
func (m *Machine) Announce(e Event) {
	for field, value := range map[*string]string{&e.ResourceType: "VirtualMachine", &e.EventStatus: "Scheduled", &e.EventSource: "Platform"} {
		if *field == "" {
			*field = value
		}
	}
	if e.Resources == nil {
		e.Resources = []string{m.cfg.Name}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.number++
	m.events = slices.DeleteFunc(m.events, func(o Event) bool { return o.ID == e.ID })
	m.events = append(m.events, e)
}

// End takes an event away: it is over, or was called off.
func (m *Machine) End(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.number++
	m.events = slices.DeleteFunc(m.events, func(o Event) bool { return o.ID == id })
}

// Begun tells which events were approved, in their order.
func (m *Machine) Begun() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.begun)
}

// Fail makes the next answers fail with these statuses, one each.
func (m *Machine) Fail(statuses ...int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures = append(m.failures, statuses...)
}

// Asked counts the requests of a path.
func (m *Machine) Asked(path string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[path]
}

// guarded refuses what the real service refuses.
func (m *Machine) guarded(h http.HandlerFunc, version string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.asked[r.URL.Path]++
		status := 0
		if len(m.failures) > 0 {
			status, m.failures = m.failures[0], m.failures[1:]
		}
		m.mu.Unlock()
		switch {
		case status != 0:
			fail(w, status, "planted")
		case r.Header.Get("Metadata") != "true" || r.Header.Get("X-Forwarded-For") != "":
			fail(w, http.StatusBadRequest, "bad_request_102")
		case r.URL.Query().Get("api-version") != version:
			fail(w, http.StatusBadRequest, "invalid_request")
		default:
			h(w, r)
		}
	}
}

func (m *Machine) token(w http.ResponseWriter, r *http.Request) {
	resource := r.URL.Query().Get("resource")
	if resource == "" || m.cfg.Tokens == nil {
		fail(w, http.StatusBadRequest, "invalid_resource")
		return
	}
	client := r.URL.Query().Get("client_id")
	token, ok := m.cfg.Tokens(client)
	if !ok {
		fail(w, http.StatusBadRequest, "invalid_request")
		return
	}
	const life = 3599
	reply(w, map[string]any{
		"access_token": token, "client_id": client, "refresh_token": "", "resource": resource, "token_type": "Bearer",
		"expires_in": strconv.Itoa(life), "expires_on": strconv.FormatInt(time.Now().Unix()+life, 10), "not_before": strconv.FormatInt(time.Now().Unix(), 10),
	})
}

func (m *Machine) tell(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	reply(w, map[string]any{"DocumentIncarnation": m.number, "Events": append([]Event{}, m.events...)})
}

// approve notes the events that may begin, and begins them.
func (m *Machine) approve(w http.ResponseWriter, r *http.Request) {
	var sent struct {
		StartRequests []struct {
			ID string `json:"EventId"`
		}
	}
	if json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&sent) != nil || len(sent.StartRequests) == 0 {
		fail(w, http.StatusBadRequest, "invalid_request")
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range sent.StartRequests {
		i := slices.IndexFunc(m.events, func(e Event) bool { return e.ID == s.ID })
		if i < 0 {
			fail(w, http.StatusBadRequest, "unknown_event")
			return
		}
		m.number++
		m.events[i].EventStatus, m.events[i].NotBefore = "Started", ""
		m.begun = append(m.begun, s.ID)
	}
}

func (m *Machine) name(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte(m.cfg.Name)) // a reader that left needs no answer
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": "see the page"}) // as above
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // as above
}
