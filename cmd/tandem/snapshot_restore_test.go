package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/admin/client"
	"tandem/ownership"
	"tandem/store"
	"tandem/store/snapfile"
)

// savedTable writes the signed snapshot of an empty region.
func savedTable(t *testing.T) string {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Stamp{Deployment: "d", Region: "emea", Node: "old-1"}, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	name := filepath.Join(t.TempDir(), "saved")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	empty := new(bytes.Buffer)
	if err := st.Table().Save(t.Context(), empty); err != nil {
		t.Fatal(err)
	}
	w := snapfile.SignTo(f, []byte("key"))
	if _, err := io.Copy(w, empty); err != nil {
		t.Fatal(err)
	}
	if err := w.Sign(); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestD10_ARestoreAsksFirst: what a snapshot brings is told before it takes effect, and
// without a yes nothing is sent.
func TestD10_ARestoreAsksFirst(t *testing.T) {
	name := savedTable(t)
	for _, c := range []struct {
		args, in, query string
		sent            bool
	}{
		{in: ""}, {in: "n\n"}, {in: "\n"}, {in: "yesterday\n"},
		{in: "y\n", sent: true},
		{in: "YES\n", sent: true},
		{args: "--yes", sent: true, query: "yes=true"},
		{args: "--unsigned --with-tokens", in: "y\n", sent: true, query: "tokens=true&unsigned=true"},
	} {
		var sent int64
		query := ""
		door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				sent, _ = io.Copy(io.Discard, r.Body)
				query = r.URL.RawQuery
				w.WriteHeader(http.StatusNoContent)
				return
			}
			_, _ = io.WriteString(w, `{"items":[]}`)
		}))
		var out, errs bytes.Buffer
		a := &app{out: &out, err: &errs, environ: []string{"TANDEM_ADDR=" + door.URL}}
		root := a.root()
		root.SetArgs(append([]string{"snapshot", "restore", name}, strings.Fields(c.args)...))
		root.SetIn(strings.NewReader(c.in))
		err := root.Execute()
		door.Close()
		if (err == nil) != c.sent || (sent > 0) != c.sent || query != c.query {
			t.Errorf("%q, answered %q: %v, %d bytes sent with %q", c.args, c.in, err, sent, query)
		}
		told := out.String() + errs.String()
		if !strings.Contains(told, "It brings") || strings.Contains(told, "[y/N]") == (c.args == "--yes") {
			t.Errorf("%q was told %q", c.args, told)
		}
	}
}

// TestD10_WhatASnapshotBrings names what the region does not have, and shows no control
// characters of a file.
func TestD10_WhatASnapshotBrings(t *testing.T) {
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/nodes" {
			_, _ = io.WriteString(w, `{"items":[{"id":"emea-1","state":"active"}]}`)
			return
		}
		_, _ = io.WriteString(w, `{"cluster":{"applied":4711},"live":12,"items":[{"name":"ours","origin":"region"},{"name":"filed","origin":"file"}]}`)
	}))
	defer door.Close()
	info := store.SnapshotInfo{
		NodeIDs: []ownership.NodeID{"emea-1", "evil\x1b[2J"}, Calls: 7, Live: 5, Partitions: 3,
		DoorTokens: []store.TokenNote{{Name: "ours", Roles: []string{"read"}}, {Name: "filed", Roles: []string{"operate", "join"}}},
	}
	c, err := client.New(door.URL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for tokens, want := range map[bool]string{false: "stay out", true: "come in"} {
		lines, err := brings(t.Context(), c, info, tokens)
		text := strings.Join(lines, "\n")
		if err != nil || strings.Contains(text, "\x1b") {
			t.Fatalf("%v: %q", err, text)
		}
		for _, part := range []string{
			"at entry 4711 and has 12 live calls", "emea-1, evil", "(not in the region now)", "partitions  3", "7, 5 of them live",
			"ours (read), filed (operate, join) (not in the region now); they " + want,
		} {
			if !strings.Contains(text, part) {
				t.Errorf("it does not tell %q:\n%s", part, text)
			}
		}
	}
}
