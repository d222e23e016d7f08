package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tandem/bench/region"
)

// table is a table of markdown.
type table struct {
	title string
	rows  [][]string // the first is the head
}

func newTable(title string, head ...string) table { return table{title, [][]string{head}} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// print prints the table if it says anything.
func (t *table) print() {
	if len(t.rows) < 2 {
		return
	}
	fmt.Printf("\n### %s\n\n", t.title)
	for i, r := range t.rows {
		fmt.Printf("| %s |\n", strings.Join(r, " | "))
		if i == 0 {
			fmt.Println("|" + strings.Repeat("---|", len(r)))
		}
	}
}

// bar notes a bar and what came of it.
func (b *bench) bar(what, bar, measured string, met bool) {
	verdict := "yes"
	if !met {
		verdict = "**no**"
	}
	b.bars.row(what, bar, measured, verdict)
}

// latencies are the head of a table of tallies.
func latencies(title string) table {
	return newTable(title, "while", "asked", "answered", "a second", "p50", "p99", "max", "longest gap", "503", "other failures")
}

// said is a row of such a table.
func (t *table) said(while, asked string, s region.Said) {
	t.row(while, asked, count(s.Count), fmt.Sprintf("%.0f", s.Rate), short(s.P50), short(s.P99), short(s.Max), short(s.Gap), count(s.Later), failures(s))
}

func failures(s region.Said) string {
	if s.Err == nil {
		return "0"
	}
	why := s.Err
	if u := (*url.Error)(nil); errors.As(why, &u) {
		why = u.Err
	}
	text := strings.NewReplacer("|", "/", "\n", " ").Replace(why.Error())
	return fmt.Sprintf("%d (%.120s)", s.Failed, text)
}

// count is a number with commas.
func count(n int64) string {
	text := strconv.FormatInt(n, 10)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// mb is bytes in megabytes of a million.
func mb(bytes int64) string { return fmt.Sprintf("%.0f MB", float64(bytes)/1e6) }

// short is a duration in as many digits as say something.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
