// Package table makes tables of text fit a terminal.
package table

import (
	"strings"
	"unicode/utf8"
)

const (
	gap      = 2 // between columns
	narrow   = 8 // no column is made narrower
	readable = 20
)

// Fit makes a table fit a width: it cuts the widest columns, and then leaves out the
// last ones, but never touches the first, which names things. A table of two columns
// without a heading is text beside a word: its lines are broken instead. What was cut
// is told. Width 0: the table goes to no terminal.
func Fit(rows [][]string, width int) (fitting [][]string, told string) {
	widths := measure(rows)
	if width == 0 || total(widths) <= width {
		return rows, ""
	}
	if len(widths) == 2 && rows[0][0] != strings.ToUpper(rows[0][0]) {
		return broken(rows, widths[0], max(readable, width-widths[0]-gap)), ""
	}
	least := make([]int, len(widths))
	copy(least, measure(rows[:1]))
	for total(widths) > width {
		widest := 0
		for i := 1; i < len(widths); i++ {
			if widths[i] > max(narrow, least[i]) && (widest == 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		switch {
		case widest > 0:
			widths[widest]--
		case len(widths) > 2:
			widths = widths[:len(widths)-1]
		default:
			return rows, "" // a name that is wider than the terminal
		}
	}
	for _, r := range rows {
		short := make([]string, 0, len(widths))
		for i, cell := range r[:min(len(r), len(widths))] {
			if n := utf8.RuneCountInString(cell); n > widths[i] {
				cell = string([]rune(cell)[:widths[i]-1]) + "…"
			}
			short = append(short, cell)
		}
		fitting = append(fitting, short)
	}
	return fitting, "cut to the width of the terminal; --format yaml or a pipe shows all"
}

// measure gives the width of each column, in characters.
func measure(rows [][]string) (widths []int) {
	for _, r := range rows {
		for i, cell := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

func total(widths []int) (n int) {
	for _, w := range widths {
		n += w + gap
	}
	return n - gap
}

// broken breaks the second column between words.
func broken(rows [][]string, first, width int) (out [][]string) {
	for _, r := range rows {
		if len(r) < 2 {
			out = append(out, r)
			continue
		}
		name, line := r[0], ""
		for _, word := range strings.SplitAfter(r[1], " ") {
			if line != "" && utf8.RuneCountInString(line)+utf8.RuneCountInString(strings.TrimRight(word, " ")) > width {
				out = append(out, []string{name, strings.TrimRight(line, " ")})
				name, line = strings.Repeat(" ", first), ""
			}
			line += word
		}
		out = append(out, []string{name, line})
	}
	return out
}
