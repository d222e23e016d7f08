package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// player is a bot that keeps the contract, with one thing that it may do wrong.
type player struct {
	secret string
	wrong  func(w http.ResponseWriter, r *http.Request, body string, times int) bool // true: it has replied

	mu   sync.Mutex
	seen map[string]int // by event, call and body
}

func (p *player) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	key := r.Header.Get("Tandem-Event") + r.Header.Get("Tandem-Call") + string(body)
	times := p.seen[key]
	p.seen[key]++
	p.mu.Unlock()
	switch {
	case p.wrong != nil && p.wrong(w, r, string(body), times):
	case r.Method == http.MethodGet:
		fmt.Fprint(w, `{"load":0.1,"capacity":50,"draining":false}`)
	case p.secret != "" && !p.signed(r, body):
		w.WriteHeader(http.StatusUnauthorized)
	case r.Header.Get("Tandem-Event") == "incoming":
		fmt.Fprint(w, `{"answer":{"acceptedModalities":["audio"],"mediaConfig":{}}}`)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func (p *player) signed(r *http.Request, body []byte) bool {
	var unix int64
	got := r.Header.Get("Tandem-Signature")
	_, err := fmt.Sscanf(got, "t=%d,", &unix)
	return err == nil && time.Since(time.Unix(unix, 0)).Abs() < 5*time.Minute && got == signature(p.secret, unix, r.Header, body)
}

// says makes a bot reply so where an event, a part of the body and a repeat fit.
func says(event, part string, from, status int, reply string) func(http.ResponseWriter, *http.Request, string, int) bool {
	return func(w http.ResponseWriter, r *http.Request, body string, times int) bool {
		if r.Header.Get("Tandem-Event") != event || !strings.Contains(body, part) || times < from {
			return false
		}
		w.WriteHeader(status)
		fmt.Fprint(w, reply)
		return true
	}
}

const tooSlow = 150 * time.Millisecond

// Bots that do one thing wrong, and the rules that must be red for it.
var wrongBots = map[string]struct {
	wrong func(http.ResponseWriter, *http.Request, string, int) bool
	red   []string
}{
	"slow": {func(http.ResponseWriter, *http.Request, string, int) bool { time.Sleep(tooSlow); return false },
		[]string{"incoming-in-time", "recording-in-time", "many-at-once", "health"}},
	"says OK":                  {says("incoming", "", 0, 202, "Accepted"), []string{"incoming-reply"}},
	"a member that is unknown": {says("incoming", "", 0, 200, `{"answr":{}}`), []string{"incoming-reply"}},
	"answers and rejects":      {says("incoming", "", 0, 200, `{"answer":{},"reject":{}}`), []string{"incoming-reply"}},
	"rejects without a word":   {says("incoming", "", 0, 200, `{"reject":{"reason":"tired"}}`), []string{"incoming-reply"}},
	"answers with nothing":     {says("incoming", "", 0, 200, `{"answer":{"acceptedModalities":["audio"]}}`), []string{"incoming-reply"}},
	"counts twice":             {says("incoming", "", 1, 200, `{"reject":{"reason":"busy"}}`), []string{"incoming-twice"}},
	"refuses a repeat":         {says("update", "tone1", 1, 409, ""), []string{"update-twice"}},
	"takes no tone":            {says("update", "tone1", 0, 404, ""), []string{"updates-in-order"}},
	"wants order":              {says("update", "establishing", 0, 409, ""), []string{"updates-swapped"}},
	"fails at a repeated end":  {says("update", "terminated", 1, 500, ""), []string{"end-twice"}},
	"fails at a strange call":  {says("update", "tone1", 0, 500, ""), []string{"update-of-unknown-call"}},
	"adopts nothing":           {says("adopted", "", 0, 404, ""), []string{"adopted-known"}},
	"fails at adopted":         {says("adopted", "", 0, 500, ""), []string{"adopted-unknown"}},
	"lets an adopted ring":     {says("adopted", "claimed", 0, 202, "later"), []string{"adopted-ringing"}},
	"never joins anew":         {says("rejoin", "", 0, 400, ""), []string{"rejoin"}},
	"never lets go":            {says("lost", "", 0, 404, ""), []string{"lost"}},
	"buries the living":        {says("update", `"confirm"`, 0, 410, ""), []string{"confirm"}},
	"knows all events":         {says("of-tomorrow", "", 0, 400, ""), []string{"unknown-event"}},
	"knows all types":          {says("update", "somethingOfTomorrow", 0, 422, ""), []string{"unknown-notification"}},
	"knows all headers": {func(w http.ResponseWriter, r *http.Request, _ string, _ int) bool {
		long := r.Header.Get("X-Of-Tomorrow") != ""
		if long {
			w.WriteHeader(http.StatusRequestHeaderFieldsTooLarge)
		}
		return long
	}, []string{"unknown-header"}},
	"takes 100 kB": {func(w http.ResponseWriter, _ *http.Request, body string, _ int) bool {
		big := len(body) > 100_000
		if big {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
		return big
	}, []string{"big-body"}},
	"is full to the brim": {func(w http.ResponseWriter, r *http.Request, _ string, _ int) bool {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"load":40}`)
		}
		return r.Method == http.MethodGet
	}, []string{"health"}},
	"is of a version with blanks": {func(w http.ResponseWriter, r *http.Request, _ string, _ int) bool {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"version":"2.4.1 (final)"}`)
		}
		return r.Method == http.MethodGet
	}, []string{"health"}},
	"trusts everybody": {func(w http.ResponseWriter, _ *http.Request, _ string, _ int) bool {
		w.WriteHeader(http.StatusAccepted)
		return true
	}, []string{"signature"}},
}

