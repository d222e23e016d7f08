package node

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/graphsim"
	"tandem/ownership"
)

// canaryAdmin is an admin token that must turn up nowhere.
const canaryAdmin = "canary-admin-token-91c4"

// canaryMeeting stands for the join token inside a payload: a token of the same
// issuer that is good for a day.
const canaryMeeting = "eyJjYW5hcnkiOiJtZWV0aW5nIn0.canary-meeting-token-55d1.c2ln"

// TestB110_NoSecretIsTold: with the log at its most talkative, calls good and
// bad, failing actions and every page of the admin door, none of the secrets is
// found in anything that the node writes.
func TestB110_NoSecretIsTold(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, log: slog.LevelDebug, shape: func(x *seat, c *Config) {
		c.Admin.TokensFile = x.s.path("tokens.yaml")
		c.Log.Level = "debug"
		x.s.tokensFile(canaryAdmin)
	}})
	x := s.seats[0]
	cfg := x.config()
	door, err := client.New(x.admin, canaryAdmin, "")
	must(t, err)
	defer door.Close()

	secrets := map[string]string{
		"the client secret": canarySecret, "the bots' secret": canaryBot, "the handle key": canaryHandle, "the admin token": canaryAdmin, "the meeting's token": canaryMeeting,
	}
	heard := &bytes.Buffer{} // what callers of the doors were answered
	hear := func(a answer) answer {
		fmt.Fprintln(heard, a.status, a.header, a.body)
		return a
	}
	token := s.token(testTenant)
	secrets["the webhook's token"] = token
	secrets["its signature"] = token[strings.LastIndex(token, ".")+1:]

	_, err = client.Log{Client: door}.Set(t.Context(), api.LogAsk{Node: x.name}) // each step is a line
	must(t, err)
	// A plain load, then everything that goes wrong.
	s.kept(s.run(graphsim.Load{Rate: 50, MaxCalls: 15}))
	body := strings.Replace(sample(t, incoming, newCall()), `"requestedModalities"`, `"meetingInfo":{"@odata.type":"#microsoft.graph.tokenMeetingInfo","token":"`+canaryMeeting+`"},"requestedModalities"`, 1)
	hear(s.post(x.webhook(), token, body))
	hear(s.post(x.webhook(), token, body+"x"))
	hear(s.post(x.webhook(), token+"x", body))
	hear(s.post(x.webhook()+"?access_token="+token, "none", body))
	hear(s.post(x.webhook()+"/emea/1/1/"+string(newCall())+"?s=k1.AAAAAAAAAAAAAAAAAAAAAA", token, body))
	hear(s.send("GET", x.webhook(), "", map[string]string{"Authorization": "Bearer " + token}))
	hear(s.send("POST", x.webhook(), body, map[string]string{"Authentication": "Bearer " + token}))
	expired, err := s.cloud.Mint(graphsim.TokenOptions{Tenant: testTenant, Age: 3600e9})
	must(t, err)
	secrets["an expired token"] = expired
	hear(s.post(x.webhook(), expired, body))
	for _, f := range []graphsim.Fault{{Share: 1, Status: 401}, {Share: 1, Status: 500, Body: graphsim.BodyGarbage}, {Share: 1, Reset: true}} {
		s.cloud.SetFault(graphsim.EndpointToken, f)
		s.cloud.SetFault(graphsim.EndpointCalls, f)
		hear(s.post(x.webhook(), token, sample(t, incoming, newCall())))
	}
	s.cloud.SetFault(graphsim.EndpointToken, graphsim.Fault{})
	s.cloud.SetFault(graphsim.EndpointCalls, graphsim.Fault{})
	hear(s.send("GET", "http://"+x.admin+"/v1/status", "", map[string]string{"Authorization": "Bearer " + canaryAdmin + "x"}))
	must(t, os.WriteFile(s.path("handle-keys"), []byte("k1:"+canaryHandle+"!\n"), 0o600))
	if err := x.node.Reload(cfg); err == nil {
		t.Error("a broken keys file is taken")
	} else {
		fmt.Fprintln(heard, err)
	}
	must(t, os.WriteFile(s.path("tokens.yaml"), []byte("tokens: [{name: a, roles: [read], sha256: "+canaryAdmin+"}]"), 0o600))
	s.handleKeys("k1")
	if err := x.node.Reload(cfg); err == nil {
		t.Error("a token in the place of its hash is taken")
	} else {
		fmt.Fprintln(heard, err)
	}

	// Every page that can be read.
	pages := 0
	for _, path := range []string{
		"/metrics", "/livez", "/readyz?verbose", "/v1/status", "/v1/guarantees", "/v1/nodes", "/v1/partitions", "/v1/calls?limit=1000",
		"/v1/regions", "/v1/events?follow=false", "/v1/audit", "/v1/tokens", "/v1/raft/peers", "/v1/summary", "/v1/log", "/v1/log/tail", "/v1/whoami", "/v1/config", "/v1/rules", "/v1/rollouts", "/v1/ledger", "/v1/ledger/export", "/v1/pulse",
		"/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline", "/console/", "/v1/openapi.json",
	} {
		if a := hear(s.send("GET", "http://"+x.admin+path, "", map[string]string{"Authorization": "Bearer " + canaryAdmin})); a.status == http.StatusOK {
			pages++
		} else if a.status != http.StatusFound && a.status != http.StatusSeeOther {
			t.Errorf("%s is answered with %d", path, a.status)
		}
	}
	page, err := door.Calls(t.Context(), ownership.CallFilter{}, "", 1000)
	must(t, err)
	for _, c := range page.Items {
		for _, path := range []string{"", "/explain", "/timeline"} {
			hear(s.send("GET", "http://"+x.admin+"/v1/calls/"+string(c.ID)+path, "", map[string]string{"Authorization": "Bearer " + canaryAdmin}))
		}
	}
	if pages < 15 || len(page.Items) < 15 {
		t.Errorf("only %d pages and %d calls were looked at", pages, len(page.Items))
	}
	// What is kept and handed on in files.
	must(t, door.SaveSnapshot(t.Context(), heard))

	log := s.log.all()
	if !strings.Contains(heard.String(), `"level":"DEBUG"`) {
		t.Error("the last lines of the log are not told")
	}
	if !strings.Contains(log, `"level":"DEBUG"`) || !strings.Contains(log, `"step":"hand-over"`) || len(log) < 10_000 {
		t.Error("the log says too little to show anything")
	}
	for name, secret := range secrets {
		for where, text := range map[string]string{"the log": log, "an answer": heard.String()} {
			notIn(t, where, text, name, secret)
		}
	}
	if leaks := inFiles(t, s.path(x.name), secrets); leaks != "" {
		t.Errorf("on disk: %s", leaks)
	}
}

