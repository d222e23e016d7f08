package node

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"tandem/graphsim"
)

// TestAlertsInARegion drives alerts to fire by real faults in a real region of three nodes,
// judged by Prometheus' own tool on what the nodes' doors give, and heals each by what its
// runbook says, until no alert fires.
func TestAlertsInARegion(t *testing.T) {
	long(t, "it takes a minute")
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("THE ALERTS WERE NOT DRIVEN TO FIRE: promtool (Debian's package prometheus) is not installed")
	}
	_, err := exec.LookPath("strace")
	stalls := err == nil && os.Geteuid() == 0
	if !stalls {
		t.Log("NO DISK IS SLOW: that takes root, and strace (Debian's package strace)")
	}
	// A node counts on a table that waits for its file soon, and on a clock that can be moved.
	t.Setenv(pendingEnv, "200")
	t.Setenv(aheadEnv, "1")
	now := time.Now()
	disks := true                         // each node has a small disk of its own
	changed := map[string]func(*Config){} // of a seat's node, by its name
	bots := mediaBots(t)
	brief := func(c *graphsim.Config) {
		c.Timings.TalkMin, c.Timings.TalkMax = 20*time.Millisecond, 60*time.Millisecond
	}
	s := deploy(t, plan{regions: []string{"emea", "amer"}, children: true, https: true, sim: brief, shape: func(x *seat, c *Config) {
		if disks = disks && smallDisk(t, c.Node.DataDir); !disks {
			t.Log("NO DISK IS FILLED: only root can mount small ones")
		}
		dir := filepath.Join(x.s.dir, "tls-"+x.name)
		for name, end := range map[string]time.Time{"far": now.Add(90 * 24 * time.Hour), "soon": now.Add(10 * 24 * time.Hour), "over": now.Add(-time.Hour)} {
			pairUntil(t, filepath.Join(dir, name), end)
		}
		relink(t, dir, "far")
		c.Public.TLS.ServerTLS = ServerTLS{CertFile: filepath.Join(dir, "now", "tls.crt"), KeyFile: filepath.Join(dir, "now", "tls.key")}
		x.s.trusts(c.Public.TLS.CertFile)
		silence := time.Second
		c.Apps = append(c.Apps, App{ID: mediaApp, Profile: "simulated", Hosting: "app", Answer: "bot", Silence: &silence, Bot: AppBot{URL: bots, HealthURL: bots}})
		c.Node.Capacity = 16 // two of them are the other app's
		if change := changed[x.name]; change != nil {
			change(c)
		}
	}})
	w := &alarms{s: s, seats: s.of("emea"), ahead: map[*seat]time.Duration{}}
	w.well = w.scrape()
	w.until("a well region", nil)
	lead, rest := s.leads(w.seats...)
	victim := rest[0]
	restart := func(x *seat, change func(*Config)) {
		if x.child != nil {
			x.kill()
		}
		changed[x.name] = change
		x.start()
	}
	certificate := func(x *seat, to string) { relink(t, s.path("tls-"+x.name), to) }
	sick := func(sick bool) {
		for _, x := range w.seats {
			s.cloud.Bot(x.name).SetSick(sick)
		}
	}
	later := func() { w.well = w.scrape() } // what is counted is forgotten after ten minutes
	abroad, saved, uri := s.of("amer"), bytes.Buffer{}, ""
	var full *seat
	var driven []string // the alerts that have fired
	quick, meanwhile := func() {}, []string{"TandemRulesDiffer", "TandemBotVersionHalted", "TandemAnswersSlow", "TandemBodiesLost"}
	if stalls {
		meanwhile = append(meanwhile, "TandemDiskTrouble", "TandemDiskSlow")
	}
	for _, d := range []struct {
		fault      string
		make, heal func()
		alerts     []string
	}{
		{"a node is killed that has calls with their media", func() { s.fills(victim); victim.kill() }, func() { victim.start() },
			[]string{"TandemNodeDown", "TandemNodeSilent", "TandemNoSpareNode", "TandemCallsOrphaned"}},
		{"a node stands still; of the others one's certificate will end, and one's has ended", func() {
			certificate(lead, "soon")
			certificate(rest[1], "over")
			s.release(lead)
			victim.pause()
		}, func() {
			victim.resume()
			certificate(lead, "far")
			certificate(rest[1], "far")
		}, []string{"TandemNodeDown", "TandemNodeSilent", "TandemNoSpareNode", "TandemCertificateEndsSoon", "TandemCertificateEnded"}},
		{"two of three are killed", func() { victim.kill(); lead.kill() }, func() { victim.start(); lead.start() },
			[]string{"TandemNodeDown", "TandemNoLeader", "TandemNoLease", "TandemNoSpareNode"}},
		{"of a node the keys cannot be fetched, the app's secret has run out and a setting differs", func() {
			must(t, os.WriteFile(s.path("old-secret"), []byte("it has run out"), 0o600))
			restart(victim, func(c *Config) {
				c.Apps[0].Graph.ClientSecretFile = s.path("old-secret")
				c.Auth.Profiles[0].OpenIDURL = "http://127.0.0.1:1/none"
				c.Cluster.Tombstones *= 2
			})
		}, func() { restart(victim, nil) }, []string{"TandemNoKeys", "TandemOutboundTokenFailing", "TandemSettingsDiffer"}},
		{"the keys cannot be fetched for a day", func() {
			s.noKeys(graphsim.Fault{Status: http.StatusServiceUnavailable})
			w.goesBy(victim, 25*time.Hour)
		}, func() { s.noKeys(graphsim.Fault{}); w.goesBy(victim, 26*time.Hour) }, []string{"TandemKeysStale"}},
		{"another region is gone, and all bots are sick", func() {
			w.goesBy(victim, 0)
			must(t, abroad[0].api().SaveSnapshot(t.Context(), &saved))
			uri = abroad[0].outgoing(abroad[1])
			for _, x := range abroad {
				x.kill()
			}
			sick(true)
		}, func() { sick(false); s.anew(abroad, changed) }, []string{"TandemRegionUnreachable", "TandemBotSick", "TandemRegionFull"}},
		{"it was founded anew from an old snapshot, and later calls go on", func() { w.seats = abroad; later(); abroad[0].restore(saved.Bytes()); abroad[0].ahead(uri) }, func() { w.seats = s.of("emea"); later() }, []string{"TandemFutureEpochs"}},
		{"a region that is cut off has older rules; meanwhile a version of the bot ends every call, answers are slow, a disk stalls, and a client follows a redirect with a GET", func() {
			victim.setRules()
			s.badVersion(victim, w.seats)
			later() // its calls were answered in time, and many
			blind := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
			resp, err := blind.Get(victim.webhook())
			must(t, err)
			must(t, resp.Body.Close())
			if stalls {
				quick = victim.slowDisk()
			}
			s.slowAnswer(w.seats...)
		}, func() {
			quick()
			s.versionBefore(victim, w.seats)
			for _, x := range abroad {
				restart(x, nil)
			}
			later()
		}, meanwhile},
		{"a follower's disk is full", func() {
			leads, follow := s.leads(w.seats...)
			full = follow[0]
			fill(t, s.path(full.name))
			s.changes(leads, 500)
		}, func() { must(t, os.Remove(filepath.Join(s.path(full.name), "filler"))) },
			[]string{"TandemDiskNearlyFull", "TandemTableNotWritten", "TandemRaftLag"}},
		{"calls fill the region", func() { s.crowd(lead, 48) }, func() {
			x := s.newSeat("emea", 3)
			s.seats = append(s.seats, x)
			x.start()
		}, []string{"TandemRegionNearlyFull"}},
	} {
		if d.fault == "a follower's disk is full" && !disks {
			continue
		}
		began := time.Now()
		d.make()
		w.until(d.fault, d.alerts)
		driven = append(driven, d.alerts...)
		fired := time.Since(began)
		d.heal()
		w.until("healed, after "+d.fault, nil)
		t.Logf("%s: %v fired after %.1f s, healed after %.1f s", d.fault, d.alerts, fired.Seconds(), time.Since(began).Seconds())
	}
	for _, a := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(w.rules(), -1) {
		if disks && stalls && !slices.Contains(driven, a[1]) {
			t.Errorf("no fault of this test makes %s fire", a[1])
		}
	}
}

