package tandem

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestThirdPartyNotices: THIRD_PARTY_NOTICES.txt, which lies in every package, bears the
// licence text and the notices of every module that is linked on any platform, and of Go's
// library, as those licences ask.
func TestThirdPartyNotices(t *testing.T) {
	modules := linked(t)
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules["the Go standard library"] = strings.TrimSpace(string(root))
	under := map[string][]string{} // modules by the text that they bear
	for path, dir := range modules {
		for _, text := range legalTexts(t, dir) {
			under[text] = append(under[text], path)
		}
	}
	var parts []string
	for text, paths := range under {
		slices.Sort(paths)
		parts = append(parts, strings.Join(paths, "\n")+"\n\n"+text)
	}
	slices.Sort(parts)
	rule := "\n" + strings.Repeat("-", 80) + "\n\n"
	want := "What other people wrote and is linked into the program tandem: module by module, with its\n" +
		"licence and notices. Made from the sources: UPDATE_GOLDEN=1 go test . -run ThirdParty\n" +
		"Sources of each module, those under MPL-2.0 too, are at the address that its name is.\n" +
		rule + strings.Join(parts, rule)
	const name = "THIRD_PARTY_NOTICES.txt"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != want {
		t.Errorf("%s does not follow what is linked (%v): run UPDATE_GOLDEN=1 go test . -run ThirdParty", name, err)
	}
}

// legalTexts reads the licences and notices in a module's folder.
func legalTexts(t *testing.T, dir string) (texts []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.ToUpper(filepath.Base(file))
		if !slices.ContainsFunc([]string{"LICEN", "COPYING", "NOTICE"}, func(begin string) bool { return strings.HasPrefix(name, begin) }) {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // a folder
		}
		var b strings.Builder
		for line := range strings.Lines(strings.Trim(string(raw), "\n")) {
			fmt.Fprintln(&b, strings.TrimRight(line, " \t\r\n"))
		}
		texts = append(texts, b.String())
	}
	if len(texts) == 0 {
		t.Errorf("%s has no licence", dir)
	}
	return texts
}
