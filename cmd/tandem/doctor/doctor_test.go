package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 29, 9, 30, 0, 0, time.UTC)

// well is a region of three nodes in which nothing is wrong.
func well() Seen {
	s := Seen{At: now, Asked: "emea-1", Regions: []api.Region{{Name: "emea", Here: true, Healthy: true, Nodes: 3, Live: 10, Capacity: 150, Versions: []string{"2.1.0"}}}}
	for i := range 3 {
		id := ownership.NodeID(fmt.Sprintf("emea-%d", i+1))
		n := Node{
			Region: "emea", ID: id, State: "active", Version: "2.1.0", RTT: time.Millisecond,
			Ready:    api.Readiness{Ready: true, Checks: []api.CheckResult{{Name: "lease", OK: true}}},
			Promises: []api.Promise{{Name: "claims", Holds: true}, {Name: "survives-one-node", Unknown: i > 0, Holds: i == 0}},
			Metrics: map[string]float64{
				`tandem_certificate_not_after{key="public.tls"}`: float64(now.Add(90 * 24 * time.Hour).Unix()),
				`tandem_outbound_token_failing{app="a"}`:         0, `tandem_token_keys{url="https://keys"}`: 3,
				`tandem_token_keys_loaded_timestamp_seconds{url="https://keys"}`: float64(now.Add(-time.Hour).Unix()),
			},
		}
		n.Status.Cluster.Leader = "emea-1"
		for j := range 3 {
			n.Peers = append(n.Peers, api.Peer{ID: ownership.NodeID(fmt.Sprintf("emea-%d", j+1)), Voter: true, Known: i == 0, Healthy: i == 0, Address: "10.0.0.9:8471"})
		}
		s.Nodes = append(s.Nodes, n)
	}
	s.Public = []Public{{Who: "region emea", URL: "https://emea.bot.contoso.com", Ends: now.Add(60 * 24 * time.Hour)}}
	return s
}

