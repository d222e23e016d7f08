package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"tandem/node"
)

// TestO13_TextsStayTexts: a key that holds a text takes it as it is, wherever it
// comes from and whatever YAML would make of it.
func TestO13_TextsStayTexts(t *testing.T) {
	for _, text := range []string{
		"[::]:8471", "[::1]:8470", "007", "true", "~", "null", "1e3", "0x10", "2026-01-02", "", "#x", "a: b", "a #b",
		"- a", "{}", "[a, b]", "'quoted'", `"`, "&a", "*a", "!tag", "|", ">", "@", "%", " edges ", "tab\tand\nline", "ümlaut",
	} {
		for origin, load := range map[string]func() (*loaded, error){
			"environment": func() (*loaded, error) { return loadConfig("", []string{"TANDEM_CLUSTER_LISTEN=" + text}, nil) },
			"flag":        func() (*loaded, error) { return loadConfig("", nil, []string{"cluster.listen=" + text}) },
		} {
			got, err := load()
			if err != nil {
				t.Errorf("%s %q: %v", origin, text, err)
				continue
			}
			if got.Cluster.Listen != text {
				t.Errorf("%s: %q became %q", origin, text, got.Cluster.Listen)
			}
			if s := settingOf(got, "cluster.listen"); s.Value != text || s.Origin != origin {
				t.Errorf("%q is shown as %v", text, s)
			}
		}
	}
}

// TestO13_TextsOfTheFile: a text key takes what stands in the file letter by
// letter, though YAML alone would read a number, a truth or a date.
func TestO13_TextsOfTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	for _, text := range []string{"007", "1e3", "0x10", "true", "yes", "2026-01-02", "1_000", ".5"} {
		body := "node: {id: " + text + "}\ncluster: {join: [" + text + "]}\napps: [{id: " + text + ", tenants: [" + text + "]}]\n"
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := loadConfig(file, nil, nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got.Node.ID != text || got.Cluster.Join[0] != text || got.Apps[0].ID != text || got.Apps[0].Tenants[0] != text {
			t.Errorf("%s became %q, %q, %q", text, got.Node.ID, got.Cluster.Join, got.Apps[0].ID)
		}
	}
}

// TestO13_Lists: a list of texts is written with commas or as YAML has it, and its
// texts stay texts.
func TestO13_Lists(t *testing.T) {
	for text, want := range map[string][]string{
		"":                         {},
		"10.0.0.2:8471":            {"10.0.0.2:8471"},
		"a:1,b:2":                  {"a:1", "b:2"},
		"a:1, b:2 ,":               {"a:1", "b:2"},
		"[::1]:8471":               {"[::1]:8471"},
		"[::1]:8471,[::2]:8471":    {"[::1]:8471", "[::2]:8471"},
		"[::1],[::2]":              {"[::1]", "[::2]"},
		"[a:1, b:2]":               {"a:1", "b:2"},
		`["[::1]:8471", 'b:2']`:    {"[::1]:8471", "b:2"},
		"[007, true, ~, 1e3]":      {"007", "true", "~", "1e3"},
		"007,true,~,1e3,#x":        {"007", "true", "~", "1e3", "#x"},
		"[]":                       {},
		"[\"#x\"]":                 {"#x"},
		"host-a:8471,host-b:8471 ": {"host-a:8471", "host-b:8471"},
	} {
		env, err := loadConfig("", []string{"TANDEM_CLUSTER_JOIN=" + text}, nil)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		flag, err := loadConfig("", nil, []string{"cluster.join=" + text})
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if !reflect.DeepEqual(env.Cluster.Join, want) || !reflect.DeepEqual(flag.Cluster.Join, want) {
			t.Errorf("%q became %q by environment and %q by flag, want %q", text, env.Cluster.Join, flag.Cluster.Join, want)
		}
	}
}

