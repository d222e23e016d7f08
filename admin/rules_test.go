package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tandem/admin/api"
	"tandem/ownership"
)

// The fake keeps rules as the table does, as far as the door can see.

func (f *fake) Rules() []ownership.Rules {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.rules)
}

func (f *fake) applyRules(a ownership.Act) error {
	set, ok := a.(ownership.SetRules)
	if !ok {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	newest := uint64(0)
	if n := len(f.rules); n > 0 {
		newest = f.rules[n-1].Number
	}
	if newest != set.Expect {
		return fmt.Errorf("setting rules %d: the newest are rules %d: %w", set.Rules.Number, newest, ownership.ErrConflict)
	}
	f.rules = append(f.rules, set.Rules)
	return nil
}

// InForce implements Rulebook, as the rest below; a document that says bad is bad.
func (f *fake) InForce(context.Context) (api.RulesNow, error) {
	now := api.RulesNow{Nodes: []api.RulesHolder{{Name: "emea-1", Same: true}}}
	if all := f.Rules(); len(all) > 0 {
		now.Rules = all[len(all)-1]
		now.Text = now.Rules.Text
	}
	return now, nil
}

func (f *fake) Check(text string) error {
	if strings.Contains(text, "bad") {
		return errors.New("reading the rules: line 3: field bad is no key of a rule")
	}
	return nil
}

func (f *fake) Try(_ context.Context, ask api.RulesTrial) (api.RulesTried, error) {
	return api.RulesTried{Answer: ask.Notification + ask.Header["X"], Calls: []api.RuledOne{{Call: "c", Rule: 1, Facts: map[string]any{"tenant": "t"}}}}, nil
}

func (f *fake) Diff(_ context.Context, text string) (api.RulesDiff, error) {
	return api.RulesDiff{Recorded: len(text), Heard: []string{"emea-1"}}, nil
}

// TestRulesAtTheDoor: rules are set once for each number, by who may operate, are told
// with who set them, and come back from the history.
func TestRulesAtTheDoor(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	c := r.client(api.RoleOperate)
	first, err := c.Rules().Set(t.Context(), api.RulesAsk{Text: "rules: []", Note: "the first"})
	if err != nil || first.Number != 1 || first.Digest != ownership.RulesDigest("rules: []") || first.Origin != "emea" || first.By == "" || first.At.IsZero() {
		t.Fatalf("got %+v, %v", first, err)
	}
	if done := r.fake.done(); !slices.Equal(done, []string{"do ownership.SetRules", "read barrier"}) {
		t.Errorf("the region was asked %v", done)
	}
	if _, err := c.Rules().Set(t.Context(), api.RulesAsk{Text: "pins: []"}); err == nil || !strings.Contains(err.Error(), "the newest are rules 1") {
		t.Errorf("the second operator hears %v", err)
	}
	if _, err := c.Rules().Set(t.Context(), api.RulesAsk{Text: "pins: []", Expect: 1}); err != nil {
		t.Fatal(err)
	}
	back, err := c.Rules().RollBack(t.Context(), api.RulesBack{Number: 1, Expect: 2})
	if err != nil || back.Number != 3 || back.Text != "rules: []" || back.Note != "back to rules 1" {
		t.Errorf("got %+v, %v", back, err)
	}
	all, err := c.Rules().History(t.Context())
	if err != nil || len(all) != 3 || all[0].Number != 3 || all[2].Note != "the first" {
		t.Errorf("the history is %+v, %v", all, err)
	}
	old, err := c.Rules().Version(t.Context(), 2)
	if err != nil || old.Text != "pins: []" {
		t.Errorf("rules 2 are %+v, %v", old, err)
	}
	now, err := c.Rules().Now(t.Context())
	if err != nil || now.Number != 3 || now.Text != "rules: []" || len(now.Nodes) != 1 {
		t.Errorf("in force are %+v, %v", now, err)
	}
	tried, err := c.Rules().Test(t.Context(), api.RulesTrial{Notification: "{}", Header: map[string]string{"X": "y"}})
	if err != nil || tried.Answer != "{}y" || len(tried.Calls) != 1 {
		t.Errorf("tried: %+v, %v", tried, err)
	}
	diff, err := c.Rules().Diff(t.Context(), "pins: []")
	if err != nil || diff.Recorded != 8 {
		t.Errorf("the difference is %+v, %v", diff, err)
	}
	audit := r.ask("GET", "/v1/audit", "", as(api.RoleOperate)).want(t, 200).text
	if !strings.Contains(audit, `"roll-rules-back"`) || !strings.Contains(audit, `"rules 3 (`) {
		t.Errorf("the audit log has %s", audit)
	}
}

func TestRulesThatAreRefused(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	for _, tt := range []struct {
		method, path, body string
		role               api.Role
		status             int
		says               string
	}{
		{"PUT", "/v1/rules", `{"text":"rules: []","expect":0}`, api.RoleRead, 403, ""},
		{"POST", "/v1/rules/rollback", `{"number":1,"expect":1}`, api.RoleRead, 403, ""},
		{"PUT", "/v1/rules", `{"text":"bad: 1","expect":0}`, api.RoleOperate, 422, "line 3: field bad is no key of a rule"},
		{"PUT", "/v1/rules", `{"text":"","expect":0}`, api.RoleOperate, 422, ""},
		{"PUT", "/v1/rules", `{"text":"rules: []"}`, api.RoleOperate, 422, "expect"},
		{"PUT", "/v1/rules", `{"text":"rules: []","expect":4}`, api.RoleOperate, 409, "the newest are rules 0"},
		{"POST", "/v1/rules/rollback", `{"number":7,"expect":1}`, api.RoleOperate, 404, "rules 7"},
		{"GET", "/v1/rules/history/7", "", api.RoleRead, 404, "rules 7"},
		{"POST", "/v1/rules/test", `{"notification":"{}","text":"bad: 1"}`, api.RoleRead, 422, "line 3"},
		{"POST", "/v1/rules/diff", `{"text":"bad: 1"}`, api.RoleRead, 422, "line 3"},
	} {
		if a := r.ask(tt.method, tt.path, tt.body, as(tt.role)); a.StatusCode != tt.status || !strings.Contains(a.text, tt.says) {
			t.Errorf("%s %s %s as %s: %d %s", tt.method, tt.path, tt.body, tt.role, a.StatusCode, a.text)
		}
	}
	r.fake.set(func() { r.fake.format = ownership.FormatReservations })
	r.ask("PUT", "/v1/rules", `{"text":"rules: []","expect":0}`, as(api.RoleOperate)).want(t, 409)
	bare := tokenRoom(t, func(_ *Config, d *Deps) { d.Rulebook = nil })
	for _, at := range []string{"GET /v1/rules", "POST /v1/rules/diff", "POST /v1/rules/test", "PUT /v1/rules"} {
		method, path, _ := strings.Cut(at, " ")
		body := map[string]string{"/v1/rules/diff": `{"text":"rules: []"}`, "/v1/rules/test": `{"notification":"{}","text":"rules: []"}`, "/v1/rules": `{"text":"rules: []","expect":0}`}[path]
		if method == "GET" {
			body = ""
		}
		bare.ask(method, path, body, as(api.RoleOperate)).want(t, 501)
	}
}
