package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tandem/admin/api"
	"tandem/ownership"
)

// applyRollout does with the rules for versions what a table does.
func (f *fake) applyRollout(a ownership.Act) {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := func(app ownership.AppID, version string) {
		f.rollouts = slices.DeleteFunc(slices.Clone(f.rollouts), func(r ownership.Rollout) bool { return r.App == app && r.Version == version })
	}
	switch a := a.(type) {
	case ownership.SetRollout:
		of(a.Rollout.App, a.Rollout.Version)
		a.Rollout.Number++
		f.rollouts = append(f.rollouts, a.Rollout)
	case ownership.EndRollout:
		of(a.App, a.Version)
	}
}

func TestRolloutsAreSetHaltedResumedAndEnded(t *testing.T) {
	r := tokenRoom(t)
	r.fake.format = ownership.FormatRollouts
	r.fake.fitness.Versions = []ownership.VersionState{
		{VersionTally: ownership.VersionTally{App: "a", Version: "2.4.1", Taken: 9, Well: 9}, Nodes: []ownership.NodeID{"emea-1"}, Proven: true},
		{VersionTally: ownership.VersionTally{App: "a", Version: "2.5.0", Taken: 5, Bad: 5}, Nodes: []ownership.NodeID{"emea-2"}, Fresh: true, Hurt: 5, Bound: 5},
	}
	do := func(method, path, body string, want int) {
		t.Helper()
		r.ask(method, path, body, as(api.RoleOperate)).want(t, want)
	}
	stands := func(want ...string) {
		t.Helper()
		var all api.List[api.BotVersion]
		if err := json.Unmarshal([]byte(r.ask("GET", "/v1/rollouts", "", as(api.RoleRead)).want(t, 200).text), &all); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range all.Items {
			got = append(got, v.Stands)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the versions stand %q, want %q", got, want)
		}
	}
	const of = `"app":"a","version":"2.5.0"`
	stands("usual", "watched")
	do(http.MethodPost, "/v1/rollouts/resume", `{`+of+`}`, 404)
	do(http.MethodPut, "/v1/rollouts", `{`+of+`,"percent":0.001}`, 422)
	do(http.MethodPut, "/v1/rollouts", `{`+of+`,"percent":101}`, 422)
	do(http.MethodPut, "/v1/rollouts", `{"app":"a","version":"2 5","percent":1}`, 422)
	do(http.MethodPut, "/v1/rollouts", `{`+of+`,"percent":1,"steps":true}`, 204)
	stands("usual", "unproven")
	do(http.MethodPost, "/v1/rollouts/resume", `{`+of+`}`, 409)
	do(http.MethodPost, "/v1/rollouts/halt", `{`+of+`,"note":"it smells"}`, 204)
	stands("usual", "halted")
	do(http.MethodPut, "/v1/rollouts", `{`+of+`,"percent":50}`, 409)
	do(http.MethodPost, "/v1/rollouts/resume", `{`+of+`}`, 204)
	rule := r.fake.Rollouts()[0]
	if rule.Halted || rule.Share != 100 || !rule.Steps || rule.Base.Bad != 5 || rule.By == "" {
		t.Errorf("resumed it is %+v", rule)
	}
	do(http.MethodPost, "/v1/rollouts/end", `{`+of+`}`, 204)
	stands("usual", "watched")

	r.fake.format = ownership.FormatRollouts - 1
	do(http.MethodPut, "/v1/rollouts", `{`+of+`,"percent":1}`, 409)
	do(http.MethodPost, "/v1/rollouts/halt", `{`+of+`}`, 409)
}

// TestAHaltedVersionIsSeenOnTheScreen: on the overview, which counts no place of it as free, on the
// page of nodes, and on that of the node whose bot it is.
func TestAHaltedVersionIsSeenOnTheScreen(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	r.someCalls(3)
	halt := func(reason string) {
		r.fake.set(func() {
			r.fake.rollouts = []ownership.Rollout{{App: "a", Version: "2.5.0", Share: 10_000, Halted: reason != "", Reason: reason}}
			r.fake.fitness.Rooms = []ownership.AppRoom{{App: "a", Room: 17, Healthy: true}, {App: "b", Room: 16, Healthy: true}}
			r.fake.fitness.Versions = []ownership.VersionState{{VersionTally: ownership.VersionTally{App: "a", Version: "2.5.0", Taken: 5, Bad: 5}, Nodes: []ownership.NodeID{"emea-2"}}}
		})
	}
	halt("halted: 5 of its 5 calls ended badly")
	for path, wants := range map[string][]string{
		"":             {"is halted (5 of its 5 calls ended badly): new calls go to the other versions.", "<b>17</b><span>new calls can be taken now"},
		"nodes":        {`<span class="pill bad">halted</span>`, "<br>5 of its 5 calls ended badly", `<td class="number">none</td>`},
		"nodes/emea-2": {`nodes#bots">2.5.0</a> <span class="pill bad">halted</span>`},
	} {
		page := r.ask("GET", "/console/"+path, "").want(t, 200).text
		for _, want := range wants {
			if !strings.Contains(page, want) {
				t.Errorf("%q does not show %q:\n%s", path, want, page)
			}
		}
	}
	if page := r.ask("GET", "/console/nodes/emea-1", "").want(t, 200).text; strings.Contains(page, "2.5.0") {
		t.Error("the version is shown at a node that has another")
	}
	path := "nodes?act=%s&app=a&version=2.5.0"
	for act, want := range map[string]string{
		"halt": "No node has a bot of another version", "resume": "It gets 100 % of the new calls again", "end": "It gets calls again, as any version", "explode": "",
	} {
		page := r.ask("GET", "/console/"+fmt.Sprintf(path, act), "").want(t, 200).text
		if form := strings.Contains(page, `action="/console/versions/`+act+`"`); form != (want != "") || !strings.Contains(page, want) {
			t.Errorf("%s: a form is shown: %t, and not %q:\n%s", act, form, want, page)
		}
	}
	halt("")
	if page := r.ask("GET", "/console/", "").want(t, 200).text; strings.Contains(page, "is halted") {
		t.Error("a version with a rule is said to be halted")
	}
	if page := r.ask("GET", "/console/nodes", "").want(t, 200).text; !strings.Contains(page, `<td class="number">100 %</td>`) {
		t.Errorf("its share is not shown:\n%s", page)
	}
}
