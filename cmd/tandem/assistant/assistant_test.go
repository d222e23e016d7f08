package assistant

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"tandem/admin/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reads are the only requests that may come: what else comes is a change, or may be one.
var reads = []string{"GET /v1/", "POST /v1/explain", "POST /v1/rules/diff"}

// speak lets a real client speak to the server, over a real door.
func speak(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) (*mcp.ClientSession, func() []string) {
	t.Helper()
	var mu sync.Mutex
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
		mu.Unlock()
		if !slices.ContainsFunc(reads, func(p string) bool { return strings.HasPrefix(r.Method+" "+r.URL.Path, p) }) {
			t.Errorf("%s %s is no read", r.Method, r.URL.Path)
		}
		answer(w, r)
	}))
	t.Cleanup(srv.Close)
	door, err := client.New(srv.URL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(door.Close)
	toServer, in := io.Pipe()
	out, fromServer := io.Pipe()
	done := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		done <- Serve(ctx, door, door.Rules(), func(context.Context) (any, error) { return []string{"nothing is wrong"}, nil }, "2.1.0", toServer, fromServer)
	}()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), &mcp.IOTransport{Reader: out, Writer: in}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = session.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving ended with %v", err)
		}
	})
	return session, func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(asked) }
}

// TestEveryToolReads: each says that it reads, and asks the door for nothing else.
func TestEveryToolReads(t *testing.T) {
	session, asked := speak(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/events" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"id\":1,\"kind\":\"drained\",\"node\":\"emea-1\"}\n\ndata: {\"id\":2,\"kind\":\"drained\",\"node\":\"emea-2\"}\n\n")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"node":"emea-1","items":[],"call":"57dab8b1894c409ab240bd8beae78896","verdict":"it would be handled here"}`)
	})
	given := map[string]map[string]any{
		"search_calls":         {"node": "emea-1", "state": "answered", "limit": 7},
		"explain_call":         {"call": "57dab8b1-894c-409a-b240-bd8beae78896"},
		"explain_notification": {"body": `{"value":[]}`, "tenant": "8986d25d-ed3f-4bb8-b739-14d2fcc37b09"},
		"events":               {"node": "emea-2"},
		"what_if_rules":        {"rules": "rules: []"},
		"what_if_node_lost":    {"node": "emea-1"},
		"what_if_evacuated":    {"region": "emea", "to": []string{"amer"}},
		"what_if_region_lost":  {"region": "amer"},
	}
	tools, err := session.ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) != 14 {
		t.Fatalf("%d tools, %v", len(tools.Tools), err)
	}
	for _, tool := range tools.Tools {
		if tool.Annotations == nil || !tool.Annotations.ReadOnlyHint || tool.Description == "" {
			t.Errorf("%s does not say that it reads: %+v", tool.Name, tool)
		}
		args := given[tool.Name]
		if args == nil {
			args = map[string]any{}
		}
		res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool.Name, Arguments: args})
		if err != nil || res.IsError || len(res.Content) == 0 {
			t.Errorf("%s: %+v, %v", tool.Name, res, err)
			continue
		}
		text := res.Content[0].(*mcp.TextContent).Text
		if tool.Name == "events" && (strings.Contains(text, "emea-1") || !strings.Contains(text, "emea-2")) {
			t.Errorf("events of one node: %s", text)
		}
	}
	for _, want := range []string{"GET /v1/calls?limit=7&node=emea-1&state=answered", "GET /v1/calls/57dab8b1-894c-409a-b240-bd8beae78896/explain", "POST /v1/explain?tenant=8986d25d-ed3f-4bb8-b739-14d2fcc37b09", "POST /v1/rules/diff", "GET /v1/regions/emea/evacuation?to=amer", "GET /v1/regions/amer/evacuation?lost=true", "GET /v1/nodes/emea-1/forecast"} {
		if !slices.Contains(asked(), want) {
			t.Errorf("nobody asked %s, but %q", want, asked())
		}
	}
}

// TestRefusalsAndBounds: the assistant hears the door's own words, and of an answer that
// is too long that it was cut.
func TestRefusalsAndBounds(t *testing.T) {
	session, asked := speak(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/partitions" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"items":[`+strings.Repeat(`{"id":1,"owner":"emea-1"},`, 5000)+`{"id":2}]}`)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"detail":"The region emea knows no call x."}`)
	})
	for _, c := range []struct {
		tool string
		args map[string]any
		says string
	}{
		{"explain_call", map[string]any{"call": "x"}, "The region emea knows no call x."},
		{"events", map[string]any{"call": "../nodes"}, "reading a call id"},
		{"search_calls", map[string]any{"limit": 101}, "write a number from 1 to 100"},
		{"search_calls", map[string]any{"state": "lost"}, "none of claimed, answered, orphaned, ended"},
		{"search_calls", map[string]any{"frob": "x"}, "frob"},
	} {
		before := len(asked())
		res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: c.tool, Arguments: c.args})
		text := ""
		switch {
		case err != nil:
			text = err.Error()
		case !res.IsError:
			t.Errorf("%s %v is no error: %+v", c.tool, c.args, res)
			continue
		default:
			text = res.Content[0].(*mcp.TextContent).Text
		}
		if !strings.Contains(text, c.says) {
			t.Errorf("%s %v: %s", c.tool, c.args, text)
		}
		if c.args["call"] != "x" && len(asked()) != before {
			t.Errorf("%s %v was asked for all the same: %q", c.tool, c.args, asked()[before:])
		}
	}
	res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "partitions", Arguments: map[string]any{}})
	if err != nil || len(res.Content) != 2 || !strings.Contains(res.Content[1].(*mcp.TextContent).Text, "Cut off here") {
		t.Errorf("%d parts, %v", len(res.Content), err)
	}
}
