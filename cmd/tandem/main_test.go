package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"tandem/admin/client"
	"tandem/ownership"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"tandem": func() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// leakChecked makes a goroutine that outlives the tests a failure.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString("goroutines outlive the tests: " + err.Error() + "\n")
			return 1
		}
	}
	return code
}

// TestScripts runs the stories in testdata/script with the real program.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ready": waitReady, "active": waitActive, "until": waitUntil, "envfile": envFromFile},
		Setup: func(e *testscript.Env) error {
			sample, err := os.ReadFile("../../deploy/tandem.yaml")
			if err != nil {
				return err
			}
			return os.WriteFile(e.WorkDir+"/sample.yaml", sample, 0o600)
		},
	})
}

// TestScriptsShareNoPort: the stories run side by side, so two that listen on one
// port would now and then meet each other's node.
func TestScriptsShareNoPort(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	port := regexp.MustCompile(`\b127\.0\.0\.1:(\d{4,5})\b`)
	teller := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range port.FindAllSubmatch(text, -1) {
			if first, ok := teller[string(m[1])]; ok && first != f {
				t.Errorf("%s and %s both use port %s", first, f, m[1])
			}
			teller[string(m[1])] = f
		}
	}
	if len(teller) == 0 {
		t.Fatal("no story names a port")
	}
}

// waitActive waits until a node takes new calls and owns partitions.
func waitActive(ts *testscript.TestScript, _ bool, args []string) {
	c, err := client.New(ts.Getenv("TANDEM_ADDR"), "", "")
	ts.Check(err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if n, err := c.Node(ctx, ownership.NodeID(args[0])); err == nil && n.Standing == ownership.NodeActive.String() && n.Partitions > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("%s did not take new calls in time", args[0])
		}
	}
}

// waitReady waits until the node at TANDEM_ADDR may act as owner.
func waitReady(ts *testscript.TestScript, _ bool, _ []string) {
	c, err := client.New(ts.Getenv("TANDEM_ADDR"), ts.Getenv("TANDEM_TOKEN"), "")
	ts.Check(err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err := c.Status(ctx); err == nil && s.Leased {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("the node at %s was not ready in time", ts.Getenv("TANDEM_ADDR"))
		}
	}
}

// waitUntil runs a command until its output matches.
func waitUntil(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	deadline := time.Now().Add(30 * time.Second)
	for !want.MatchString(ts.ReadFile("stdout")) {
		if time.Now().After(deadline) {
			ts.Fatalf("%q never printed %q, but %s", args[1:], args[0], ts.ReadFile("stdout"))
		}
		ts.Check(ts.Exec(args[1], args[2:]...))
	}
}

// envFromFile sets a variable to what a file (or stdout) holds: a token that was
// printed once.
func envFromFile(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: envfile NAME FILE")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}