// TestJudge plants one ailment at a time: it is named, at its place, as badly as it is, with
// something to do; and nothing else is.
func TestJudge(t *testing.T) {
	for _, f := range Judge(well()) {
		if f.Level != Well {
			t.Errorf("of a well region it says %+v", f)
		}
	}
	for name, c := range map[string]struct {
		ail   func(*Seen)
		level Level
		check string
		says  string
	}{
		"silent node": {func(s *Seen) { s.Nodes[2].State, s.Nodes[2].Err = api.NodeSilent, errors.New("x") }, Fail, "doors", "silent"},
		"silent, and why": {func(s *Seen) {
			s.Nodes[2].State, s.Nodes[2].Silence = api.NodeSilent, "since 09:12; its 8 partitions went to emea-1"
		}, Fail, "doors", "its 8 partitions went to emea-1"},
		"told twice": {func(s *Seen) {
			s.Nodes[2].State, s.Nodes[2].Silence = api.NodeSilent, "it fell silent"
			s.Nodes[1].Status.Warnings = []string{"it fell silent"}
		}, Fail, "doors", "it fell silent"},
		"slow disk":        {func(s *Seen) { s.Nodes[0].Metrics["tandem_disk_sync_seconds"] = 0.03 }, Warn, "disks", "took 30ms to reach its disk"},
		"very slow disk":   {func(s *Seen) { s.Nodes[0].Metrics["tandem_disk_sync_seconds"] = 0.3 }, Fail, "disks", "took 300ms"},
		"stuck disk":       {func(s *Seen) { s.Nodes[0].Metrics["tandem_disk_trouble"] = 1 }, Fail, "disks", "takes no writes"},
		"door not reached": {func(s *Seen) { s.Nodes[2].Err = errors.New("refused") }, Unknown, "doors", "refused"},
		"clock a bit off":  {func(s *Seen) { s.Nodes[1].Clock = -3 * time.Second }, Warn, "clocks", "3s behind"},
		"clock far off":    {func(s *Seen) { s.Nodes[1].Clock = time.Minute }, Fail, "clocks", "1m0s ahead of"},
		"not ready": {func(s *Seen) {
			s.Nodes[0].Ready = api.Readiness{Checks: []api.CheckResult{{Name: "bot", Error: "sick"}}}
		}, Fail, "readiness", "bot: sick"},
		"advisory":       {func(s *Seen) { s.Nodes[0].Ready.Checks[0] = api.CheckResult{Name: "outbound tokens", Error: "401"} }, Warn, "readiness", "401"},
		"promise broken": {func(s *Seen) { s.Nodes[0].Promises[0] = api.Promise{Name: "claims-durable", Why: "disk"} }, Fail, "promises", "claims-durable does not hold: disk"},
		"soft promise":   {func(s *Seen) { s.Nodes[0].Promises[0] = api.Promise{Name: "survives-one-node", Why: "2 of 3"} }, Warn, "promises", "survives-one-node"},
		"certificate soon": {func(s *Seen) {
			s.Nodes[0].Metrics[`tandem_certificate_not_after{key="public.tls"}`] = float64(now.Add(20 * 24 * time.Hour).Unix())
		}, Warn, "certificates", "ends in 20 days"},
		"certificate now": {func(s *Seen) {
			s.Nodes[0].Metrics[`tandem_certificate_not_after{key="public.tls"}`] = float64(now.Add(20 * time.Hour).Unix())
		}, Fail, "certificates", "ends in 20 hours"},
		"certificate ended": {func(s *Seen) { s.Public[0].Ends = now.Add(-time.Hour) }, Fail, "certificates", "ended 1h0m0s ago"},
		"no outbound token": {func(s *Seen) { s.Nodes[0].Metrics[`tandem_outbound_token_failing{app="a"}`] = 1 }, Fail, "outbound tokens", "app a gets no token"},
		"no federated token": {func(s *Seen) {
			s.Nodes[0].Metrics[`tandem_federated_token_written_timestamp_seconds{app="a"}`] = 0
		}, Fail, "outbound tokens", "app a has no token file"},
		"federated token ended": {func(s *Seen) {
			s.Nodes[0].Metrics[`tandem_federated_token_written_timestamp_seconds{app="a"}`] = float64(now.Add(-time.Hour).Unix())
			s.Nodes[0].Metrics[`tandem_federated_token_not_after{app="a"}`] = float64(now.Add(-time.Minute).Unix())
		}, Fail, "outbound tokens", "ended 1m0s ago"},
		"old token file": {func(s *Seen) {
			s.Nodes[0].Metrics[`tandem_federated_token_written_timestamp_seconds{app="a"}`] = float64(now.Add(-48 * time.Hour).Unix())
			s.Nodes[0].Metrics[`tandem_federated_token_not_after{app="a"}`] = float64(now.Add(time.Hour).Unix())
		}, Warn, "outbound tokens", "written 48h0m0s ago"},
		"client certificate": {func(s *Seen) {
			s.Nodes[0].Metrics[`tandem_certificate_not_after{key="apps[0].graph.client_certificate"}`] = float64(now.Add(-time.Hour).Unix())
		}, Fail, "certificates", "apps[0].graph.client_certificate ended"},
		"no keys": {func(s *Seen) { s.Nodes[0].Metrics[`tandem_token_keys{url="https://keys"}`] = 0 }, Fail, "keys", "no keys of https://keys"},
		"old keys": {func(s *Seen) {
			s.Nodes[0].Metrics[`tandem_token_keys_loaded_timestamp_seconds{url="https://keys"}`] -= 172800
		}, Warn, "keys", "49h0m0s old"},
		"voter not heard":  {func(s *Seen) { s.Nodes[0].Peers[2].Healthy = false }, Fail, "peers", "emea-1, does not hear from it"},
		"others not heard": {func(s *Seen) { s.Nodes[0].Peers[2].Healthy, s.Nodes[0].Peers[2].Voter = false, false }, Warn, "peers", "does not hear from it"},
		"no leader": {func(s *Seen) {
			for i := range s.Nodes {
				s.Nodes[i].Status.Cluster.Leader = ""
			}
		}, Fail, "peers", "nobody leads it"},
		"two versions": {func(s *Seen) { s.Regions[0].Versions = []string{"2.0.0", "2.1.0"} }, Warn, "versions", "2.0.0 and 2.1.0"},
		"bot halted": {func(s *Seen) {
			for i := range s.Nodes {
				s.Nodes[i].Metrics[`tandem_bot_version_halted{app="a",version="2.5.0"}`] = 1
			}
		}, Warn, "versions", `halted, and gets no new calls: app="a",version="2.5.0"`},
		"drift":             {func(s *Seen) { s.Regions[0].Drift = []string{"rules: 3 here, 4 there"} }, Warn, "drift", "rules: 3 here"},
		"address":           {func(s *Seen) { s.Public[0].Err = errNoDoor }, Fail, "public addresses", "no public door"},
		"nearly full":       {func(s *Seen) { s.Regions[0].Live = 140 }, Warn, "capacity", "140 of 150"},
		"region takes none": {func(s *Seen) { s.Regions[0].Healthy = false }, Fail, "capacity", "takes no new calls"},
		"warning of a node": {func(s *Seen) { s.Nodes[1].Status.Warnings = []string{"tokens_file is loose"} }, Warn, "warnings", "tokens_file is loose"},
		"the same from two": {func(s *Seen) { s.Nodes[1].Status.Warnings = []string{"w"}; s.Nodes[2].Status.Warnings = []string{"w"} }, Warn, "warnings", "w"},
	} {
		s := well()
		c.ail(&s)
		var found []Finding
		for _, f := range Judge(s) {
			if f.Level != Well {
				found = append(found, f)
			}
		}
		if len(found) == 0 || found[0].Level != c.level || found[0].Check != c.check || !strings.Contains(found[0].Text, c.says) {
			t.Errorf("%s: %+v", name, found)
			continue
		}
		if found[0].Do == "" && c.check != "warnings" {
			t.Errorf("%s: it does not say what to do", name)
		}
		for _, f := range found {
			if f.Check != c.check && c.check != "peers" {
				t.Errorf("%s is also blamed on %+v", name, f)
			}
		}
		if name == "the same from two" && found[0].Where != "emea-2, emea-3" {
			t.Errorf("%+v", found)
		}
	}
}

