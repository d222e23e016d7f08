package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
	"tandem/ownership/history"
)

// memory is what the nodes of a test remember.
type memory struct {
	mu    sync.Mutex
	steps []history.Step
	asked []api.LogFollow
	fail  error
}

func (m *memory) Of(_ context.Context, ids ...string) (t api.Trail, calls []ownership.CallID) {
	t.Nodes = []api.TrailNode{{Region: "emea", Node: "emea-1", Since: start}}
	for _, s := range m.steps {
		if slices.Contains(ids, string(s.Call)) || slices.Contains(ids, s.Message) {
			t.Steps = append(t.Steps, s)
			if s.Call != "" && !slices.Contains(calls, s.Call) {
				calls = append(calls, s.Call)
			}
		}
	}
	return t, calls
}

func (m *memory) Follow(_ context.Context, f api.LogFollow) (api.LogFollows, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, f)
	return api.LogFollows{Items: []api.LogFollow{f}}, m.fail
}

func (m *memory) Following(context.Context) api.LogFollows {
	return api.LogFollows{Missing: []string{"emea-3: it is silent"}}
}

func at(seconds int, kind history.StepKind, node ownership.NodeID, call ownership.CallID, message string) history.Step {
	return history.Step{At: start.Add(time.Duration(seconds) * time.Second), Kind: kind, Node: node, Call: call, Message: message}
}

func remembering(steps ...history.Step) (*memory, func(*Config, *Deps)) {
	m := &memory{steps: steps}
	return m, func(_ *Config, d *Deps) { d.Trails = m }
}

// TestACallIsExplainedByWhateverNamesIt: its own id, a notification's, one that names
// several calls, and one that was given to no call.
func TestACallIsExplainedByWhateverNamesIt(t *testing.T) {
	t.Parallel()
	_, with := remembering(
		at(1, history.Received, "emea-1", "c01", "m-1"), at(2, history.Handed, "emea-1", "c01", "m-1"),
		at(3, history.Received, "emea-1", "c02", "m-both"), at(3, history.Received, "emea-1", "c03", "m-both"),
		at(4, history.Received, "emea-1", "9999", "m-gone"), at(5, history.Refused, "emea-1", "", "m-refused"),
	)
	r := tokenRoom(t, with)
	r.someCalls(5)
	for id, want := range map[string]struct {
		call  ownership.CallID
		known bool
		steps int
		says  string
	}{
		"c01":       {"c01", true, 2, ""},
		"C-01":      {"c01", true, 2, ""},
		"m-1":       {"c01", true, 2, ""},
		"c04":       {"c04", true, 0, ""},
		"m-both":    {"", false, 2, "names 2 calls"},
		"m-gone":    {"9999", false, 1, "no longer"},
		"m-refused": {"", false, 1, "to no call"},
	} {
		x := told[api.CallExplanation](r, api.RoleRead, "/v1/calls/"+id+"/explain")
		if x.Call != want.call || x.Known != want.known || len(x.Steps) != want.steps || !strings.Contains(strings.Join(x.Why, " "), want.says) {
			t.Errorf("%s: %+v", id, x)
		}
		line := told[api.Timeline](r, api.RoleRead, "/v1/calls/"+id+"/timeline")
		if line.Call != want.call || line.Known != want.known || len(line.Steps) != want.steps {
			t.Errorf("%s: its timeline is %+v", id, line)
		}
	}
	both := told[api.CallExplanation](r, api.RoleRead, "/v1/calls/m-both/explain")
	if !slices.Equal(both.Calls, []ownership.CallID{"c02", "c03"}) {
		t.Errorf("it names %v", both.Calls)
	}
	r.ask("GET", "/v1/calls/nobody/explain", "", reader).want(t, 404)
	r.ask("GET", "/v1/calls/what~is~this/explain", "", reader).want(t, 400)
}

