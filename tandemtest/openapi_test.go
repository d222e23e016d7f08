package tandemtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"go.yaml.in/yaml/v3"

	"tandem/node"
)

// description is docs/bot.openapi.yaml as far as a hand-over needs it.
type description struct {
	headers  map[string]*jsonschema.Resolved
	required []string
	schemas  map[string]*jsonschema.Resolved
}

// describe reads the description; its schemas are JSON Schema 2020-12, as OpenAPI 3.1 has it.
func describe(t *testing.T) description {
	t.Helper()
	text, err := os.ReadFile("../docs/bot.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal(bytes.ReplaceAll(text, []byte("#/components/schemas/"), []byte("#/$defs/")), &doc); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var api struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			Parameters []struct {
				Name, In string
				Required bool
				Schema   json.RawMessage
			} `json:"parameters"`
			Responses map[string]json.RawMessage `json:"responses"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(asJSON, &api); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(api.OpenAPI, "3.1.") || len(api.Paths["/"]["post"].Responses) == 0 || len(api.Paths["/health"]["get"].Responses) == 0 {
		t.Fatalf("docs/bot.openapi.yaml is no OpenAPI 3.1 of a bot: %s", asJSON)
	}
	d := description{headers: map[string]*jsonschema.Resolved{}, schemas: map[string]*jsonschema.Resolved{}}
	for _, p := range api.Paths["/"]["post"].Parameters {
		d.headers[p.Name] = resolve(t, p.Schema)
		if p.Required {
			d.required = append(d.required, p.Name)
		}
	}
	for name := range api.Components.Schemas {
		whole, err := json.Marshal(map[string]any{"$ref": "#/$defs/" + name, "$defs": api.Components.Schemas})
		if err != nil {
			t.Fatal(err)
		}
		d.schemas[name] = resolve(t, whole)
	}
	return d
}

func resolve(t *testing.T, text []byte) *jsonschema.Resolved {
	t.Helper()
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return r
}

// wrong says what of a hand-over the description does not know.
func (d description) wrong(h http.Header, body []byte) (all []string) {
	for _, name := range d.required {
		if h.Get(name) == "" {
			all = append(all, "it has no "+name)
		}
	}
	for name := range h {
		schema, known := d.headers[name]
		switch {
		case name == "X-Microsoft-Skype-Message-Id":
			schema, known = d.headers["X-Microsoft-Skype-Message-ID"], true
		case !strings.HasPrefix(name, "Tandem-"):
			continue
		}
		if !known {
			all = append(all, "the description has no header "+name)
		} else if err := schema.Validate(h.Get(name)); err != nil {
			all = append(all, name+": "+err.Error())
		}
	}
	form := "Notifications"
	switch h.Get("Tandem-Event") {
	case "incoming", "update":
	default:
		form = "OwnEvent"
	}
	if err := d.validate(form, body); err != nil {
		all = append(all, err.Error())
	}
	return all
}

func (d description) validate(form string, body []byte) error {
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	return d.schemas[form].Validate(value)
}

// witness is a bot with media of its own that holds each hand-over against the description.
type witness struct {
	t *testing.T
	d description

	mu    sync.Mutex
	first string         // the call that it knows after a restart of the router; it forgets the others
	seen  map[string]int // events
	news  chan struct{}
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(rw, `{"load":0.1,"capacity":50,"draining":false}`)
		return
	}
	body, _ := io.ReadAll(r.Body)
	event, call := r.Header.Get("Tandem-Event"), r.Header.Get("Tandem-Call")
	for _, why := range w.d.wrong(r.Header, body) {
		w.t.Errorf("%s of call %s: %s\n%s", event, call, why, body)
	}
	w.mu.Lock()
	w.seen[event]++
	if w.first == "" {
		w.first = call
	}
	known := call == w.first
	if known && event == "adopted" {
		w.seen["adopted, and known"]++
	}
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
	if event == "adopted" && !known {
		rw.WriteHeader(http.StatusNotFound)
		return
	}
	good(rw, r)
}

// await waits until the events were seen.
func (w *witness) await(ctx context.Context, events ...string) {
	w.t.Helper()
	for {
		missing := ""
		w.mu.Lock()
		for _, e := range events {
			if w.seen[e] == 0 {
				missing = e
			}
		}
		w.mu.Unlock()
		if missing == "" {
			return
		}
		select {
		case <-w.news:
		case <-ctx.Done():
			w.t.Fatalf("the bot was never told %s, but %v", missing, w.seen)
		}
	}
}

// TestTheDescriptionIsWhatANodeSends: each event that a real node sends, signed, is as
// docs/bot.openapi.yaml has it, and so are the replies of this test's bot.
func TestTheDescriptionIsWhatANodeSends(t *testing.T) {
	d := describe(t)
	for form, reply := range map[string]string{
		"Answer": answer, "Reject": `{"reject":{"reason":"busy"}}`, "Health": `{"load":0.1,"capacity":50,"draining":false}`,
		"OwnEvent": `{"event":"confirm","call":{"id":"a","app":"b","tenant":"","partition":1,"epoch":1,"state":"answered","pinned":false}}`,
	} {
		if err := d.validate(form, []byte(reply)); err != nil {
			t.Errorf("%s: %v", form, err)
		}
	}
	if testing.Short() {
		t.Skip("SKIPPED with -short: starts a node")
	}
	t.Parallel()
	w := &witness{t: t, d: d, seen: map[string]int{}, news: make(chan struct{}, 1)}
	door := httptest.NewServer(w)
	defer door.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testTime)
	defer cancel()
	o := Options{Hosting: "app", Secret: "shared by bot and router", talk: 30 * time.Second, shape: func(c *node.Config) { c.Node.Drain = time.Millisecond }}
	n, err := Start(ctx, t.TempDir(), door.URL+"/", o)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	if err := n.ring(ctx, 3); err != nil {
		t.Fatal(err)
	}
	w.await(ctx, "incoming", "update")
	if err := n.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	w.await(ctx, "adopted, and known", "rejoin")
	if err := n.End(ctx, w.first); err != nil {
		t.Fatal(err)
	}
	w.await(ctx, "lost")
}

// TestTheDescriptionFindsStrangers is the control: what a node must not send.
func TestTheDescriptionFindsStrangers(t *testing.T) {
	d := describe(t)
	good := http.Header{
		"Tandem-Event": {"lost"}, "Tandem-Call": {"a"}, "Tandem-App": {"b"}, "Tandem-Partition": {"1"}, "Tandem-Epoch": {"1"},
	}
	body := `{"event":"lost","call":{"id":"a","app":"b","tenant":"","partition":1,"epoch":1,"state":"ended","pinned":false}}`
	if all := d.wrong(good, []byte(body)); len(all) > 0 {
		t.Fatalf("a right hand-over is refused: %q", all)
	}
	for name, change := range map[string]func(h http.Header, body string) string{
		"a header that nobody knows": func(h http.Header, body string) string { h.Set("Tandem-Of-Tomorrow", "x"); return body },
		"no epoch":                   func(h http.Header, body string) string { h.Del("Tandem-Epoch"); return body },
		"a signature of other form":  func(h http.Header, body string) string { h.Set("Tandem-Signature", "v1=00"); return body },
		"a state that nobody knows":  func(_ http.Header, body string) string { return strings.Replace(body, "ended", "gone", 1) },
		"no call":                    func(http.Header, string) string { return `{"event":"lost"}` },
		"a body of the cloud's":      func(http.Header, string) string { return `{"value":[{}]}` },
	} {
		h := good.Clone()
		if len(d.wrong(h, []byte(change(h, body)))) == 0 {
			t.Errorf("%s passes", name)
		}
	}
}
