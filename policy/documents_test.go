package policy

import (
	"os"
	"regexp"
	"testing"
)

// TestTheDocumentsExamplesCompile reads the documents that docs/rules.md shows.
func TestTheDocumentsExamplesCompile(t *testing.T) {
	text, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Error("it shows none")
	}
	for _, b := range blocks {
		if _, err := ReadDocument(b[1]); err != nil {
			t.Errorf("%v in\n%s", err, b[1])
		}
	}
}
