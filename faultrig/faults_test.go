package faultrig

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if dir := filepath.Dir(built.path); built.path != "" {
			_ = os.RemoveAll(dir) // a temporary directory
		}
		os.Exit(code)
	}))
}

// built is the product's program, built once for all tests.
var built struct {
	once sync.Once
	path string
	err  error
}

func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "tandemrigbuild-")
		if err != nil {
			built.err = err
			return
		}
		built.path, built.err = Build(context.Background(), dir, nil)
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// inject runs a fault as scripts/faults does, against the program as it is.
func injectFault(t *testing.T, fault string) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: real processes under faults take half a minute each")
	}
	s, err := Find(fault)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	r, err := Run(ctx, s, Options{Binary: program(t), Seed: 1})
	if err != nil {
		t.Fatalf("the rig could not go on: %v", err)
	}
	if r.Skipped != "" {
		t.Skipf("%s %s: %s", r.Fault, r.Title, r.Skipped)
	}
	for _, n := range r.Notes {
		t.Log(n)
	}
	for _, b := range r.Broken {
		t.Error(b)
	}
	t.Logf("%s in %s, %d claim operations, %d calls; %s", r.Summary(), r.Took.Round(time.Second), r.Operations, r.Calls.Calls, strings.Join(recoveries(r), ", "))
	if r.Dir != "" {
		t.Logf("logs and data are in %s", r.Dir)
	}
}

func TestF01_KillFollower(t *testing.T)   { injectFault(t, "F01") }
func TestF02_KillLeader(t *testing.T)     { injectFault(t, "F02") }
func TestF03_KillAll(t *testing.T)        { injectFault(t, "F03") }
func TestF04_KillAtBirth(t *testing.T)    { injectFault(t, "F04") }
func TestF06_PowerLossOfAll(t *testing.T) { injectFault(t, "F06") }
func TestF07_FlippedBit(t *testing.T)     { injectFault(t, "F07") }
func TestF09_FailingFsync(t *testing.T)   { injectFault(t, "F09") }
func TestF11_StalledDisk(t *testing.T)    { injectFault(t, "F11") }
func TestF13_PausedOwner(t *testing.T)    { injectFault(t, "F13") }
func TestF17_CutOff(t *testing.T)         { injectFault(t, "F17") }
func TestF28_WipedNode(t *testing.T)      { injectFault(t, "F28") }
func TestF31_OwnerKilled(t *testing.T)    { injectFault(t, "F31") }

// Every fault that is part of the tests has one here, and every other one says
// where it runs.
func TestEveryFaultHasItsPlace(t *testing.T) {
	source, err := os.ReadFile("faults_test.go")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := 0
	seen := map[string]bool{}
	for _, s := range Scenarios() {
		if seen[s.Fault] {
			t.Errorf("%s stands twice in the table", s.Fault)
		}
		seen[s.Fault] = true
		switch has := strings.Contains(string(source), "TestF"+s.Fault[1:]+"_"); {
		case s.Short && !has:
			t.Errorf("%s is part of the tests and has none", s.Fault)
		case !s.Short && has:
			t.Errorf("%s has a test and is not marked as short", s.Fault)
		case s.Cannot != "":
			t.Logf("SKIPPED everywhere: %s %s: %s", s.Fault, s.Title, s.Cannot)
		case !s.Short:
			elsewhere++
		}
	}
	t.Logf("%d faults run by scripts/faults --all only", elsewhere)
}

// A plant that does not fit its source any more proves nothing.
func TestPlantsFit(t *testing.T) {
	for _, p := range Plants() {
		t.Run(p.Name, func(t *testing.T) {
			root, err := goOutput(t.Context(), "", "list", "-m", "-f", "{{.Dir}}")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.plantIn(t.Context(), root, t.TempDir()); err != nil {
				t.Error(err)
			}
			if _, err := Find(p.Finds); err != nil {
				t.Error(err)
			}
		})
	}
	gone := Plant{Name: "gone", File: "cluster/lease.go", Old: "no such line"}
	root, err := goOutput(t.Context(), "", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.plantIn(t.Context(), root, t.TempDir()); err == nil {
		t.Error("a plant whose line is gone was taken")
	}
}
