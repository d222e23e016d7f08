package admin

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
	"tandem/pass"
)

var passKey = []byte("canary-key-of-passes-0123456789")

// passes lets a room take the passes of other regions' nodes.
func passes(_ *Config, d *Deps) {
	d.PassKeys = func() [][]byte { return [][]byte{[]byte("a newer one"), passKey} }
}

// showing asks the room's door with a bearer token.
func (r *room) showing(method, path, secret string) (int, string) {
	r.t.Helper()
	a := r.ask(method, path, "", "Authorization: Bearer "+secret)
	return a.StatusCode, a.text
}

func amerPass(path string) pass.Pass {
	return pass.Pass{Deployment: "contoso-bots", From: "amer", Node: "amer-1", To: "emea", Method: "GET", Path: path, Expires: start.Add(pass.Life)}
}

// TestAPassOpensTheDoorForReading: also where the door has no tokens file. It opens what
// it was signed for, and nothing else.
func TestAPassOpensTheDoorForReading(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*room{"with tokens": tokenRoom(t, passes), "open": openRoom(t, passes)} {
		for what, c := range map[string]struct {
			method, path string
			key          []byte
			change       func(*pass.Pass)
			status       int
			says         string
		}{
			"a region's node":     {"GET", "/v1/whoami", passKey, func(*pass.Pass) {}, 200, `"name":"amer/amer-1","roles":["read"]`},
			"an operator":         {"GET", "/v1/whoami", passKey, func(p *pass.Pass) { p.Operator = "alice" }, 200, `"name":"alice@amer"`},
			"a query":             {"GET", "/v1/calls?limit=3", passKey, func(p *pass.Pass) { p.Path = "/v1/calls" }, 200, `"items"`},
			"a change":            {"PUT", "/v1/nodes/emea-2/drain", passKey, func(p *pass.Pass) { p.Method = "PUT" }, 403, "roles do not allow"},
			"the whole table":     {"GET", "/v1/snapshot", passKey, func(*pass.Pass) {}, 403, "roles do not allow"},
			"forged":              {"GET", "/v1/whoami", []byte("guess"), func(*pass.Pass) {}, 401, "handle_keys_file must be the same"},
			"played at emea":      {"GET", "/v1/whoami", passKey, func(p *pass.Pass) { p.To = "apac" }, 401, `leads to region \"apac\"`},
			"of other bots":       {"GET", "/v1/whoami", passKey, func(p *pass.Pass) { p.Deployment = "fabrikam" }, 401, "of deployment"},
			"for another request": {"GET", "/v1/nodes", passKey, func(p *pass.Pass) { p.Path = "/v1/whoami" }, 401, "another request"},
			"expired":             {"GET", "/v1/whoami", passKey, func(p *pass.Pass) { p.Expires = start.Add(-time.Minute) }, 401, "has expired"},
		} {
			path, _, _ := strings.Cut(c.path, "?")
			p := amerPass(path)
			c.change(&p)
			status, text := r.showing(c.method, c.path, pass.Sign(c.key, p))
			if status != c.status || !strings.Contains(text, c.says) {
				t.Errorf("%s, %s: %d %s", name, what, status, text)
			}
			if strings.Contains(text, "tandem-pass") || strings.Contains(text, string(passKey)) {
				t.Errorf("%s, %s: the answer tells a pass or its key: %s", name, what, text)
			}
		}
	}
	r := tokenRoom(t)
	if status, _ := r.showing("GET", "/v1/whoami", pass.Sign(passKey, amerPass("/v1/whoami"))); status != 401 {
		t.Errorf("a door without keys answers a pass with %d", status)
	}
}

// TestForgedPassesAreFailedAttempts: and good ones pass all the same.
func TestForgedPassesAreFailedAttempts(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t, passes)
	forged := pass.Sign([]byte("guess"), amerPass("/v1/whoami"))
	for range failBurst {
		r.showing("GET", "/v1/whoami", forged)
	}
	if status, _ := r.showing("GET", "/v1/whoami", forged); status != http.StatusTooManyRequests {
		t.Errorf("after %d forged passes one more gets %d", failBurst, status)
	}
	if status, text := r.showing("GET", "/v1/whoami", pass.Sign(passKey, amerPass("/v1/whoami"))); status != 200 {
		t.Errorf("a good pass gets %d %s", status, text)
	}
}

// TestTheSummaryTellsNodesPartitionsAndApps in forms that other regions' nodes read.
func TestTheSummaryTellsNodesPartitionsAndApps(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.fake.fitness = ownership.RegionFitness{
		Rooms:  []ownership.AppRoom{{App: "app-1", Room: 12, Healthy: true}, {App: "app-2"}},
		Silent: []ownership.Silence{{Node: "emea-2"}, {Node: "emea-4"}},
	}
	s, err := r.client("").Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, n := range s.NodesList {
		states = append(states, string(n.ID)+" "+n.State+" "+n.Cluster+" "+n.Version)
	}
	want := "emea-1 active 10.0.0.1:8471 0.1.0, emea-2 silent 10.0.0.2:8471 0.1.0, emea-3 draining 10.0.0.3:8471 0.1.0, emea-4 gone 10.0.0.4:8471 0.1.0"
	if got := strings.Join(states, ", "); got != want {
		t.Errorf("the nodes are %s", got)
	}
	if len(s.Partitions["emea-1"]) != 3 || s.Partitions["emea-2"][0] != [2]uint64{4, 1} || len(s.Apps) != 2 || s.Apps[0].Room != 12 || s.LeftOut != "" {
		t.Errorf("the summary is %+v", s)
	}
	if !s.Healthy || s.Leader != "emea-2" || s.Node != "emea-1" || s.Format == 0 {
		t.Errorf("the summary is %+v", s)
	}
	r.fake.fitness.Rooms = []ownership.AppRoom{{App: "app-1", Healthy: true}, {App: "app-2"}}
	if s, err = r.client("").Summary(t.Context()); err != nil || s.Healthy {
		t.Errorf("a region whose bots are sick or full: %+v, %v", s, err)
	}
}