// TestExamine: clocks are compared by the middle of the question, and a public address is
// well when a public door answers there, whatever it answers.
func TestExamine(t *testing.T) {
	public := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error":{"code":"not_found","message":"There is nothing here."}}`)
	}))
	defer public.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>it works") }))
	defer page.Close()
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var v any
		switch r.URL.Path {
		case "/v1/status":
			v = api.Status{Identity: api.Identity{Node: "emea-1", Region: "emea"}, Now: time.Now().Add(-time.Hour)}
		case "/v1/regions":
			v = api.List[api.Region]{Items: []api.Region{{Name: "emea", Here: true, URL: public.URL, List: []api.SummaryNode{
				{ID: "emea-1", State: "active", PublicURL: page.URL}, {ID: "emea-2", State: "active", AdminURL: "http://127.0.0.1:1", PublicURL: "http://127.0.0.1:1"}, {ID: "emea-3", State: "active"}, {ID: "emea-4", State: "gone"},
			}}, {Name: "amer", URL: "http://amer.localhost"}}}
		case "/metrics":
			_, _ = io.WriteString(w, "tandem_token_keys{url=\"x\"} 2\n")
			return
		default:
			v = map[string]any{"ready": true, "items": []string{}}
		}
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}))
	defer door.Close()
	c, err := client.New(door.URL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := Examine(t.Context(), c, func(url string) (*client.Client, error) { return client.New(url, "", "") }, NewPublic(nil))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Nodes) != 3 || s.Nodes[0].Err != nil || (s.Nodes[0].Clock+time.Hour).Abs() > time.Second || s.Nodes[0].Metrics[`tandem_token_keys{url="x"}`] != 2 {
		t.Errorf("%+v", s.Nodes)
	}
	if s.Nodes[1].Err == nil || s.Nodes[2].Err == nil || !strings.Contains(s.Nodes[2].Err.Error(), "on loopback") {
		t.Errorf("%v, %v", s.Nodes[1].Err, s.Nodes[2].Err)
	}
	if told := addresses(Seen{Public: []Public{{Who: "region amer", URL: "http://amer.localhost", Inner: true}}}); len(told) != 1 || told[0].Level != Well || !strings.Contains(told[0].Text, "only a simulated cloud") {
		t.Errorf("of an address that never leaves the machine: %+v", told)
	}
	for _, p := range s.Public {
		switch p.URL {
		case "http://amer.localhost":
			if p.Err != nil || !p.Inner {
				t.Errorf("%+v", p)
			}
		case public.URL:
			if p.Err != nil {
				t.Errorf("%+v", p)
			}
		case page.URL:
			if !errors.Is(p.Err, errNoDoor) {
				t.Errorf("%+v", p)
			}
		default:
			if p.Err == nil || !strings.Contains(p.Err.Error(), "refused") {
				t.Errorf("%+v", p)
			}
		}
	}
}

// TestDisk measures a real disk and leaves nothing there; how slow is too slow is a table.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	if f := Disk(dir); f.Level == Unknown || !strings.Contains(f.Text, dir) {
		t.Errorf("%+v", f)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
	if f := Disk(filepath.Join(dir, "none")); f.Level != Fail || f.Do == "" {
		t.Errorf("%+v", f)
	}
	for _, c := range []struct {
		median, worst time.Duration
		want          Level
	}{{time.Millisecond, 19 * time.Millisecond, Well}, {20 * time.Millisecond, 21 * time.Millisecond, Warn}, {time.Millisecond, 200 * time.Millisecond, Warn}, {200 * time.Millisecond, time.Second, Fail}} {
		if got, _ := judgeSync(c.median, c.worst); got != c.want {
			t.Errorf("%s, %s: %s", c.median, c.worst, got)
		}
	}
}