// rules are those of the alerts.
func (w *alarms) rules() string {
	text, err := os.ReadFile("../deploy/alerts.yaml")
	must(w.s.t, err)
	return string(text)
}

// smallDisk puts a data directory on a disk of its own, once.
func smallDisk(t *testing.T, dir string) bool {
	t.Helper()
	if _, err := os.Stat(dir); err == nil {
		return true
	}
	must(t, os.MkdirAll(dir, 0o700))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=400m"); err != nil {
		return false
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return true
}

// fill leaves no space on the disk of a directory.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	must(t, err)
	defer f.Close()
	for _, size := range []int{1 << 20, 1 << 12, 1} {
		for block := make([]byte, size); err == nil; _, err = f.Write(block) {
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
}

// relink makes the pair of certificates of that name the one in force in a directory.
func relink(t *testing.T, dir, to string) {
	t.Helper()
	link := filepath.Join(dir, "now")
	must(t, os.Symlink(to, link+".new"))
	must(t, os.Rename(link+".new", link))
}

// alarms judges what the seats' doors give by deploy/alerts.yaml.
type alarms struct {
	s     *stage
	seats []*seat
	well  map[string]string // what a scrape gave when all was well
	ahead map[*seat]time.Duration
}

// until waits until all these alerts fire; with none, until none does.
func (w *alarms) until(when string, want []string) {
	w.s.t.Helper()
	eventually(w.s.t, when, func() error {
		got := w.firing(w.scrape())
		for _, a := range want {
			if !slices.Contains(got, a) {
				return fmt.Errorf("firing are %v, not %s", got, a)
			}
		}
		return not(len(want) > 0 || len(got) == 0, "firing are %v", got)
	})
}

// scraped is one line of the text format: a series and its value.
var scraped = regexp.MustCompile(`(?m)^(tandem_[a-z0-9_]+)(?:\{(.*)\})? (\S+)$`)

// scrape gives each series with its value as Prometheus would keep them. Times are told from
// now on, for its tool begins at 1970.
func (w *alarms) scrape() map[string]string {
	out := map[string]string{}
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, x := range w.seats {
		labels := fmt.Sprintf(`job="tandem",instance="%s"`, x.name)
		up := "up{" + labels + "}"
		out[up] = "0"
		resp, err := client.Get("http://" + x.admin + "/metrics")
		if err != nil {
			continue
		}
		var text bytes.Buffer
		_, err = text.ReadFrom(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			continue
		}
		out[up] = "1"
		for _, m := range scraped.FindAllStringSubmatch(text.String(), -1) {
			value := m[3]
			if strings.HasSuffix(m[1], "_not_after") || strings.HasSuffix(m[1], "_timestamp_seconds") {
				at, err := strconv.ParseFloat(value, 64)
				must(w.s.t, err)
				value = strconv.FormatFloat(at-float64(time.Now().Add(w.ahead[x]-w.begin()).Unix()), 'f', 0, 64)
			}
			out[strings.TrimSuffix(m[1]+"{"+labels+","+m[2], ",")+"}"] = value
		}
	}
	return out
}

// begin is when the region was well, by the clock of Prometheus' tool, which begins at 1970:
// of what happened a day before a node's time there has to be a day.
func (w *alarms) begin() time.Duration {
	for _, ahead := range w.ahead {
		if ahead > 0 {
			return 28 * time.Hour
		}
	}
	return 0
}

// counted are the series that only grow.
var counted = regexp.MustCompile(`^tandem_[a-z0-9_]+_(total|bucket|sum|count)\{`)

// grows spreads what was counted over the ten minutes. Who counts less than before began anew.
func (w *alarms) grows(before *string, now string) string {
	from, err := strconv.ParseFloat(*before, 64)
	must(w.s.t, err)
	to, err := strconv.ParseFloat(now, 64)
	must(w.s.t, err)
	if to < from {
		from, *before = 0, "0"
	}
	return fmt.Sprintf("%s+%gx40", *before, (to-from)/40)
}

// firing returns the alerts that fire when the region was well for five minutes, and has
// been as the scrape says for ten.
func (w *alarms) firing(now map[string]string) []string {
	t := w.s.t
	rules, err := filepath.Abs("../deploy/alerts.yaml")
	must(t, err)
	type series struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	all, silence, step := []series{}, "", 15*time.Second
	begin := w.begin()
	if begin > 0 {
		step = 5 * time.Minute // the tool is slow
		silence = fmt.Sprintf("_x%d ", begin/step)
	}
	for name, value := range now {
		before, ok := w.well[name]
		if !ok {
			before = value
		}
		values := value + "+0x40"
		if counted.MatchString(name) {
			values = w.grows(&before, value)
		}
		all = append(all, series{name, silence + before + "+0x19 " + values})
	}
	file := w.s.path("alarms.yaml")
	text, err := yaml.Marshal(map[string]any{
		"rule_files": []string{rules}, "evaluation_interval": step.String(),
		"tests": []any{map[string]any{
			"interval": step.String(), "input_series": all,
			// It is wrong by intent: what it got instead is what fires.
			"promql_expr_test": []any{map[string]any{"expr": `group by (alertname) (ALERTS{alertstate="firing"})`, "eval_time": (begin + 56*step).String(),
				"exp_samples": []any{map[string]any{"labels": `{alertname="none"}`, "value": 1}}}},
		}},
	})
	must(t, err)
	must(t, os.WriteFile(file, text, 0o600))
	out, err := exec.CommandContext(t.Context(), "promtool", "test", "rules", file).CombinedOutput()
	_, got, told := strings.Cut(string(out), "got:")
	if err == nil || !told {
		t.Fatalf("promtool judged nothing: %v\n%s", err, out)
	}
	var names []string
	for _, m := range regexp.MustCompile(`alertname="(\w+)"`).FindAllStringSubmatch(got, -1) {
		names = append(names, m[1])
	}
	return names
}
