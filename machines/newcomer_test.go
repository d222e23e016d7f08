package machines_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/graphsim"
)

// enough is how long a newcomer may need from the README to a routed call of a bot of its
// own. A machine alone needs a fraction of that; what is left is for reading.
const enough = 10 * time.Minute

// walk is a newcomer's: what was done, and how long it took.
type walk struct {
	t     *testing.T
	lines []string
	lap   time.Time
}

// done ends a step.
func (w *walk) done(what string) time.Duration {
	took := time.Since(w.lap)
	w.lines = append(w.lines, fmt.Sprintf("%-40s %6.1f s", what, took.Seconds()))
	w.lap = time.Now()
	return took
}

// step is one of them, with the page that it is copied from.
func (w *walk) step(what string, follow func(*testing.T)) {
	w.lap = time.Now()
	w.t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
		defer func() {
			if t.Skipped() {
				w.lines = append(w.lines, fmt.Sprintf("%-40s SKIPPED: NOBODY FOLLOWED THIS PAGE", what))
			}
		}()
		follow(t)
		w.done(what)
	})
}

// TestANewcomersWalk goes from the README to production as somebody would who has never seen
// Tandem. Each command is copied out of the pages that tell it. It tells how long each step
// took.
func TestANewcomersWalk(t *testing.T) {
	w := &walk{t: t}
	defer func() { t.Logf("a newcomer's walk:\n%s", strings.Join(w.lines, "\n")) }()
	begun := time.Now()
	w.step("a demo", theDemo)
	w.step("a bot of one's own is routed", theOwnBot)
	if took := time.Since(begun); took > enough {
		t.Errorf("it took %s to a routed call", took)
	}
	w.lap = time.Now()
	t.Run("two-regions-of-one's-own", func(t *testing.T) { twoRegionsOnSixMachines(t, w) })
	w.step("a bad version is halted", theBadVersion)
	w.step("a shadow run finds what was misrouted", theShadowRun)
}

// console returns the commands of the first console block below a heading.
func console(t *testing.T, file, heading string) (commands []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\n## "+heading+"\n")
	_, block, _ := strings.Cut(after, "```console\n")
	block, _, _ = strings.Cut(block, "```")
	for _, m := range regexp.MustCompile(`(?m)^\$ (.*)$`).FindAllStringSubmatch(block, -1) {
		commands = append(commands, m[1])
	}
	return commands
}

// typed has a shell run lines, in the checkout, with tandem in its PATH.
func typed(t *testing.T, lines []string) string {
	t.Helper()
	tools := t.TempDir()
	must(t, exec.Command("ln", "-s", buildTandem(t), filepath.Join(tools, "tandem")))
	sh := exec.Command("sh", "-c", "set -e\ntrap 'kill $! 2>/dev/null || true' EXIT\n"+strings.Join(lines, "\n"))
	sh.Dir = ".."
	sh.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"), "CGO_ENABLED=0", "GOFLAGS=-trimpath", // what is compiled already
		"npm_config_cache="+t.TempDir(), "npm_config_update_notifier=false", "npm_config_offline=true")
	out, err := runFor(sh, 8*patience)
	if err != nil {
		t.Fatalf("%s\n%v\n%s", strings.Join(lines, "\n"), err, out)
	}
	return out
}

// says looks for what a page promises.
func says(t *testing.T, out string, promised ...string) {
	t.Helper()
	for _, said := range promised {
		if !strings.Contains(out, said) {
			t.Errorf("it did not say %q:\n%s", said, out)
		}
	}
}

func theDemo(t *testing.T) {
	steps := console(t, "../README.md", "Quick start")
	if len(steps) != 1 {
		t.Fatalf("the quick start has these steps: %q", steps)
	}
	says(t, typed(t, steps), "6 nodes in 2 regions are up", "misrouted                   0", "Every promise was kept.")
}

func theOwnBot(t *testing.T) {
	for _, needed := range []string{"node", "npx"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Skipf("SKIPPED: %s is not installed: NOBODY RAN THE QUICK START OF docs/bots.md", needed)
		}
	}
	steps := console(t, "../docs/bots.md", "Quick start")
	if len(steps) != 3 {
		t.Fatalf("the quick start has these steps: %q", steps)
	}
	says(t, typed(t, steps), "The bot keeps the contract", "Your bot took everything in time", "Every promise was kept")
}

func theBadVersion(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute of calls: not with -short")
	}
	steps := console(t, "../docs/rollouts.md", "Try it")
	if len(steps) != 4 {
		t.Fatalf("docs/rollouts.md has these steps: %q", steps)
	}
	says(t, typed(t, steps), "the bot of emea-3 is upgraded from 2.4.1 to 2.5.0", "2.5.0", "rollout-halted", "Every promise was kept.")
}

