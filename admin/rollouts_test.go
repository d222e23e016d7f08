package admin

import (
	"encoding/json"
	"net/http"
	"slices"
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