// notIn fails the test if a secret stands in a text.
func notIn(t *testing.T, where, text, name, secret string) {
	t.Helper()
	if i := strings.Index(text, secret); i >= 0 {
		t.Errorf("%s stands in %s: …%s…", name, where, text[max(0, i-120):min(len(text), i+20)])
	}
}

// TestB110_CrashTellsNoSecret: a node in a process of its own has used all of its
// secrets and holds requests that bear tokens when it crashes. Neither what it
// writes then, nor what the system tells everybody of a process, holds one.
func TestB110_CrashTellsNoSecret(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, children: true, token: canaryAdmin, shape: func(x *seat, c *Config) {
		c.Admin.TokensFile = x.s.tokensFile(canaryAdmin)
	}})
	x := s.seats[0]
	token := s.token(testTenant)
	secrets := map[string]string{
		"the client secret": canarySecret, "the bots' secret": canaryBot, "the handle key": canaryHandle, "the admin token": canaryAdmin, "the webhook's token": token,
	}
	if raw, err := base64.StdEncoding.DecodeString(canaryHandle); err == nil {
		secrets["the handle key in plain"] = string(raw)
	}
	if r := s.run(graphsim.Load{Rate: 50, MaxCalls: 10}); !r.OK() {
		t.Errorf("before the crash the cloud saw %+v", r)
	}
	// One request each is under way at either door, and waits for its body.
	for _, r := range []struct{ at, line, token string }{
		{x.public, "POST /api/calls", token}, {x.admin, "PUT /v1/snapshot", canaryAdmin},
	} {
		half := dial(t, r.at)
		defer half.Close()
		_, err := fmt.Fprintf(half, "%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n", r.line, r.token)
		must(t, err)
		if line, err := bufio.NewReader(half).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
			t.Fatalf("%s: the door does not ask for the body of a good token: %q, %v", r.line, line, err)
		}
	}
	// A crash shows no stack of what runs at that moment.
	for _, room := range []string{"tandem/webhook.", "tandem/admin."} {
		eventually(t, "a request in "+room+" that waits for its body", func() error {
			waits := regexp.MustCompile(`(?m)^goroutine [0-9]+ \[IO wait.*\n(?:.+\n)*` + regexp.QuoteMeta(room))
			return not(waits.MatchString(x.stacks()), "none does")
		})
	}

	told := map[string]string{}
	for _, file := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", x.child.cmd.Process.Pid, file))
		if err != nil {
			t.Logf("skipped: what the system tells in %s: %v", file, err)
			continue
		}
		if len(text) == 0 {
			t.Errorf("%s of the process is empty", file)
		}
		told["/proc/PID/"+file] = strings.ReplaceAll(string(text), "\x00", " ")
	}
	x.crash()
	told["what the crash wrote"] = s.log.all()
	crash := told["what the crash wrote"]
	for _, part := range []string{"SIGQUIT: quit", "tandem/webhook.", "tandem/admin."} {
		if !strings.Contains(crash, part) {
			t.Errorf("the crash says too little to show anything: nothing of %q", part)
		}
	}
	if n := strings.Count(crash, "\ngoroutine "); n < 20 {
		t.Errorf("the crash says too little to show anything: %d goroutines", n)
	}
	for where, text := range told {
		for name, secret := range secrets {
			notIn(t, where, text, name, secret)
		}
	}
}

// stacks are those of the seat's process.
func (x *seat) stacks() string {
	x.s.t.Helper()
	req, err := http.NewRequestWithContext(x.s.t.Context(), http.MethodGet, "http://"+x.admin+"/debug/pprof/goroutine?debug=2", nil)
	must(x.s.t, err)
	req.Header.Set("Authorization", "Bearer "+canaryAdmin)
	resp, err := x.s.outside.Do(req)
	must(x.s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(x.s.t, err)
	return string(text)
}

// inFiles looks for secrets in all files below a directory.
func inFiles(t *testing.T, dir string, secrets map[string]string) string {
	t.Helper()
	var found []string
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		path := dir + "/" + e.Name()
		if e.IsDir() {
			if more := inFiles(t, path, secrets); more != "" {
				found = append(found, more)
			}
			continue
		}
		f, err := os.Open(path)
		must(t, err)
		text, err := io.ReadAll(f)
		must(t, err)
		must(t, f.Close())
		for name, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				found = append(found, name+" in "+path)
			}
		}
	}
	return strings.Join(found, "; ")
}
