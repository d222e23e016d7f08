package console

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

const (
	pulsePoints = 60 // samples of each node: a minute each
	pulseNodes  = 8  // that are drawn at a time, the busiest ones, where none is chosen

	chartWide, chartHigh = 600, 150
)

// PulsePage is the page of charts.
type PulsePage struct {
	Node   string // chosen; empty: the busiest
	Nodes  []api.Node
	Charts []Chart
	Mute   []api.PulseNode // that say nothing
	Hidden int             // nodes that are not drawn
}

// Chart is one figure over the last hour, a line for each node.
type Chart struct {
	Title, Unit string
	Lines       []Line
	Times       []time.Time // of the points, oldest first
	Top         float64     // of the scale
}

// Line is one node's.
type Line struct {
	Node ownership.NodeID
	Hue  int
	At   []float64 // NaN: not known
}

// figures are what charts are drawn of.
var figures = []struct {
	title, unit string
	of          func(api.PulseSample) float64
}{
	{"Live calls", "calls", func(s api.PulseSample) float64 { return s.Here }},
	{"New calls", "a second", func(s api.PulseSample) float64 { return s.Claims }},
	{"Time to answer, median", "ms", func(s api.PulseSample) float64 { return measured(s.P50) }},
	{"Time to answer, 99 of 100", "ms", func(s api.PulseSample) float64 { return measured(s.P99) }},
	{"Redirects", "a second", func(s api.PulseSample) float64 { return s.Redirects }},
	{"Relays", "a second", func(s api.PulseSample) float64 { return s.Relays }},
}

// measured makes what was not measured a gap.
func measured(ms float64) float64 {
	if ms == 0 {
		return math.NaN()
	}
	return ms
}

func pulse(a *asking) (string, any, error) {
	out := PulsePage{Node: a.q.Get("node")}
	var nodes api.List[api.Node]
	if _, err := a.get(&nodes, "/v1/nodes"); err != nil {
		return "", nil, err
	}
	hue := map[ownership.NodeID]int{}
	for _, n := range nodes.Items {
		if n.State != ownership.NodeGone {
			hue[n.ID] = len(out.Nodes) % hues
			out.Nodes = append(out.Nodes, n)
		}
	}
	var told api.Pulse
	if _, err := a.get(&told, "/v1/pulse", "node", out.Node, "points", strconv.Itoa(pulsePoints)); err != nil {
		return "", nil, err
	}
	heard := slices.DeleteFunc(told.Nodes, func(n api.PulseNode) bool {
		if n.Error != "" {
			out.Mute = append(out.Mute, n)
		}
		return len(n.Samples) == 0
	})
	slices.SortStableFunc(heard, func(a, b api.PulseNode) int { return -cmp.Compare(lastOf(a), lastOf(b)) })
	if len(heard) > pulseNodes {
		out.Hidden = len(heard) - pulseNodes
		heard = heard[:pulseNodes]
	}
	slices.SortFunc(heard, func(a, b api.PulseNode) int { return cmp.Compare(a.Node, b.Node) })
	for _, f := range figures {
		out.Charts = append(out.Charts, chartOf(f.title, f.unit, f.of, heard, hue))
	}
	return "pulse", out, nil
}

func lastOf(n api.PulseNode) float64 { return n.Samples[len(n.Samples)-1].Here }

// chartOf puts the nodes' samples side by side, by the minute in which they ended.
func chartOf(title, unit string, of func(api.PulseSample) float64, heard []api.PulseNode, hue map[ownership.NodeID]int) Chart {
	c := Chart{Title: title, Unit: unit}
	newest := time.Time{}
	for _, n := range heard {
		if at := n.Samples[len(n.Samples)-1].At; at.After(newest) {
			newest = at
		}
	}
	width := spanOf(heard)
	for i := pulsePoints - 1; i >= 0; i-- {
		c.Times = append(c.Times, newest.Add(-time.Duration(i)*width))
	}
	for _, n := range heard {
		l := Line{Node: n.Node, Hue: hue[n.Node], At: slices.Repeat([]float64{math.NaN()}, pulsePoints)}
		for _, s := range n.Samples {
			if i := pulsePoints - 1 - int(math.Round(float64(newest.Sub(s.At))/float64(width))); i >= 0 {
				v := of(s)
				l.At[i] = v
				if !math.IsNaN(v) {
					c.Top = max(c.Top, v)
				}
			}
		}
		c.Lines = append(c.Lines, l)
	}
	c.Top = round(c.Top)
	return c
}

// spanOf is the time between two samples, the longest one of the nodes.
func spanOf(heard []api.PulseNode) time.Duration {
	width := 10 * time.Second
	for _, n := range heard {
		if k := len(n.Samples); k > 1 {
			width = max(width, n.Samples[k-1].At.Sub(n.Samples[0].At)/time.Duration(k-1))
		}
	}
	return width
}

// round returns a round number that is not below: the end of a scale.
func round(top float64) float64 {
	if top <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(top)))
	for _, n := range []float64{1, 2, 5} {
		if top <= n*unit {
			return n * unit
		}
	}
	return 10 * unit
}

// draw writes a line's points as the parts of an SVG path; where a value is not known the
// line is broken.
func draw(c Chart, l Line) string {
	var b strings.Builder
	pen := "M"
	for i, v := range l.At {
		if math.IsNaN(v) {
			pen = "M"
			continue
		}
		x := float64(i) * chartWide / float64(max(1, len(l.At)-1))
		fmt.Fprintf(&b, "%s%.1f %.1f", pen, x, chartHigh-v/c.Top*chartHigh)
		if pen == "M" {
			b.WriteString("h.1") // a point alone is seen, too
		}
		pen = "L"
	}
	return b.String()
}

// Rows are the chart's numbers for who does not see it: each sixth point, the newest first.
func (c Chart) Rows() (rows []ChartRow) {
	for i := len(c.Times) - 1; i >= 0; i -= 6 {
		row := ChartRow{At: c.Times[i]}
		for _, l := range c.Lines {
			row.Cells = append(row.Cells, figure(l.At[i]))
		}
		rows = append(rows, row)
	}
	return rows
}

// ChartRow is one row of them.
type ChartRow struct {
	At    time.Time
	Cells []string
}

// Newest is a line's newest value in words.
func (l Line) Newest() string { return figure(l.At[len(l.At)-1]) }

// figure writes a value with as many digits as matter.
func figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v >= 100 || v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// Scale are the marks of the scale.
func (c Chart) Scale() []string { return []string{figure(c.Top), figure(c.Top / 2), "0"} }
