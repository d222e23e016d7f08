package table

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestTablesFitTheTerminal: no line is wider than the terminal, names are never cut, a
// pipe gets all, and text beside a word loses nothing.
func TestTablesFitTheTerminal(t *testing.T) {
	table := [][]string{
		{"CALL", "STATE", "OWNER", "REASON", "TENANT"},
		{"57dab8b1894c409ab240bd8beae78896", "answered", "emea-1", "least-loaded", "8986d25d-ed3f-4bb8-b739-14d2fcc37b09"},
	}
	for width, want := range map[int]string{
		0: "8986d25d-ed3f-4bb8-b739-14d2fcc37b09", 140: "8986d25d-ed3f-4bb8-b739-14d2fcc37b09",
		80: "8986d25", 50: "answered",
	} {
		got, told := Fit(table, width)
		if name := got[1][0]; name != table[1][0] {
			t.Errorf("%d: the name became %q", width, name)
		}
		if line := strings.Join(got[1], " "); !strings.Contains(line, want) {
			t.Errorf("%d: %q lacks %q", width, line, want)
		}
		if whole := total(measure(got)); width > 0 && whole > width || (told == "") != (width == 0 || width == 140) {
			t.Errorf("%d: it is %d wide and tells %q", width, whole, told)
		}
	}
	text := [][]string{{"node", "emea-1"}, {"warning", strings.Repeat("something is not as it should be ", 5)}}
	got, _ := Fit(text, 40)
	var words []string
	for _, r := range got {
		if n := utf8.RuneCountInString(r[0]) + gap + utf8.RuneCountInString(strings.TrimRight(r[1], " ")); n > 40 {
			t.Errorf("%q is %d wide", r, n)
		}
		if r[0] != "node" {
			words = append(words, r[1])
		}
	}
	if strings.Join(strings.Fields(strings.Join(words, " ")), " ") != strings.TrimSpace(text[1][1]) {
		t.Errorf("text was lost: %q", words)
	}
}

// TestFitTakesAnything: rows of any shape neither panic nor grow.
func TestFitTakesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfN(rapid.SliceOfN(rapid.StringN(0, 30, -1), 1, 6), 1, 5).Draw(t, "rows")
		width := rapid.IntRange(0, 120).Draw(t, "width")
		got, _ := Fit(rows, width)
		if total(measure(got)) > max(total(measure(rows)), width) {
			t.Fatalf("%q at %d became %q", rows, width, got)
		}
	})
}
