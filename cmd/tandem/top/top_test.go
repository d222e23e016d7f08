package top

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"go.uber.org/goleak"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var seenAt = time.Date(2026, 11, 29, 9, 30, 0, 0, time.UTC)

// someLook is a deployment of two regions with a silent node, a draining one and calls of
// every state.
func someLook() Look {
	node := func(region ownership.Region, id ownership.NodeID, live int, leads bool) api.Node {
		return api.Node{Node: ownership.Node{ID: id, Region: region, Capacity: 50, State: ownership.NodeActive, Voter: true, Zone: "a", Version: "2.1.0", PublicURL: "https://" + string(id) + ".bot.contoso.com"}, Live: live, Partitions: 8, Leader: leads}
	}
	l := Look{
		At:     seenAt,
		Status: api.Status{Identity: api.Identity{Deployment: "contoso-bots", Region: "emea", Node: "emea-1"}, Live: 3, Warnings: []string{"certificate of the public door ends in 9 days"}},
		Promises: []api.Promise{
			{Name: "claims", Holds: true, Why: "The leader is emea-2."}, {Name: "survives-one-node", Why: "2 of 3 voters are well and 2 are needed."},
			{Name: "rules-agree", Unknown: true, Why: "Ask the leader."},
		},
		Regions: []api.Region{
			{Name: "emea", Healthy: true, Here: true, Nodes: 3, Live: 46, Capacity: 50, List: []api.SummaryNode{{ID: "emea-1", State: "active"}, {ID: "emea-2", State: "draining"}, {ID: "emea-3", State: "silent"}}},
			{Name: "amer", Nodes: 3, Partial: true, Age: "3s", AsOf: seenAt.Add(-3 * time.Second), Error: "no door answers"},
		},
		Nodes: []api.Node{node("emea", "emea-1", 46, false), node("emea", "emea-2", 2, true), node("emea", "emea-3", 0, false), node("amer", "amer-1", 5, true)},
		Calls: []api.CallIn{
			{Call: ownership.Call{ID: "57dab8b1894c409ab240bd8beae78896", State: ownership.CallOrphaned, Owner: "emea-1", Partition: 1, ClaimedAt: seenAt.Add(-time.Hour), Tenant: "8986d25d-ed3f-4bb8-b739-14d2fcc37b09", Thread: "19:meeting_x@thread.v2"}},
			{Call: ownership.Call{ID: "67dab8b1894c409ab240bd8beae78896", State: ownership.CallClaimed, Owner: "emea-1", Partition: 1, ClaimedAt: seenAt.Add(-2 * time.Second)}},
			{Call: ownership.Call{ID: "77dab8b1894c409ab240bd8beae78896", State: ownership.CallAnswered, Owner: "emea-2", Partition: 9, ClaimedAt: seenAt.Add(-90 * time.Second)}},
		},
		Counts:  map[ownership.NodeID]Counts{"emea-1": {Claims: 130, Handled: 900, Redirects: 40, Relays: 60}, "emea-2": {Claims: 5}},
		Missing: []string{"region amer: no door answers"},
	}
	for i := range ownership.PartitionID(24) {
		l.Partitions = append(l.Partitions, api.PartitionIn{Partition: ownership.Partition{ID: i + 1, Owner: l.Nodes[i/8].ID, Live: int(i) % 3}})
	}
	return l
}

func earlier(l Look) Look {
	l.At = l.At.Add(-2 * time.Second)
	l.Counts = map[ownership.NodeID]Counts{"emea-1": {Claims: 120, Handled: 850, Redirects: 40, Relays: 55}, "emea-2": {Claims: 9}} // emea-2 was started anew
	return l
}

// TestFrames holds what each pane shows, at the widths of a small and a large terminal,
// against the files that were looked at.
func TestFrames(t *testing.T) {
	t.Setenv("TZ", "UTC")
	for _, c := range []struct {
		width, height int
		pane          pane
	}{{80, 24, paneCalls}, {140, 40, paneCalls}, {80, 24, panePartitions}, {140, 24, panePromises}, {140, 0, paneCalls}} {
		now := someLook()
		got := ansi.Strip(frame(earlier(now), now, view{width: c.width, height: c.height, pane: c.pane, keys: c.height > 0})) + "\n"
		got = strings.Replace(got, now.At.Local().Format(time.TimeOnly), "09:30:00", 1)
		file := fmt.Sprintf("testdata/%s-%dx%d.txt", c.pane, c.width, c.height)
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
		}
	}
}