// TestARedirectIsFollowedIntoTheOtherRegion: what both regions remember comes in one answer
// from either door, and a region that cannot be asked is named.
func TestARedirectIsFollowedIntoTheOtherRegion(t *testing.T) {
	t.Parallel()
	emea, amer, between := twoRegions(t)
	here := &memory{steps: []history.Step{at(1, history.Received, "emea-1", "a03", "m-1"), at(2, history.Redirected, "emea-1", "a03", "m-1")}}
	there := &memory{steps: []history.Step{at(3, history.Received, "amer-1", "a03", "m-1"), at(4, history.Handed, "amer-1", "a03", "m-1")}}
	emea.door.deps.Trails, amer.door.deps.Trails = here, there
	for _, id := range []string{"a03", "m-1"} {
		a := emea.ask("GET", "/v1/calls/"+id+"/explain", "", reader).want(t, 200)
		x := told[api.CallExplanation](emea, api.RoleRead, "/v1/calls/"+id+"/explain")
		var way []string
		for _, s := range x.Steps {
			way = append(way, string(s.Node)+" "+string(s.Kind))
		}
		if got := strings.Join(way, ", "); got != "emea-1 received, emea-1 redirect, amer-1 received, amer-1 hand-over" {
			t.Errorf("%s: %s", id, got)
		}
		if x.Call != "a03" || !x.Known || len(x.Why) == 0 || len(x.Nodes) != 2 || a.Header.Get("Tandem-Region") != "amer" || a.Header.Get("Tandem-Applied-Index") == "" {
			t.Errorf("%s: %+v, %v", id, x, a.Header)
		}
	}
	only := told[api.CallExplanation](emea, api.RoleRead, "/v1/calls/a03/explain?region=amer")
	if len(only.Steps) != 2 || only.Steps[0].Node != "amer-1" {
		t.Errorf("of amer alone: %+v", only)
	}
	between.cut.Store(true)
	x := told[api.CallExplanation](emea, api.RoleRead, "/v1/calls/m-1/explain")
	if len(x.Steps) != 2 || x.Known || len(x.Nodes) != 2 || x.Nodes[1].Region != "amer" || x.Nodes[1].Error == "" {
		t.Errorf("with amer cut off: %+v", x)
	}
	emea.ask("GET", "/v1/calls/a04/explain", "", reader).want(t, 503)
}

// TestStepsAreFollowedByTheAPI: what is asked is read, bounded in time and named in the
// audit log; what makes no sense is said.
func TestStepsAreFollowedByTheAPI(t *testing.T) {
	t.Parallel()
	m, with := remembering()
	r := tokenRoom(t, with)
	const operator = "Authorization: Bearer canary-operate-77aa"
	r.ask("PUT", "/v1/log", `{"call":"57DAB8B1-894C-409A-B240-BD8BEAE78896"}`, operator).want(t, 200)
	r.ask("PUT", "/v1/log", `{"node":"emea-2","level":"info","for":"1h"}`, operator).want(t, 200)
	r.ask("PUT", "/v1/log", `{"node":"emea-2","level":"off"}`, operator).want(t, 200)
	for i, want := range []api.LogFollow{
		{Call: "57dab8b1894c409ab240bd8beae78896", Level: "debug", Until: start.Add(10 * time.Minute)},
		{Node: "emea-2", Level: "info", Until: start.Add(time.Hour)},
		{Node: "emea-2", Level: "debug", Until: start},
	} {
		got := m.asked[i]
		if got.Call != want.Call || got.Node != want.Node || got.Level != want.Level || got.Until.Sub(want.Until).Abs() > time.Minute || got.By == "" {
			t.Errorf("it asks the nodes for %+v, want %+v", got, want)
		}
	}
	for body, says := range map[string]string{
		`{"call":"no call"}`:               "call id",
		`{"node":"emea-9"}`:                "no node",
		`{"node":"emea-1","for":"-3"}`:     "10m",
		`{"node":"emea-1","level":"loud"}`: "level",
		`{"everything":true}`:              "everything",
	} {
		if a := r.ask("PUT", "/v1/log", body, operator).want(t, 422); !strings.Contains(a.text, says) {
			t.Errorf("%s: %s", body, a.text)
		}
	}
	m.fail = errors.New("too many are followed")
	if a := r.ask("PUT", "/v1/log", `{"node":"emea-1"}`, operator).want(t, 422); !strings.Contains(a.text, "too many") {
		t.Errorf("%s", a.text)
	}
	now := told[api.LogFollows](r, api.RoleRead, "/v1/log")
	if now.Items == nil || len(now.Missing) != 1 {
		t.Errorf("it tells %+v", now)
	}
	if audit := r.ask("GET", "/v1/audit", "", operator); !strings.Contains(audit.text, "set-log") {
		t.Errorf("the audit log says %s", audit.text)
	}
}
