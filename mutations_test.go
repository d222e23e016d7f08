package tandem

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"tandem/faultrig/mutate"
)

var guardRow = regexp.MustCompile(`^\| ([A-Z][0-9]+) \|(.*)\|$`)

// TestEveryGuardCanBeTakenOut: each row of SECURITY.md has a mutation that one of its
// tests is to miss, or a reason why not, and each mutation still fits the source.
// That the tests do go red is for scripts/mutate to see: it takes long.
func TestEveryGuardCanBeTakenOut(t *testing.T) {
	text, err := os.ReadFile("scripts/mutations")
	if err != nil {
		t.Fatal(err)
	}
	all, err := mutate.Read(string(text))
	if err != nil {
		t.Fatalf("reading scripts/mutations: %v", err)
	}
	for i := range all {
		if err := all[i].Fits("."); err != nil {
			t.Errorf("scripts/mutations: %v", err)
		}
	}
	doc, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(doc)) {
		row := guardRow.FindStringSubmatch(strings.TrimSpace(line))
		if row == nil {
			continue
		}
		rows[row[1]] = true
		if !guarded(all, row[1], row[2]) {
			t.Errorf("scripts/mutations takes no guard out for this row of SECURITY.md, which one of its tests would miss: %s %.80s", row[1], row[2])
		}
	}
	for i := range all {
		for _, id := range all[i].Rows {
			if !rows[id] {
				t.Errorf("scripts/mutations: SECURITY.md has no row %s (%s)", id, &all[i])
			}
		}
	}
}

// guarded reports whether there is a mutation for a row of SECURITY.md with a test
// that the row names, or a reason why there is none.
func guarded(all []mutate.Mutation, id, row string) bool {
	for i := range all {
		m := &all[i]
		if m.Is(id) && (m.Because != "" || strings.Contains(row, "`"+m.Top()+"`")) {
			return true
		}
	}
	return false
}