// TestO13_OtherKinds: what is no text is read strictly and names its key; an
// empty variable is no number, time or truth.
func TestO13_OtherKinds(t *testing.T) {
	got, err := loadConfig("", []string{
		"TANDEM_NODE_CAPACITY=010", "TANDEM_PUBLIC_TLS_OFF=true", "TANDEM_NODE_DRAIN=90s",
		`TANDEM_REGIONS=[{name: 007, url: "https://a"}]`,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Node.Capacity != 10 || !got.Public.TLS.Off || got.Node.Drain != 90*time.Second || got.Regions[0].Name != "007" {
		t.Errorf("read %+v, %+v, %+v", got.Node, got.Public.TLS, got.Regions)
	}
	for env, says := range map[string]string{
		"TANDEM_NODE_CAPACITY=":      "TANDEM_NODE_CAPACITY is empty: write a whole number",
		"TANDEM_NODE_CAPACITY=1e3":   `TANDEM_NODE_CAPACITY is "1e3": write a whole number`,
		"TANDEM_PUBLIC_TLS_OFF=":     "TANDEM_PUBLIC_TLS_OFF is empty: write true or false",
		"TANDEM_PUBLIC_TLS_OFF=yes":  "write true or false",
		"TANDEM_NODE_DRAIN=30":       "write a time such as 30s",
		"TANDEM_CLUSTER_JOIN=[a: b]": "write texts, with commas between them",
		"TANDEM_APPS=":               "TANDEM_APPS is empty",
		"TANDEM_APPS=x":              `TANDEM_APPS is "x"`,
	} {
		if _, err := loadConfig("", []string{env}, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", env, err, says)
		}
	}
}

// TestO13_SecretsOfApps: the design lets a secret stand in a file or the
// environment; those of apps stand in a list, so their place is their name.
func TestO13_SecretsOfApps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("apps: [{id: a}, {id: b}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := loadConfig(file, []string{"TANDEM_APPS_1_GRAPH_CLIENT_SECRET=007", "TANDEM_APPS_0_BOT_SECRET=~"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Apps[1].Graph.ClientSecret != "007" || got.Apps[0].Bot.Secret != "~" || got.Apps[0].Graph.ClientSecret != "" {
		t.Errorf("the secrets came to %+v", got.Apps)
	}
	if shown := string(mustYAML(got.Config)); strings.Contains(shown, "007") || strings.Contains(shown, "~") {
		t.Errorf("a secret is shown:\n%s", shown)
	}
	for _, env := range []string{"TANDEM_APPS_2_BOT_SECRET=x", "TANDEM_APPS_00_BOT_SECRET=x", "TANDEM_APPS_1_BOT_SECRET="} {
		if _, err := loadConfig(file, []string{env}, nil); err == nil || !strings.Contains(err.Error(), env[:strings.Index(env, "=")]) {
			t.Errorf("%s: %v", env, err)
		}
	}
	if _, err := loadConfig(file, nil, []string{"apps.0.bot.secret=x"}); err == nil {
		t.Error("a flag took a secret")
	}
}

// TestO13_LayersKeepWhatOthersSay: an empty section takes nothing away, a later
// list replaces an earlier one, and maps of the file are its own.
func TestO13_LayersKeepWhatOthersSay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	body := "x: &base {url: http://b/}\n"
	if err := os.WriteFile(file, []byte("public:\ncluster: {join: [a, b]}\nnode: &n {id: x}\napps: [{id: a, answer_with: {k: 007}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := loadConfig(file, []string{"TANDEM_CLUSTER_JOIN=c"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := node.Defaults().Public; !reflect.DeepEqual(got.Public, want) {
		t.Errorf("an empty section left %+v", got.Public)
	}
	if !reflect.DeepEqual(got.Cluster.Join, []string{"c"}) {
		t.Errorf("the lists were mixed: %q", got.Cluster.Join)
	}
	for text, says := range map[string]string{body: "field x not found", "a: 1\n---\nb: 2\n": "", "node: {id: a, id: b}": "already defined"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadConfig(file, nil, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestO13_WrongFlagsAreUsage: a key that nobody knows, or a value that does not
// fit, is wrong usage.
func TestO13_WrongFlagsAreUsage(t *testing.T) {
	for _, set := range []string{"node.nothing=1", "node=x", "node.id", "=x", "node.capacity=", "node.capacity=x", "apps.0.bot.secret=x"} {
		for _, verb := range []string{"validate", "show"} {
			var out, errs bytes.Buffer
			if code := run([]string{"config", verb, "--set", set}, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "--set") {
				t.Errorf("config %s --set %s exits with %d and says %q", verb, set, code, &errs)
			}
		}
	}
}

func settingOf(l *loaded, key string) setting {
	for _, s := range l.Settings {
		if s.Key == key {
			return s
		}
	}
	return setting{}
}
