package node

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"tandem/graphsim"
	"tandem/ownership"
)

// gatherer is a collector of traces, as OTLP over HTTP has it.
type gatherer struct {
	mu   sync.Mutex
	raw  bytes.Buffer
	all  map[string]*otlp.Span // by span id
	node map[string]string     // of a span
}

// ServeHTTP implements http.Handler.
func (g *gatherer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var in collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &in) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.raw.Write(body)
	for _, rs := range in.GetResourceSpans() {
		node := ""
		for _, a := range rs.GetResource().GetAttributes() {
			if a.GetKey() == "tandem.node" {
				node = a.GetValue().GetStringValue()
			}
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				id := hex.EncodeToString(s.GetSpanId())
				g.all[id], g.node[id] = s, node
			}
		}
	}
}

// way is the names of a span and of those around it, the outermost first, each with its node.
func (g *gatherer) way(s *otlp.Span) string {
	var names []string
	for ; s != nil; s = g.all[hex.EncodeToString(s.GetParentSpanId())] {
		names = append([]string{s.GetName() + " at " + g.node[hex.EncodeToString(s.GetSpanId())]}, names...)
	}
	return strings.Join(names, " > ")
}

// TestTracesOfANotification: to a collector that the standard environment names, a node
// sends one trace over relay, bot and Graph; where a redirect went through the cloud, the
// second trace is linked with the first. No secret and no signature is in them.
func TestTracesOfANotification(t *testing.T) {
	g := &gatherer{all: map[string]*otlp.Span{}, node: map[string]string{}}
	srv := httptest.NewServer(g)
	defer srv.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", srv.URL)
	s := deploy(t, plan{nodes: 2, shape: func(_ *seat, c *Config) { c.Pins = []Pin{{When: "true", Pin: ownership.Pin{Node: "emea-2"}}} }})
	r := s.run(graphsim.Load{Rate: 20, MaxCalls: 12})
	s.kept(r)
	if r.Redirects.Node == 0 || r.Relays == 0 {
		t.Fatalf("the story was too tame: %+v", r)
	}
	for _, x := range s.seats {
		x.stop() // sends what is left
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	ways, linked := map[string]int{}, 0
	for id, span := range g.all {
		ways[g.way(span)]++
		for _, l := range span.GetLinks() {
			from := g.all[hex.EncodeToString(l.GetSpanId())]
			if from != nil && from.GetName() == "notification" && g.node[hex.EncodeToString(l.GetSpanId())] == "emea-1" && g.node[id] == "emea-2" {
				linked++
			}
		}
	}
	for _, want := range []string{
		"notification at emea-1 > claim at emea-1",
		"notification at emea-1 > relayed notification at emea-2 > bot at emea-2",
		"notification at emea-2 > bot at emea-2",
		"notification at emea-2 > Graph at emea-2",
	} {
		if ways[want] == 0 {
			t.Errorf("no trace goes %q, but %v", want, ways)
		}
	}
	if linked < r.Redirects.Node {
		t.Errorf("%d traces are linked over %d redirects", linked, r.Redirects.Node)
	}
	for name, secret := range map[string]string{
		"a signature": "?s=", "a client secret": canarySecret, "the bots' secret": canaryBot, "a token": "Bearer", "the beginning of a token": "eyJ", "a handle key": canaryHandle,
	} {
		notIn(t, "a trace", g.raw.String(), name, secret)
	}
}
