package tandem

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notWord = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors returns the names by which a page's headings are linked.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		all[strings.ReplaceAll(notWord.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return all
}

// documents are all pages for people.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "*/DESIGN.md", "llms.txt"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// TestLinksLeadSomewhere: a link between pages names a file that is there, and a heading
// that is on it.
func TestLinksLeadSomewhere(t *testing.T) {
	seen := 0
	for _, page := range documents(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			seen++
			file := page
			if to != "" {
				file = filepath.Join(filepath.Dir(page), to)
			}
			target, err := os.ReadFile(file)
			if info, wrong := os.Stat(file); wrong == nil && info.IsDir() {
				continue
			}
			if err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			} else if anchor != "" && strings.HasSuffix(file, ".md") && !anchors(string(target))[anchor] {
				t.Errorf("%s links to %s: that page has no such heading", page, m[1])
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d links were found", seen)
	}
}

// TestEveryPageIsOnTheList: whoever reads llms.txt, and whoever reads README.md, is led to
// every page.
func TestEveryPageIsOnTheList(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	for _, list := range []string{"llms.txt", "README.md"} {
		text, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			if !strings.Contains(string(text), "("+page+")") {
				t.Errorf("%s does not link to %s", list, page)
			}
		}
	}
}

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