// TestNoFrameOutgrowsItsTerminal: at any size, and with a thousand nodes.
func TestNoFrameOutgrowsItsTerminal(t *testing.T) {
	now := someLook()
	for i := range 1000 {
		n := now.Nodes[0]
		n.ID = ownership.NodeID(fmt.Sprintf("emea-%d", i+10))
		now.Nodes = append(now.Nodes, n)
	}
	for width := 20; width <= 200; width += 31 {
		for height := 12; height <= 60; height += 16 {
			for p := range panes {
				got := strings.Split(frame(now, now, view{width: width, height: height, pane: p, keys: true, scroll: 5}), "\n")
				if len(got) > height {
					t.Fatalf("%dx%d %s has %d lines", width, height, p, len(got))
				}
				for _, l := range got {
					if ansi.StringWidth(l) > width {
						t.Fatalf("%dx%d %s: %q is wider", width, height, p, l)
					}
				}
				if !strings.Contains(got[len(got)-1], "q quit") {
					t.Fatalf("%dx%d %s does not show its keys: %q", width, height, p, got[len(got)-1])
				}
			}
		}
	}
	if text := ansi.Strip(frame(now, now, view{width: 80, height: 24})); !strings.Contains(text, "emea-3") || !strings.Contains(text, "nodes more") {
		t.Errorf("the silent node is cut off with the rest:\n%s", text)
	}
}

// door is an admin door with what a look asks for; while it is shut nobody answers well.
func door(t *testing.T, shut *atomic.Bool) *client.Client {
	l := someLook()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if shut.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path == "/metrics" {
			_, _ = io.WriteString(w, "tandem_cluster_claims_total{result=\"placed\"} 3\n")
			return
		}
		answer := map[string]any{
			"/v1/status": l.Status, "/v1/guarantees": api.List[api.Promise]{Items: l.Promises}, "/v1/regions": api.List[api.Region]{Items: l.Regions},
			"/v1/nodes": api.List[api.Node]{Items: l.Nodes}, "/v1/partitions": api.List[api.PartitionIn]{Items: l.Partitions}, "/v1/calls": api.CallPage{},
		}[r.URL.Path]
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	c, err := client.New(srv.URL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func nobody(string) (*client.Client, error) { return nil, errors.New("not asked") }

// TestOnce: a plain frame has no colour where it goes to no terminal.
func TestOnce(t *testing.T) {
	var out bytes.Buffer
	g := NewGatherer(door(t, new(atomic.Bool)), nobody)
	defer g.Close()
	if err := Once(t.Context(), g, time.Millisecond, 120, &out, nil); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "\x1b") || !strings.Contains(text, "contoso-bots") || strings.Contains(text, "q quit") {
		t.Errorf("got %q", text)
	}
}

// TestKeysAndLostConnections drives the loop as the terminal does: a door that is gone is
// told with what was seen before, and is well again with the next answer.
func TestKeysAndLostConnections(t *testing.T) {
	shut := new(atomic.Bool)
	g := NewGatherer(door(t, shut), nobody)
	defer g.Close()
	first, err := g.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := &screen{ctx: t.Context(), g: g, every: time.Second, now: first, before: first, view: view{width: 100, height: 30, keys: true}}
	press := func(k rune) tea.Cmd { return m.key(tea.KeyPressMsg{Code: k}.String()) }
	shows := func(text string) bool { return strings.Contains(ansi.Strip(m.View().Content), text) }
	look := func() {
		t.Helper()
		cmd := press('r')
		if cmd == nil {
			t.Fatal("r looks at nothing")
		}
		m.Update(cmd())
	}
	shut.Store(true)
	look()
	if !shows("NO ANSWER") || !shows("emea-1") {
		t.Errorf("a lost connection is not told:\n%s", m.View().Content)
	}
	shut.Store(false)
	look()
	if shows("NO ANSWER") {
		t.Error("the door answers, and is still called lost")
	}
	if press(tea.KeyTab); !shows("[partitions]") {
		t.Error("tab does not turn the page")
	}
	if press(tea.KeySpace); !shows("PAUSED") {
		t.Error("space does not pause")
	}
	if _, cmd := m.Update(due(m.turn)); cmd != nil {
		t.Error("it looks while it is paused")
	}
	if press('+'); m.every != 500*time.Millisecond {
		t.Errorf("+ looks every %s", m.every)
	}
	if cmd := press('q'); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not quit")
	}
}

// TestRunEndsWithItsContext: the program leaves no goroutine and no error behind.
func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := NewGatherer(door(t, new(atomic.Bool)), nobody)
	defer g.Close()
	r, w := io.Pipe()
	defer w.Close()
	done := make(chan error)
	go func() { done <- Run(ctx, g, time.Second, r, io.Discard, []string{"TERM=dumb"}) }()
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
