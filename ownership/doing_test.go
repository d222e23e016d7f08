package ownership

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDoingNamesEveryAct: no refusal of an act tells people the name of a Go type, and
// none is told of as "changing the table".
func TestDoingNamesEveryAct(t *testing.T) {
	t.Parallel()
	words, err := os.ReadFile("doing.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	act := regexp.MustCompile(`(?m)^func \(\w+ (\w+)\) at\(\) time\.Time`)
	found := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range act.FindAllStringSubmatch(string(text), -1) {
			found++
			if !strings.Contains(string(words), "\tcase "+m[1]+":\n") {
				t.Errorf("Doing has no words for %s", m[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d acts were found", found)
	}
	if got := Doing(Drain{Node: "emea-2"}); got != "draining node emea-2" {
		t.Errorf("a drain is %q", got)
	}
}
