package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// reference writes docs/commands.md from the commands themselves.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\nMade from the program (`UPDATE_GOLDEN=1 go test ./cmd/tandem -run Reference`); " +
		"`tandem calls --help` says the same of one, and `tandem man` makes manual pages of it.\n\n")
	b.WriteString("```\n" + root.Long + "\n```\n\nFlags of all commands that ask a node:\n\n")
	flagTable(&b, root.PersistentFlags())
	every(root, func(c *cobra.Command) {
		if c == root || !c.IsAvailableCommand() || c.Name() == "help" || c.Parent().Name() == "completion" {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n", c.CommandPath(), strings.ToUpper(c.Short[:1])+strings.TrimSuffix(c.Short[1:], "."))
		if c.Runnable() && !c.HasSubCommands() || c.Name() == "regions" {
			fmt.Fprintf(&b, "\n```\n%s\n```\n", strings.TrimSpace(c.UseLine()))
		}
		if c.Long != "" && c.Name() != "completion" {
			fmt.Fprintf(&b, "\n```\n%s\n```\n", strings.TrimSpace(c.Long))
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```\n%s\n```\n", strings.ReplaceAll(strings.TrimSpace("\n"+c.Example), "\n  ", "\n"))
		}
		if c.HasAvailableLocalFlags() {
			b.WriteString("\n")
			flagTable(&b, c.LocalNonPersistentFlags())
		}
	})
	return b.String()
}

func flagTable(b *strings.Builder, flags *pflag.FlagSet) {
	b.WriteString("| flag | | default |\n|---|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name += ", `-" + f.Shorthand + "`"
		}
		def := f.DefValue
		if def == "[]" || def == "false" || def == "0s" || def == "0" {
			def = ""
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, strings.ReplaceAll(f.Usage, "|", `\|`), def)
	})
}

// TestReferenceIsTrue: docs/commands.md is what the program says of itself.
func TestReferenceIsTrue(t *testing.T) {
	const file = "../../docs/commands.md"
	want := reference((&app{out: io.Discard, err: io.Discard}).root())
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the program says; make it anew: UPDATE_GOLDEN=1 go test ./cmd/tandem -run Reference", file)
	}
	if n := strings.Count(want, "\n## "); n < 50 {
		t.Errorf("only %d commands are in it", n)
	}
}

// TestEveryCommandTeaches: each says in a line what it does, and who takes words or has
// more to say gives them names.
func TestEveryCommandTeaches(t *testing.T) {
	every((&app{out: io.Discard, err: io.Discard}).root(), func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s says nothing of itself", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s says nothing of itself", c.CommandPath(), f.Name)
			}
		})
	})
}

// TestManualPages: a page for each command, the same from the same program.
func TestManualPages(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		var out, errs bytes.Buffer
		if code := run([]string{"man", "--dir", dir}, &out, &errs); code != exitOK {
			t.Fatalf("%d: %s", code, &errs)
		}
	}
	pages, err := filepath.Glob(filepath.Join(one, "*.1"))
	if err != nil || len(pages) < 50 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, p := range pages {
		a, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(two, filepath.Base(p)))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs from one time to the next: %v", p, err)
		}
	}
	var out, errs bytes.Buffer
	if code := run([]string{"man", "raft", "peers"}, &out, &errs); code != exitOK || !strings.Contains(out.String(), "who votes, who leads") {
		t.Errorf("%d: %s%s", code, &out, &errs)
	}
	if code := run([]string{"man", "frob"}, &out, &errs); code != exitUsage {
		t.Errorf("an unknown command gives %d", code)
	}
}

// TestCompletionKnowsTheRegion: nodes, live calls, partitions, regions and states, each
// where it is wanted; and nothing, quickly, where nobody answers.
func TestCompletionKnowsTheRegion(t *testing.T) {
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := `{"items":[]}`
		switch r.URL.Path {
		case "/v1/nodes":
			answer = `{"items":[{"id":"emea-1","state":"active"},{"id":"emea-2","state":"gone"},{"id":"other","state":"draining"}]}`
		case "/v1/partitions":
			answer = `{"items":[{"id":7,"owner":"emea-1"},{"id":8,"owner":"emea-1","retired":true}]}`
		case "/v1/regions":
			answer = `{"items":[{"name":"amer"},{"name":"emea"}]}`
		case "/v1/calls":
			state := r.URL.Query().Get("state")
			answer = `{"items":[{"id":"call-` + state + `","state":"` + state + `","owner":"emea-1"}]}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer door.Close()
	for line, want := range map[string]string{
		"drain |":                 "emea-1 other",
		"drain e|":                "emea-1",
		"drain emea-1 |":          "",
		"nodes show |":            "emea-1 other",
		"move |":                  "7",
		"move 7 |":                "emea-1 other",
		"partitions show |":       "7",
		"calls |":                 "call-orphaned call-claimed call-answered",
		"release |":               "call-orphaned call-claimed call-answered",
		"calls --state |":         "orphaned claimed answered ended",
		"calls --node |":          "emea-1 other",
		"nodes --region |":        "amer emea",
		"regions evacuate |":      "amer emea",
		"nodes --format |":        "table json yaml",
		"raft transfer-leader o|": "other",
		"calls --consistency l|":  "local leader linearizable",
		"upgrade check |":         "emea-1 other",
	} {
		begun := strings.Split(strings.TrimSuffix(line, "|"), " ")
		var out, errs bytes.Buffer
		a := &app{out: &out, err: &errs, environ: []string{"TANDEM_ADDR=" + door.URL}}
		root := a.root()
		root.SetOut(&out)
		root.SetErr(&errs)
		root.SetArgs(append([]string{"__completeNoDesc"}, begun...))
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		got, directive, _ := strings.Cut(out.String(), ":")
		if words := strings.Join(strings.Fields(got), " "); words != want || directive != "4\n" {
			t.Errorf("%s completes to %q (%q), want %q", line, words, directive, want)
		}
	}
	var out, errs bytes.Buffer
	if code := run([]string{"__complete", "--addr", "127.0.0.1:1", "drain", ""}, &out, &errs); code != exitOK || out.String() != ":4\n" {
		t.Errorf("where nobody answers: %d %q", code, &out)
	}
}
