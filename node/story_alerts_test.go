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
)

// TestAlertsInARegion drives alerts to fire by real faults in a real region of three nodes,
// judged by Prometheus' own tool on what the nodes' doors give, and heals each by what its
// runbook says, until no alert fires.
func TestAlertsInARegion(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("THE ALERTS WERE NOT DRIVEN TO FIRE: promtool (Debian's package prometheus) is not installed")
	}
	now := time.Now()
	disks := true                         // each node has a small disk of its own
	changed := map[string]func(*Config){} // of a seat's node, by its name
	s := deploy(t, plan{regions: []string{"emea", "amer"}, children: true, shape: func(x *seat, c *Config) {
		if disks = disks && smallDisk(t, c.Node.DataDir); !disks {
			t.Log("NO DISK IS FILLED: only root can mount small ones")
		}
		dir := filepath.Join(x.s.dir, "tls-"+x.name)
		for name, end := range map[string]time.Time{"far": now.Add(90 * 24 * time.Hour), "soon": now.Add(10 * 24 * time.Hour), "over": now.Add(-time.Hour)} {
			pairUntil(t, filepath.Join(dir, name), end)
		}
		relink(t, dir, "far")
		c.Public.TLS = ServerTLS{CertFile: filepath.Join(dir, "now", "tls.crt"), KeyFile: filepath.Join(dir, "now", "tls.key")}
		if change := changed[x.name]; change != nil {
			change(c)
		}
	}})
	w := &alarms{s: s, seats: s.of("emea")}
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
	certificate := func(to string) func() { return func() { relink(t, s.path("tls-"+victim.name), to) } }
	sick := func(sick bool, seats ...*seat) func() {
		return func() {
			for _, x := range seats {
				s.cloud.Bot(x.name).SetSick(sick)
			}
		}
	}
	for _, d := range []struct {
		fault      string
		make, heal func()
		alerts     []string
	}{
		{"a node is killed", victim.kill, victim.start, []string{"TandemNodeDown", "TandemNodeSilent", "TandemNoSpareNode"}},
		{"a node stands still", func() { must(t, victim.child.cmd.Process.Signal(syscall.SIGSTOP)) }, func() { must(t, victim.child.cmd.Process.Signal(syscall.SIGCONT)) },
			[]string{"TandemNodeDown", "TandemNodeSilent", "TandemNoSpareNode"}},
		{"two of three are killed", func() { victim.kill(); lead.kill() }, func() { victim.start(); lead.start() },
			[]string{"TandemNodeDown", "TandemNoLeader", "TandemNoLease", "TandemNoSpareNode"}},
		{"a bot is sick", sick(true, victim), sick(false, victim), []string{"TandemBotSick"}},
		{"all bots are sick", sick(true, w.seats...), sick(false, w.seats...), []string{"TandemBotSick", "TandemRegionFull"}},
		{"a certificate will end", certificate("soon"), certificate("far"), []string{"TandemCertificateEndsSoon"}},
		{"a certificate has ended", certificate("over"), certificate("far"), []string{"TandemCertificateEnded"}},
		{"the app's secret has run out", func() {
			must(t, os.WriteFile(s.path("old-secret"), []byte("it has run out"), 0o600))
			restart(victim, func(c *Config) { c.Apps[0].Graph.ClientSecretFile = s.path("old-secret") })
		}, func() { restart(victim, nil) }, []string{"TandemOutboundTokenFailing"}},
		{"the keys cannot be fetched", func() {
			restart(victim, func(c *Config) { c.Auth.Profiles[0].OpenIDURL = "http://127.0.0.1:1/none" })
		}, func() { restart(victim, nil) }, []string{"TandemNoKeys"}},
		{"a setting differs", func() { restart(victim, func(c *Config) { c.Cluster.Tombstones *= 2 }) }, func() { restart(victim, nil) }, []string{"TandemSettingsDiffer"}},
		{"another region is gone", func() {
			for _, x := range s.of("amer") {
				x.kill()
			}
		}, func() {
			for _, x := range s.of("amer") {
				x.start()
			}
		}, []string{"TandemRegionUnreachable"}},
		{"a client follows a redirect with a GET", func() {
			blind := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
			resp, err := blind.Get(strings.Replace(victim.webhook(), "http:", "https:", 1))
			must(t, err)
			must(t, resp.Body.Close())
		}, func() { w.well = w.scrape() }, []string{"TandemBodiesLost"}},
		{"a disk is full", func() { fill(t, s.path(victim.name)) }, func() { must(t, os.Remove(filepath.Join(s.path(victim.name), "filler"))) }, []string{"TandemDiskNearlyFull"}},
	} {
		if strings.Contains(d.fault, "disk") && !disks {
			continue
		}
		t.Logf("%s: %v", d.fault, d.alerts)
		d.make()
		w.until(d.fault, d.alerts)
		d.heal()
		w.until("healed, after "+d.fault, nil)
	}
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
				value = strconv.FormatFloat(at-float64(time.Now().Unix()), 'f', 0, 64)
			}
			out[strings.TrimSuffix(m[1]+"{"+labels+","+m[2], ",")+"}"] = value
		}
	}
	return out
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
	all := []series{}
	for name, value := range now {
		before, ok := w.well[name]
		if !ok {
			before = value
		}
		all = append(all, series{name, before + "+0x19 " + value + "+0x40"})
	}
	file := w.s.path("alarms.yaml")
	text, err := yaml.Marshal(map[string]any{
		"rule_files": []string{rules}, "evaluation_interval": "15s",
		"tests": []any{map[string]any{
			"interval": "15s", "input_series": all,
			// It is wrong by intent: what it got instead is what fires.
			"promql_expr_test": []any{map[string]any{"expr": `group by (alertname) (ALERTS{alertstate="firing"})`, "eval_time": "14m",
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
