package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// consoleOf returns the commands of the first console block below a heading.
func consoleOf(t *testing.T, file, heading string) (commands []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\n## "+heading+"\n")
	_, block, _ := strings.Cut(after, "```console\n")
	block, _, _ = strings.Cut(block, "```")
	for _, m := range regexp.MustCompile(`(?m)^\$ (.*)$`).FindAllStringSubmatch(block, -1) {
		commands = append(commands, m[1])
	}
	return commands
}

// TestTheQuickStartForBotsRuns copies each step of docs/bots.md's quick start and runs it,
// as a newcomer would: the Node sample keeps the contract and is routed calls.
func TestTheQuickStartForBotsRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: starts nodes")
	}
	steps := consoleOf(t, "../../docs/bots.md", "Quick start")
	if len(steps) != 3 {
		t.Fatalf("the quick start has these steps: %q", steps)
	}
	for _, needed := range []string{"node", "npx", "sh"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Skipf("SKIPPED: %s is not installed: NOBODY RAN THE QUICK START OF docs/bots.md", needed)
		}
	}
	script := "set -e\ntrap 'kill $!' EXIT\n" + strings.Join(steps, "\n")
	sh := exec.CommandContext(t.Context(), "sh", "-c", script)
	sh.Dir = "../.."
	sh.Env = append(os.Environ(), "npm_config_cache="+t.TempDir(), "npm_config_update_notifier=false", "npm_config_offline=true")
	out, err := sh.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, said := range []string{"The bot keeps the contract", "Your bot took everything in time", "Every promise was kept"} {
		if !strings.Contains(string(out), said) {
			t.Errorf("the quick start did not say %q:\n%s", said, out)
		}
	}
}
