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

	"tandem/faultrig/plant"
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
		built.path, built.err = plant.Build(context.Background(), dir, nil)
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
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	r, err := Run(ctx, s, Options{Binary: program(t), Seed: 1, NoBars: true, Rounds: roundsOf(s)})
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

// roundsOf is how often a change has to bear a fault: half as often as scripts/faults
// injects it, but each kind of round once.
func roundsOf(s Scenario) int {
	if os.Getenv("FAULTS") == "all" || s.Fault == "F07" { // each round another file
		return s.Rounds
	}
	return min(s.Rounds, max(2, (s.Rounds+1)/2)) // of two kinds the other one each time
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

// restOfFault is a fault that takes too long for every change: FAULTS=all runs
// it, and so does scripts/faults.
func restOfFault(t *testing.T, fault string) {
	t.Helper()
	if os.Getenv("FAULTS") != "all" {
		t.Skipf("SKIPPED: %s runs with FAULTS=all, or by scripts/faults --run %s", fault, fault)
	}
	injectFault(t, fault)
}

func TestF05_PowerLossOfOne(t *testing.T)       { restOfFault(t, "F05") }
func TestF08_FullDisk(t *testing.T)             { restOfFault(t, "F08") }
func TestF10_SlowFsync(t *testing.T)            { restOfFault(t, "F10") }
func TestF12_StalledFollower(t *testing.T)      { restOfFault(t, "F12") }
func TestF14_StarvedNode(t *testing.T)          { restOfFault(t, "F14") }
func TestF15_WallClockJumps(t *testing.T)       { restOfFault(t, "F15") }
func TestF16_ClockDrift(t *testing.T)           { restOfFault(t, "F16") }
func TestF18_OneWayCuts(t *testing.T)           { restOfFault(t, "F18") }
func TestF19_NotTransitive(t *testing.T)        { restOfFault(t, "F19") }
func TestF20_FlappingLink(t *testing.T)         { restOfFault(t, "F20") }
func TestF21_Loss(t *testing.T)                 { restOfFault(t, "F21") }
func TestF25_RollingRestart(t *testing.T)       { restOfFault(t, "F25") }
func TestF26_MixedVersions(t *testing.T)        { restOfFault(t, "F26") }
func TestF27_MembershipStorm(t *testing.T)      { restOfFault(t, "F27") }
func TestF29_ForeignNode(t *testing.T)          { restOfFault(t, "F29") }
func TestF30_QuorumLost(t *testing.T)           { restOfFault(t, "F30") }
func TestF32_OwnerWakesUp(t *testing.T)         { restOfFault(t, "F32") }
func TestF33_PassedEpoch(t *testing.T)          { restOfFault(t, "F33") }
func TestF34_DifferentViews(t *testing.T)       { restOfFault(t, "F34") }
func TestF35_DeadTarget(t *testing.T)           { restOfFault(t, "F35") }
func TestF36_UnkindNotifications(t *testing.T)  { restOfFault(t, "F36") }
func TestF43_ManyCallsFailOver(t *testing.T)    { restOfFault(t, "F43") }
func TestF22_RegionDown(t *testing.T)           { restOfFault(t, "F22") }
func TestF23_RegionHangs(t *testing.T)          { restOfFault(t, "F23") }
func TestF24_RegionsCut(t *testing.T)           { restOfFault(t, "F24") }
func TestF49_CopiedDisk(t *testing.T)           { restOfFault(t, "F49") }
func TestF50_WipedFounder(t *testing.T)         { restOfFault(t, "F50") }
func TestF51_NewNames(t *testing.T)             { restOfFault(t, "F51") }
func TestF52_SwappedAddresses(t *testing.T)     { restOfFault(t, "F52") }
func TestF53_NewAddresses(t *testing.T)         { restOfFault(t, "F53") }
func TestF54_Freezes(t *testing.T)              { restOfFault(t, "F54") }
func TestF55_CrashBesideBot(t *testing.T)       { restOfFault(t, "F55") }
func TestF56_RollingLease(t *testing.T)         { restOfFault(t, "F56") }
func TestF57_DeadRegionDoor(t *testing.T)       { restOfFault(t, "F57") }
func TestF58_EndsWhileCutOff(t *testing.T)      { restOfFault(t, "F58") }
func TestF59_SickPosts(t *testing.T)            { restOfFault(t, "F59") }
func TestF60_ChangesDuringCut(t *testing.T)     { restOfFault(t, "F60") }
func TestF61_ChangesWhileDown(t *testing.T)     { restOfFault(t, "F61") }
func TestF62_RollingConfiguration(t *testing.T) { restOfFault(t, "F62") }
func TestF63_RestoreUnderTraffic(t *testing.T)  { restOfFault(t, "F63") }
func TestF64_InstallUnderLoad(t *testing.T)     { restOfFault(t, "F64") }
func TestF65_Multitude(t *testing.T)            { restOfFault(t, "F65") }
func TestF66_TwoFaults(t *testing.T)            { restOfFault(t, "F66") }
func TestF67_SevenNodes(t *testing.T)           { restOfFault(t, "F67") }
func TestF68_PlannedChanges(t *testing.T)       { restOfFault(t, "F68") }
func TestF69_LateAnswers(t *testing.T)          { restOfFault(t, "F69") }
func TestF71_LateLog(t *testing.T)              { restOfFault(t, "F71") }
func TestF70_RollingRestarts(t *testing.T)      { restOfFault(t, "F70") }
func TestF72_AllStopAtOnce(t *testing.T)        { restOfFault(t, "F72") }
func TestF73_RestartWithMedia(t *testing.T)     { restOfFault(t, "F73") }
func TestF74_LedgerAndRecords(t *testing.T)     { restOfFault(t, "F74") }

// Every fault of the table has a test of its number; those that are part of
// every run are marked as short.
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
		name := "TestF" + s.Fault[1:] + "_"
		switch {
		case !strings.Contains(string(source), name):
			t.Errorf("%s has no test of its number", s.Fault)
		case s.Short == strings.Contains(string(source), "restOfFault(t, \""+s.Fault+"\")"):
			t.Errorf("%s: the table and its test do not agree on whether every run has it (short: %v)", s.Fault, s.Short)
		case s.Cannot != "":
			t.Logf("SKIPPED everywhere: %s %s: %s", s.Fault, s.Title, s.Cannot)
		case !s.Short:
			elsewhere++
		}
	}
	t.Logf("%d faults run with FAULTS=all or by scripts/faults only", elsewhere)
}

// A plant that does not fit its source any more proves nothing.
func TestPlantsFit(t *testing.T) {
	all := plant.All()
	for _, format := range plant.OlderFormats() {
		all = append(all, plant.Older(format))
	}
	for _, p := range all {
		t.Run(p.Name, func(t *testing.T) {
			if err := p.Fits(t.Context(), t.TempDir()); err != nil {
				t.Error(err)
			}
			if p.Finds == "" {
				return // no guard is taken out
			}
			if _, err := Find(p.Finds); err != nil {
				t.Error(err)
			}
		})
	}
	gone := plant.Plant{Name: "gone", Edits: []plant.Edit{{File: "cluster/lease.go", Old: "no such line"}}}
	if err := gone.Fits(t.Context(), t.TempDir()); err == nil {
		t.Error("a plant whose line is gone was taken")
	}
}
