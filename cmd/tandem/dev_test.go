package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/graphsim"
)

// The names that a report promises.
var reportNames = []string{
	"calls", "answered", "answered_late", "handshakes", "redirects", "relays",
	"notifications_sent", "notifications_handled", "duplicates_sent", "handled_twice",
	"misrouted", "lost", "hops_max", "decision_ms", "answer_ms", "calls_by_node",
}

func TestDevKeepsItsPromises(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: runs six nodes for some seconds")
	}
	file := filepath.Join(t.TempDir(), "report.json")
	var out, errs bytes.Buffer
	if code := run([]string{"dev", "--duration", "6s", "--rate", "6", "--report", file, "--seed", "7"}, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d\n%s\n%s", code, &out, &errs)
	}
	for _, want := range []string{"6 nodes in 2 regions are up", "ADMIN DOOR", "In another terminal:", "call ", "Every promise was kept."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &out)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var named map[string]any
	if err := json.Unmarshal(text, &named); err != nil {
		t.Fatal(err)
	}
	for _, n := range reportNames {
		if _, ok := named[n]; !ok {
			t.Errorf("the report lacks %q", n)
		}
	}
	var r graphsim.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if r.Calls < 15 || r.Handshakes == 0 || r.Redirects.Region == 0 || r.Redirects.Node == 0 || r.Relays == 0 || r.DuplicatesSent == 0 {
		t.Errorf("the run showed too little: %+v", r)
	}
	if len(r.CallsByNode) != 6 {
		t.Errorf("calls went to %v, want all six nodes", r.CallsByNode)
	}
}

// With the owner check gone, as planted here in front of every node, the
// demonstration must fail: a follow-up that reaches a node goes to the bot
// beside it, whoever owns the call.
func TestDevFindsAPlantedBug(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: runs six nodes for some seconds")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := startStage(ctx, devFlags{rate: 10, nodes: 3, dir: t.TempDir(), kind: true, seed: 1, answer: "router"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	targets := s.targets()
	for i, target := range targets {
		door := httptest.NewServer(withoutOwnerCheck(t, target.URL, s.cloud.Bot(target.Node).URL))
		defer door.Close()
		targets[i].URL = door.URL
	}
	if err := s.cloud.SetTargets(targets); err != nil {
		t.Fatal(err)
	}
	if err := s.cloud.Run(ctx, graphsim.Load{Rate: 10, MaxCalls: 20}); err != nil {
		t.Fatal(err)
	}
	if err := s.cloud.Settle(ctx); err != nil {
		t.Log(err)
	}
	var out bytes.Buffer
	if err := (&app{out: &out, err: &out}).judge(s.cloud.Report(), ""); err == nil {
		t.Errorf("nobody noticed that follow-ups went to whoever got them:\n%s", &out)
	}
	if r := s.cloud.Report(); r.Misrouted == 0 {
		t.Errorf("no notification counts as misrouted:\n%s", &out)
	}
}

// withoutOwnerCheck passes everything to the node but follow-ups: those go
// straight to its bot.
func withoutOwnerCheck(t *testing.T, node, bot string) http.Handler {
	to, err := url.Parse(node)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(to)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// /api/calls/{region}/{partition}/{epoch}/{call}
		parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/calls"), "/")
		if len(parts) != 5 || r.URL.Query().Has("h") {
			pass.ServeHTTP(w, r)
			return
		}
		q, err := http.NewRequestWithContext(r.Context(), http.MethodPost, bot, r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		q.Header = r.Header.Clone()
		q.Header.Set("Tandem-Event", "update")
		q.Header.Set("Tandem-Partition", parts[2])
		q.Header.Set("Tandem-Epoch", parts[3])
		q.Header.Set("Tandem-Call", parts[4])
		q.Close = true
		res, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		defer res.Body.Close()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	})
}

// TestAReportSaysWhoseFaultItIs: a bot that failed is no broken promise, and the other way
// round; either ends with 1.
func TestAReportSaysWhoseFaultItIs(t *testing.T) {
	well := graphsim.Summary{Calls: 1, Answered: 1}
	for name, c := range map[string]struct {
		report graphsim.Report
		says   string // of the error; empty: none
		prints string
	}{
		"all is well": {graphsim.Report{Summary: well, Bot: &graphsim.BotReport{HandedOver: 4, Taken: 4}}, "", "Your bot took everything in time."},
		"the bot was late": {graphsim.Report{Summary: well, Bot: &graphsim.BotReport{HandedOver: 4, Taken: 3, TimedOut: 1, Advice: []string{"reply first"}}},
			"your bot failed, Tandem did not", "DO: reply first"},
		"the bot refused": {graphsim.Report{Summary: well, Bot: &graphsim.BotReport{HandedOver: 4, Taken: 3, Refused: map[string]int{"404": 1}}},
			"your bot failed, Tandem did not", "1 × 404"},
		"the bot was handed nothing": {graphsim.Report{Summary: well, Bot: &graphsim.BotReport{}}, "your bot failed, Tandem did not", "handed over  "},
		"Tandem lost one": {graphsim.Report{Summary: graphsim.Summary{Calls: 1, Answered: 1, Lost: 1}, Bot: &graphsim.BotReport{HandedOver: 4, Taken: 4}},
			"the cloud saw a broken promise", "Your bot took everything in time."},
		"no call": {graphsim.Report{}, "no call was made", "calls"},
	} {
		var out bytes.Buffer
		err := (&app{out: &out, err: &out}).judge(c.report, "")
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) || !strings.Contains(out.String(), c.prints) {
			t.Errorf("%s: %v, printed:\n%s", name, err, &out)
		}
	}
	cfg, err := (simFlags{
		rate: 1, targets: []string{"a/b=http://127.0.0.1:1"}, regionURLs: []string{"a=http://127.0.0.1:1"}, answering: "bot",
		bot: foreignBot{url: "http://127.0.0.1:2/", health: "http://127.0.0.1:2/health"},
	}).config()
	if err != nil || cfg.Foreign == nil || cfg.Foreign.HealthURL == "" || cfg.Rates.BotFails != 0 || cfg.Answering != graphsim.AnswerByBot {
		t.Errorf("sim takes --bot as %+v: %v", cfg.Foreign, err)
	}
}
