package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWhatIsAliveIsNotLostInPassing: release, remove and leave say what would be lost and
// do nothing without a yes; what is over needs none.
func TestWhatIsAliveIsNotLostInPassing(t *testing.T) {
	answers := map[string]string{
		"GET /v1/status":                    `{"node":"emea-1","region":"emea"}`,
		"GET /v1/summary":                   `{"nodes_list":[{"id":"emea-1","state":"active"},{"id":"emea-2","state":"active"},{"id":"emea-3","state":"silent"}]}`,
		"GET /v1/nodes/emea-1/forecast":     `{"live":0}`,
		"GET /v1/nodes/emea-2/forecast":     `{"live":7,"bound":4,"movable":2,"ringing":1,"room":1,"needs":3}`,
		"GET /v1/nodes/emea-3/forecast":     `{"live":0}`,
		"GET /v1/calls/57dab8b1894c409a":    `{"id":"57dab8b1894c409a","state":"answered","owner":"emea-2"}`,
		"GET /v1/calls/ended":               `{"id":"ended","state":"ended"}`,
		"DELETE /v1/calls/ended":            ``,
		"DELETE /v1/nodes/emea-3":           ``,
		"POST /v1/leave":                    ``,
		"DELETE /v1/nodes/emea-2":           ``,
		"DELETE /v1/calls/57dab8b1894c409a": ``,
	}
	for _, c := range []struct {
		line, in string
		done     bool
		says     string
	}{
		{"release 57dab8b1894c409a", "", false, "answered"},
		{"release 57dab8b1894c409a", "n\n", false, "emea-2 acts for it"},
		{"release 57dab8b1894c409a", "y\n", true, "released"},
		{"release 57dab8b1894c409a --yes", "", true, "later notifications of it reach nobody"},
		{"release ended", "", true, "released"},
		{"remove emea-2", "", false, "It has 7 live calls: 4 have their media on it"},
		{"remove emea-2", "yesterday\n", false, "room for 1, and 3 would come at once"},
		{"remove emea-2 --yes", "", true, "emea-2 is alive: it is active"},
		{"remove emea-3", "", true, "emea-3 is gone"},
		{"leave", "", false, "Take emea-1 out of region emea?"},
		{"leave", "yes\n", true, "the node has left"},
	} {
		changed := false
		door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			text, ok := answers[r.Method+" "+r.URL.Path]
			if !ok {
				t.Errorf("%s: %s %s was not expected", c.line, r.Method, r.URL.Path)
			}
			changed = changed || r.Method != http.MethodGet
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, text)
		}))
		var out, errs bytes.Buffer
		a := &app{out: &out, err: &errs, environ: []string{"TANDEM_ADDR=" + door.URL}}
		root := a.root()
		root.SetArgs(strings.Fields(c.line))
		root.SetIn(strings.NewReader(c.in))
		err := root.Execute()
		door.Close()
		if (err == nil) != c.done || changed != c.done || !strings.Contains(errs.String(), c.says) {
			t.Errorf("%s, answered %q: %v, changed %t, told %s", c.line, c.in, err, changed, &errs)
		}
	}
}

// TestCallsListsWhoNeedsSomebodyFirst: orphans, then what rings, then what talks, and the
// pages go on where the one before stopped.
func TestCallsListsWhoNeedsSomebodyFirst(t *testing.T) {
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		page := map[string]string{
			"orphaned|":         `{"items":[{"id":"o1","state":"orphaned","owner":"emea-1"}]}`,
			"claimed|":          `{"items":[]}`,
			"answered|":         `{"items":[{"id":"a1","state":"answered","owner":"emea-3","placement":{"owner":"emea-2"}}],"next":"after-a1"}`,
			"answered|after-a1": `{"items":[{"id":"a2","state":"answered","owner":"emea-1"}]}`,
			"ended|":            `{"items":[{"id":"e1","state":"ended","placement":{"owner":"emea-2"}}]}`,
		}[q.Get("state")+"|"+q.Get("cursor")]
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, page)
	}))
	defer door.Close()
	for _, c := range []struct{ line, want, more string }{
		{"calls --limit 2", "o1 a1", "--cursor answered/after-a1"},
		{"calls --limit 2 --cursor answered/after-a1", "a2 e1", ""},
		{"calls --region all --limit 2", "o1 a1", "--cursor answered/after-a1"},
		{"calls --limit 1 --cursor answered/after-a1", "a2", "--cursor ended/"},
		{"calls --limit 1 --cursor ended/", "e1", ""},
	} {
		var out, errs bytes.Buffer
		a := &app{out: &out, err: &errs, environ: []string{"TANDEM_ADDR=" + door.URL}}
		root := a.root()
		root.SetArgs(strings.Fields(c.line))
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for line := range strings.Lines(out.String()) {
			ids = append(ids, strings.Fields(line)[0])
		}
		if got := strings.Join(ids[1:], " "); got != c.want || strings.TrimPrefix(strings.TrimSpace(errs.String()), "there are more: ") != c.more {
			t.Errorf("%s: %s and %q", c.line, got, &errs)
		}
		if strings.Contains(out.String(), "a1") && !strings.Contains(out.String(), "emea-3") || strings.Contains(out.String(), "emea-2") {
			t.Errorf("%s does not show who acts now:\n%s", c.line, &out)
		}
	}
}

// TestCallsAreCounted over all pages, by state.
func TestCallsAreCounted(t *testing.T) {
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, map[string]string{
			"x|":         `{"items":[{"id":"a1","state":"answered"},{"id":"a2","state":"answered"}],"next":"after-a2"}`,
			"x|after-a2": `{"items":[{"id":"e1","state":"ended"}]}`,
		}[q.Get("tenant")+"|"+q.Get("cursor")])
	}))
	defer door.Close()
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs, environ: []string{"TANDEM_ADDR=" + door.URL}}
	root := a.root()
	root.SetArgs([]string{"calls", "--count", "--tenant", "x"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(out.String()), " "); got != "STATE CALLS orphaned 0 claimed 0 answered 2 ended 1 all 3" {
		t.Errorf("it says %q", got)
	}
}
