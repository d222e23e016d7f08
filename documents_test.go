package tandem

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// namedFile finds what a document calls by a path in backticks.
var namedFile = regexp.MustCompile("`([a-z0-9_/]+\\.(?:go|proto|sh))`")

// TestTheMapsNameFilesThatAreThere: whoever follows ARCHITECTURE.md, or a room's
// DESIGN.md, finds the files that they name.
func TestTheMapsNameFilesThatAreThere(t *testing.T) {
	maps, err := filepath.Glob("*/DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(maps) < 3 {
		t.Errorf("cluster, store and bot are to have a DESIGN.md; found %q", maps)
	}
	for _, doc := range append(maps, "ARCHITECTURE.md") {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		named := namedFile.FindAllSubmatch(text, -1)
		if len(named) == 0 {
			t.Errorf("%s names no file", doc)
		}
		for _, m := range named {
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), string(m[1]))); err != nil {
				t.Errorf("%s: it names %s: %v", doc, m[1], err)
			}
		}
	}
}
