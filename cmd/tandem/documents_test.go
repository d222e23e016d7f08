package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// told finds the commands that a document tells: in backticks, in console blocks,
// and in the examples of scripts.
var told = regexp.MustCompile("(?m)(?:`|^\\$ |^ +)(?:TANDEM_TOKEN=\\S+(?: operator\\.token\\))? )?tandem ((?:[a-z-]+|[A-Z:]+)(?: [^`#|\\n]*)?)")

// TestO40_DocumentedCommandsExist: every command that a document tells is one of the
// program, with the verbs and flags that it is told with.
func TestO40_DocumentedCommandsExist(t *testing.T) {
	checked := 0
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatalf("there are no documents: %v", err)
	}
	documents = slices.DeleteFunc(documents, func(f string) bool { return filepath.Base(f) == "commands.md" }) // made from the commands
	for _, file := range append(documents, "../../README.md", "../../SECURITY.md", "../../ARCHITECTURE.md", "../../CHANGELOG.md", "../../deploy/tandem.yaml", "../../scripts/provision") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range told.FindAllStringSubmatch(string(text), -1) {
			words := strings.Fields(strings.NewReplacer("[", " ", "]", " ", "|", " | ", "\\", " ", "'", " ", ",", " ").Replace(m[1]))
			for verb := range strings.SplitSeq(words[0], "|") {
				if why := unknownIn(append([]string{verb}, words[1:]...)); why != "" {
					t.Errorf("%s tells of 'tandem %s': %s", file, m[1], why)
				}
				checked++
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d commands were found in the documents", checked)
	}
}

// unknownIn says what of a command line the program does not know.
func unknownIn(words []string) string {
	a := &app{out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	root := a.root()
	c, rest, err := root.Find(words)
	if err != nil {
		return err.Error()
	}
	if c == root && words[0] != "--help" {
		return "no such verb"
	}
	for i, w := range rest {
		name, isFlag := strings.CutPrefix(w, "--")
		name, _, _ = strings.Cut(name, "=")
		name = strings.TrimRight(name, ".;:)(")
		switch {
		case w == "--":
			return ""
		case isFlag && c.Flag(name) == nil && c.InheritedFlags().Lookup(name) == nil && name != "help":
			return "it has no flag --" + name
		case i == 0 && c.HasSubCommands() && regexp.MustCompile(`^[a-z]+$`).MatchString(w) && strings.Contains(w, "|"):
			return "it has no verb " + w
		}
	}
	return ""
}

// TestO40_UnknownCommandsAreFound is the control: what no document may tell.
func TestO40_UnknownCommandsAreFound(t *testing.T) {
	for _, line := range []string{"frobnicate", "tls cert --shared x", "join HOST --now", "nodes --consistancy leader"} {
		if unknownIn(strings.Fields(line)) == "" {
			t.Errorf("'tandem %s' passes for a command", line)
		}
	}
}
