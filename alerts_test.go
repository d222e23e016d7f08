package tandem

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// alert is one rule of deploy/alerts.yaml.
type alert struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Annotations map[string]string `yaml:"annotations"`
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(text(t, "deploy/alerts.yaml"), &file); err != nil || len(file.Groups) != 1 || len(file.Groups[0].Rules) == 0 {
		t.Fatalf("the alerts: %v", err)
	}
	return file.Groups[0].Rules
}

func text(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEachAlertIsTestedAndHasARunbook: a section of docs/runbooks.md says what it means, where
// to look and what to do, in the order of the alerts, and none is about an alert that is not
// there; a test of promtool makes it fire and end.
func TestEachAlertIsTestedAndHasARunbook(t *testing.T) {
	sections := strings.Split(string(text(t, "docs/runbooks.md")), "\n## ")[1:]
	tests := string(text(t, "deploy/alerts_test.yaml"))
	rules := alerts(t)
	for i, a := range rules {
		if i >= len(sections) || !strings.HasPrefix(sections[i], a.Alert+"\n") {
			t.Fatalf("section %d of docs/runbooks.md is not about %s", i+1, a.Alert)
		}
		for _, part := range []string{"**What it means.**", "**Look here.**", "**Do this.**"} {
			if !strings.Contains(sections[i], part) {
				t.Errorf("the runbook of %s lacks %s", a.Alert, part)
			}
		}
		if want := "docs/runbooks.md#" + strings.ToLower(a.Alert); a.Annotations["runbook"] != want || a.Annotations["summary"] == "" {
			t.Errorf("%s names the runbook %q, want %q", a.Alert, a.Annotations["runbook"], want)
		}
		if !strings.Contains(tests, `{alertname="`+a.Alert+`"}`) {
			t.Errorf("no test of deploy/alerts_test.yaml makes %s fire", a.Alert)
		}
	}
	if len(sections) != len(rules)+1 { // and one about autoscaling
		t.Errorf("docs/runbooks.md has %d sections for %d alerts", len(sections), len(rules))
	}
}

// usedMetric finds the product's metrics in an expression.
var usedMetric = regexp.MustCompile(`\b(?:tandem|raft)_[a-zA-Z0-9_]+`)

// TestAlertsAndDashboardUseMetricsThatAreThere.
func TestAlertsAndDashboardUseMetricsThatAreThere(t *testing.T) {
	exprs := map[string]string{}
	for _, a := range alerts(t) {
		exprs["the alert "+a.Alert] = a.Expr
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text(t, "deploy/dashboard.json"), &board); err != nil || len(board.Panels) == 0 {
		t.Fatalf("the dashboard: %v", err)
	}
	for _, p := range board.Panels {
		for _, e := range p.Targets {
			exprs["the panel "+p.Title] += " " + e.Expr
		}
	}
	known := append(declaredMetrics(t), raftsOwn...)
	for what, expr := range exprs {
		for _, name := range usedMetric.FindAllString(expr, -1) {
			if !slices.ContainsFunc(known, func(m metric) bool {
				return m.name == name || m.kind == "histogram" && m.name+"_bucket" == name
			}) {
				t.Errorf("%s uses %s, which no node has", what, name)
			}
		}
	}
}

// TestAlertsFireAndEnd by Prometheus' own tool, and nothing else fires meanwhile.
func TestAlertsFireAndEnd(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("THE ALERTS WERE NOT TESTED: promtool (Debian's package prometheus) is not installed")
	}
	for _, args := range [][]string{{"check", "rules", "deploy/alerts.yaml"}, {"test", "rules", "deploy/alerts_test.yaml"}} {
		if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
