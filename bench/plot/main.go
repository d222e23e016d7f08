// Command plot draws the tables of docs/benchmarks.md as pictures beside it:
//
//	(cd bench/plot && go run .)            writes docs/benchmarks-*.svg
//	(cd bench/plot && go run . -check)     fails where a picture is not its table's
//
// The tables are the only place where the figures stand. This folder is a module of its own,
// so that nothing that draws gets into the product.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-analyze/charts"
)

// picture is a table, and what of it is drawn: a group of bars for each row.
type picture struct {
	file, title string
	heading     string // of the section whose first table it is
	labels      []int  // columns that name a row
	values      []int  // columns with a bar each
	of          func(row []string) bool
}

var pictures = []picture{
	{
		file: "decision", title: "CPU for one decision of the webhook, µs (less is better)",
		heading: "One decision of the webhook", labels: []int{0, 1}, values: []int{2},
	},
	{
		file: "claims", title: "New calls claimed a second, by clients (more is better)",
		heading: "Beside etcd", labels: []int{1}, values: []int{2, 3}, of: func(row []string) bool { return row[0] == "claim" },
	},
	{
		file: "lookups", title: "Owners looked up a second, by clients (more is better)",
		heading: "Beside etcd", labels: []int{0, 1}, values: []int{2, 3}, of: func(row []string) bool { return strings.HasPrefix(row[0], "lookup") },
	},
	{
		file: "failover", title: "The leader is killed: ms until any survivor places new calls again (less is better)",
		heading: "The leader dies", labels: []int{0}, values: []int{2}, of: func(row []string) bool { return !strings.Contains(row[2], " and ") },
	},
}

func main() {
	check := flag.Bool("check", false, "write nothing, fail where a picture is not its table's")
	docs := flag.String("docs", filepath.Join("..", "..", "docs"), "the folder of benchmarks.md")
	flag.Parse()
	if err := run(*docs, *check); err != nil {
		fmt.Fprintln(os.Stderr, "bench/plot:", err)
		os.Exit(1)
	}
}

func run(docs string, check bool) error {
	text, err := os.ReadFile(filepath.Join(docs, "benchmarks.md"))
	if err != nil {
		return err
	}
	var all error
	for _, p := range pictures {
		svg, err := p.draw(string(text))
		if err != nil {
			return fmt.Errorf("drawing %q: %w", p.title, err)
		}
		name := filepath.Join(docs, "benchmarks-"+p.file+".svg")
		if !check {
			all = errors.Join(all, os.WriteFile(name, svg, 0o644))
			continue
		}
		if have, err := os.ReadFile(name); err != nil || !bytes.Equal(have, svg) {
			all = errors.Join(all, fmt.Errorf("%s is not the picture of its table: run (cd bench/plot && go run .)", name))
		}
	}
	return all
}

// draw gives the picture of a table in the text, as SVG.
func (p picture) draw(text string) ([]byte, error) {
	head, rows, err := table(text, p.heading)
	if err != nil {
		return nil, err
	}
	if p.of != nil {
		rows = slices.DeleteFunc(rows, func(row []string) bool { return !p.of(row) })
	}
	var names []string
	legend, bars := []string{}, [][]float64{}
	for _, row := range slices.Backward(rows) { // the first bar is drawn at the bottom
		var name []string
		for _, l := range p.labels {
			name = append(name, strings.ReplaceAll(row[l], "`", ""))
		}
		label := strings.Join(name, ", ")
		names = append(names, label+strings.Repeat("\u00a0", 1+len(label)/5)) // viewers' fonts are wider than the one it is measured with
	}
	for _, v := range p.values {
		var one []float64
		parts := strings.Split(head[v], ", ") // a cell may hold several figures, as its heading does
		for at := range strings.Split(number.ReplaceAllString(rows[0][v], "#"), " / ") {
			one = nil
			for _, row := range slices.Backward(rows) {
				figures := number.FindAllString(row[v], -1)
				if at >= len(figures) {
					return nil, fmt.Errorf("the cell %q of %s has no figure %d", row[v], head[v], at+1)
				}
				figure, err := strconv.ParseFloat(strings.ReplaceAll(figures[at], ",", ""), 64)
				if err != nil {
					return nil, fmt.Errorf("reading %q of %s: %w", row[v], head[v], err)
				}
				one = append(one, figure)
			}
			bars = append(bars, one)
			name := strings.TrimSuffix(head[v], " a second")
			if split := strings.Split(parts[len(parts)-1], " / "); len(split) > at && len(split) > 1 {
				name = split[at]
			}
			legend = append(legend, name)
		}
	}
	option := charts.NewBarChartOptionWithData(bars)
	option.Horizontal = true
	option.Padding = charts.Box{Top: 20, Right: 70, Bottom: 20, Left: 20}
	option.Title = charts.TitleOption{Text: p.title, FontStyle: charts.FontStyle{FontSize: 13}}
	option.Legend = charts.LegendOption{SeriesNames: legend, Show: charts.Ptr(len(legend) > 1), Offset: charts.OffsetStr{Left: charts.PositionRight, Top: "24"}}
	option.CategoryAxis = charts.CategoryAxisOption{Labels: names}
	option.ValueAxis = []charts.ValueAxisOption{{Min: charts.Ptr(0.0), LabelCount: 4}} // bars that begin elsewhere mislead
	for i := range option.SeriesList {
		option.SeriesList[i].Label.Show = charts.Ptr(true)
	}
	painter := charts.NewPainter(charts.PainterOptions{
		OutputFormat: charts.ChartOutputSVG, Width: 860, Height: 120 + len(names)*max(36, 22*len(bars)),
	})
	if err := painter.BarChart(option); err != nil {
		return nil, err
	}
	return painter.Bytes()
}

// number is a figure of a cell; thousands may be set off by commas.
var number = regexp.MustCompile(`[0-9][0-9,]*(?:\.[0-9]+)?`)

// table returns the first table below a heading of the second level.
func table(text, heading string) (head []string, rows [][]string, err error) {
	_, after, found := strings.Cut(text, "\n## "+heading+"\n")
	if !found {
		return nil, nil, fmt.Errorf("there is no section %q", heading)
	}
	for line := range strings.SplitSeq(after, "\n") {
		isRow := strings.HasPrefix(line, "|")
		switch {
		case strings.HasPrefix(line, "## ") || len(rows) > 0 && !isRow:
			if len(rows) < 2 {
				return nil, nil, fmt.Errorf("the section %q has no table", heading)
			}
			return head, rows[1:], nil // without the line of dashes
		case isRow && head == nil:
			head = cells(line)
		case isRow:
			rows = append(rows, cells(line))
		}
	}
	return nil, nil, fmt.Errorf("the section %q has no end", heading)
}

func cells(line string) (all []string) {
	for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
		all = append(all, strings.TrimSpace(cell))
	}
	return all
}
