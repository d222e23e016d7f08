package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
)

const someHead = `{"tandem_capture":1,"deployment":"d","region":"emea","begun":"2026-11-29T09:30:00Z"}` + "\n"

// TestReadCapture: in parts that a door takes, and with the line that is wrong.
func TestReadCapture(t *testing.T) {
	var text strings.Builder
	text.WriteString(someHead)
	for i := range 1201 {
		fmt.Fprintf(&text, `{"at":"2026-11-29T09:30:00Z","call":"h.%d","facts":{"country_code":"DE"},"to":"emea"}`+"\n", i)
	}
	var parts []int
	if err := readCapture(strings.NewReader(text.String()), func(p []api.Captured) error { parts = append(parts, len(p)); return nil }); err != nil || fmt.Sprint(parts) != "[500 500 201]" {
		t.Errorf("%v, %v", parts, err)
	}
	for in, says := range map[string]string{
		"":                                     "holds no calls",
		someHead:                               "holds no calls",
		"not json\n":                           "first line is not that of 'tandem capture'",
		`{"call":"x"}` + "\n":                  "first line is not that of 'tandem capture'",
		`{"tandem_capture":2}` + "\n":          "it is of format 2, this software reads 1",
		someHead + "nonsense\n":                "line 2 holds no call",
		someHead + "\n{\"call\":\"x\"}\n":      "line 3 holds no call",
		someHead + strings.Repeat("x", 70_000): "line 2",
	} {
		if err := readCapture(strings.NewReader(in), func([]api.Captured) error { return nil }); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: %v, want %q", in, err, says)
		}
	}
	stop := errors.New("stop")
	if err := readCapture(strings.NewReader(text.String()), func([]api.Captured) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the door's refusal is lost: %v", err)
	}
}

func FuzzReadCapture(f *testing.F) {
	f.Add([]byte(someHead + `{"at":"2026-11-29T09:30:00Z","call":"h.x","facts":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = readCapture(strings.NewReader(string(text)), func(p []api.Captured) error {
			if len(p) == 0 || len(p) > api.ReplayCalls {
				t.Fatalf("a part of %d", len(p))
			}
			return nil
		})
	})
}

func TestPlus(t *testing.T) {
	at := time.Date(2026, 11, 29, 9, 0, 0, 0, time.UTC)
	one := api.RulesDiff{Recorded: 2, Since: at, Elsewhere: 1, Moves: []api.RulesMoves{{From: "emea", To: "amer", Calls: 1}}, Examples: make([]api.RulesMoved, 15)}
	two := api.RulesDiff{Recorded: 5, Since: at.Add(-time.Hour), Elsewhere: 4, Moves: []api.RulesMoves{{From: "amer", To: "emea", Calls: 3}, {From: "emea", To: "amer", Calls: 1}}, Examples: make([]api.RulesMoved, 15)}
	sum := plus(plus(api.RulesDiff{}, one), two)
	if sum.Recorded != 7 || sum.Elsewhere != 5 || !sum.Since.Equal(two.Since) || len(sum.Examples) != mostExamples ||
		fmt.Sprint(sum.Moves) != "[{amer emea 3} {emea amer 2}]" {
		t.Errorf("%+v", sum)
	}
}

// TestACallIsCapturedOnce, however many nodes the cloud rings at.
func TestACallIsCapturedOnce(t *testing.T) {
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		call := func(id string) string {
			return `event: call` + "\n" + `data: {"at":"2026-11-29T09:30:00Z","call":"` + id + `","facts":{},"to":"emea"}` + "\n\n"
		}
		_, _ = io.WriteString(w, map[string]string{
			"/v1/status":  `{"node":"emea-1","region":"emea","deployment":"d","now":"2026-11-29T09:30:00Z"}`,
			"/v1/regions": `{"items":[{"name":"emea","here":true,"nodes_list":[{"id":"emea-1","state":"active"}]}]}`,
			"/v1/capture": call("h.a") + call("h.b") + call("h.a") + "event: end\ndata: {\"calls\":3}\n\n",
		}[r.URL.Path])
	}))
	defer door.Close()
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs, environ: []string{"TANDEM_ADDR=" + door.URL}}
	root := a.root()
	root.SetArgs([]string{"capture", "--for", "1s"})
	if err := root.Execute(); err != nil {
		t.Fatal(err, &errs)
	}
	if n := strings.Count(out.String(), `"call":"h.a"`); n != 1 || !strings.Contains(out.String(), "h.b") || !strings.Contains(errs.String(), "captured 2 calls") {
		t.Errorf("it wrote\n%s and said %s", &out, &errs)
	}
}