// TestEachRuleIsRedForAWrongBot: no rule stands that no bot can break, and the programs in
// Go and in Node are of one mind about every bot.
func TestEachRuleIsRedForAWrongBot(t *testing.T) {
	const secret = "0123456789abcdef"
	targets, goes := map[string]Target{}, map[string]map[string]string{}
	open := func(name string, p *player) {
		p.secret, p.seen = secret, map[string]int{}
		door := httptest.NewServer(p)
		t.Cleanup(door.Close)
		targets[name] = Target{URL: door.URL, HealthURL: door.URL + "/health", Secret: secret}
	}
	open("right", &player{})
	for name, b := range wrongBots {
		open(name, &player{wrong: b.wrong})
	}
	c, broken := read(), map[string]bool{}
	quicker(c.Rules)
	var mu sync.Mutex
	var all sync.WaitGroup
	for name := range wrongBots {
		all.Go(func() {
			got := verdicts(t, c, targets[name], wrongBots[name].red)
			mu.Lock()
			defer mu.Unlock()
			goes[name] = got
		})
	}
	all.Wait()
	for name, b := range wrongBots {
		for _, id := range b.red {
			broken[id] = true
			if goes[name][id] != Failed {
				t.Errorf("a bot that %s passes the rule %s", name, id)
			}
		}
	}
	for _, v := range Run(t.Context(), targets["right"]) {
		if v.Verdict != OK {
			t.Errorf("a bot that keeps the contract: %+v", v)
		}
	}
	for _, r := range c.Rules {
		if !broken[r.ID] {
			t.Errorf("no wrong bot of this test breaks the rule %s", r.ID)
		}
	}
	compareWithNode(t, targets, goes)
}

// quicker makes the rules about time as short as a test may be.
func quicker(rules []Rule) {
	for _, r := range rules {
		for i := range r.Steps {
			r.Steps[i].Want.Within = min(r.Steps[i].Want.Within, int(tooSlow.Milliseconds())-10)
		}
	}
}

// verdicts puts the named rules to a bot.
func verdicts(t *testing.T, c cases, to Target, named []string) map[string]string {
	to.Client = &http.Client{}
	defer to.Client.CloseIdleConnections()
	out := map[string]string{}
	for _, r := range c.Rules {
		if slices.Contains(named, r.ID) {
			out[r.ID] = c.judge(t.Context(), r, to).Verdict
		}
	}
	return out
}

// compareWithNode puts the same rules to the same bots, by the program for Node.
func compareWithNode(t *testing.T, targets map[string]Target, goes map[string]map[string]string) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("SKIPPED: node is not installed: nobody looked whether run.mjs judges as conformance.go does")
	}
	type bot struct {
		URL       string   `json:"url"`
		HealthURL string   `json:"healthURL"`
		Secret    string   `json:"secret"`
		Rules     []string `json:"rules"`
	}
	bots := map[string]bot{}
	for name, b := range wrongBots {
		bots[name] = bot{targets[name].URL, targets[name].HealthURL, targets[name].Secret, b.red}
	}
	in, err := json.Marshal(bots)
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`
import { run, cases } from './judge.mjs';
for (const r of cases.rules) for (const s of r.steps) if (s.want.within) s.want.within = Math.min(s.want.within, %d);
const out = {};
await Promise.all(Object.entries(JSON.parse(process.argv[1])).map(async ([name, t]) => {
  const rules = cases.rules.filter((r) => t.rules.includes(r.id));
  out[name] = Object.fromEntries((await run(t, rules)).map((v) => [v.id, v]));
}));
console.log(JSON.stringify(out));`, tooSlow.Milliseconds()-10)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), node, "--input-type=module", "-e", script, string(in))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var nodes map[string]map[string]Verdict
	if err := json.Unmarshal(stdout.Bytes(), &nodes); err != nil {
		t.Fatalf("%v: %s", err, &stdout)
	}
	for name := range wrongBots {
		for id, verdict := range goes[name] {
			if there := nodes[name][id]; there.Verdict != verdict {
				t.Errorf("a bot that %s: rule %s is %q in Go, in Node %+v", name, id, verdict, there)
			}
		}
	}
}

// TestTheProgramForNode: exit codes of what bot authors put into their CI.
func TestTheProgramForNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("SKIPPED: node is not installed: run.mjs was not run")
	}
	right := httptest.NewServer(&player{seen: map[string]int{}})
	defer right.Close()
	wrong := httptest.NewServer(&player{seen: map[string]int{}, wrong: says("lost", "", 0, 404, "")})
	defer wrong.Close()
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{0, "The bot keeps the contract: 21 rules.", []string{right.URL, "--health", right.URL + "/health"}},
		{1, "→ On lost, let go of the call", []string{wrong.URL}},
		{2, "name one URL of a bot", nil},
		{2, "Unknown option '--frob'", []string{right.URL, "--frob"}},
	} {
		out, err := exec.CommandContext(t.Context(), node, append([]string{"run.mjs"}, c.args...)...).CombinedOutput()
		code := 0
		if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // it is what Run returns
			code = exit.ExitCode()
		}
		if code != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("run.mjs %q: exit code %d, want %d with %q:\n%s", c.args, code, c.code, c.says, out)
		}
	}
}