// explained asks about a call as the page says, at a machine that did not get it.
func (s *stage) explained(page string) {
	s.t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		s.t.Fatal(err)
	}
	m := regexp.MustCompile("`tandem (calls)`, then `tandem (explain) CALL`").FindStringSubmatch(string(text))
	if m == nil {
		s.t.Fatalf("%s does not tell how to look at a call", page)
	}
	list, err := s.machines[0].tandem(m[1])
	if err != nil {
		s.t.Fatal(err)
	}
	var story string
	for _, call := range regexp.MustCompile(`(?m)^[0-9a-f]{32}\b`).FindAllString(list, 20) {
		if story, err = s.machines[1].tandem(m[2], call); err != nil {
			s.t.Fatal(err)
		}
		if strings.Contains(story, "It was placed in partition ") { // else it was over before anybody could claim it
			says(s.t, story, call, "Its first notification reached ", " scored ", "won.")
			return
		}
	}
	s.t.Errorf("tandem %s shows no call that was placed:\n%s\n%s", m[1], list, story)
}

// theShadowRun puts the shadow in front of two instances of a bot, and sends some
// notifications to the wrong one.
func theShadowRun(t *testing.T) {
	const name, app, calls, updates = "bot.contoso.com", appID, 20, 3
	text, err := os.ReadFile("../docs/shadow.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```\ntandem ")
	block, _, _ = strings.Cut(block, "```")
	dir, binary := t.TempDir(), buildTandem(t)
	in := func(file string) string { return filepath.Join(dir, file) }
	must(t, exec.Command(binary, "tls", "ca", "--dir", dir))
	must(t, exec.Command(binary, "tls", "public", "--dir", dir, "--name", "tls", "--host", name))
	must(t, exec.Command("mv", in("tls.pem"), in("tls.crt")))
	must(t, exec.Command("mv", in("tls-key.pem"), in("tls.key")))
	pair, err := tls.LoadX509KeyPair(in("tls.crt"), in("tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	cloud, err := graphsim.Start(t.Context(), graphsim.Config{Apps: []graphsim.App{{ID: app, Tenants: []string{"8986d25d-ed3f-4bb8-b739-14d2fcc37b09"}, ClientSecret: appSecret}}})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	today := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-By", r.Header.Get("Test-Instance")) // the balancer's choice
		w.WriteHeader(http.StatusAccepted)
	}))
	today.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	today.StartTLS()
	defer today.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front := free.Addr().String()
	_ = free.Close()

	args := strings.Fields(strings.ReplaceAll(block, "\\\n", " "))
	stands := map[string]string{"https://10.0.0.10:8443": today.URL, "0.0.0.0:8443": front} // for what is the reader's own
	for i, a := range args {
		if own, ok := stands[a]; ok {
			args[i] = own
			delete(stands, a)
		}
	}
	if len(stands) > 0 || !slices.Contains(args, app) {
		t.Fatalf("docs/shadow.md tells another command: %q, without %v", args, slices.Collect(maps.Keys(stands)))
	}
	ctx, stop := context.WithTimeout(t.Context(), 8*patience)
	defer stop()
	shadow := exec.CommandContext(ctx, binary, args...)
	shadow.Dir = dir
	shadow.Env = append(os.Environ(), "SSL_CERT_FILE="+in("ca.pem"),
		fmt.Sprintf("TANDEM_AUTH_PROFILES=[{name: public, openid_url: %q, issuers: [%q]}]", cloud.OpenIDURL(), graphsim.IssuerBotFramework))
	var said strings.Builder
	shadow.Stdout, shadow.Stderr = &said, &said
	if err := shadow.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- shadow.Wait() }()

	token, err := cloud.Mint(graphsim.TokenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	sent := 0
	post := func(call, state, instance string) error {
		sent++
		change := map[bool]string{true: "created", false: "updated"}[state == "incoming"]
		body := fmt.Sprintf(`{"value":[{"changeType":%q,"resource":"/app/calls/%s","resourceData":{"@odata.type":"#microsoft.graph.call","state":%q,"direction":"incoming"}}]}`, change, call, state)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+front+"/api/calls", strings.NewReader(body))
		if err != nil {
			return err
		}
		r.Header = http.Header{
			"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Test-Instance": {instance},
			"X-Microsoft-Skype-Message-Id": {fmt.Sprint("message-", sent)},
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			return fmt.Errorf("the shadow answers %s", resp.Status)
		}
		return nil
	}
	eventually(t, 4*patience, "the shadow", func() string {
		if err := post(strings.Repeat("f", 32), "incoming", "bot-1"); err != nil {
			return err.Error()
		}
		return ""
	})
	misrouted := 0
	for i := range calls {
		call := fmt.Sprintf("%032x", i+1)
		if err := post(call, "incoming", "bot-1"); err != nil {
			t.Fatal(err)
		}
		for u := range updates {
			instance := "bot-1"
			if (i*updates+u)%7 == 3 {
				instance, misrouted = "bot-2", misrouted+1
			}
			if err := post(call, "established", instance); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = shadow.Process.Signal(os.Interrupt)
	if err := <-ended; err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	var report struct{ Misrouted int }
	file, err := os.ReadFile(in("shadow.json"))
	if err == nil {
		err = json.Unmarshal(file, &report)
	}
	if err != nil || report.Misrouted != misrouted {
		t.Errorf("%d notifications were misrouted, the report has %d: %v\n%s", misrouted, report.Misrouted, err, said.String())
	}
}
