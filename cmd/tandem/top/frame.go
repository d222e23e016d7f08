package top

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"tandem/admin/api"
	"tandem/ownership"
)

// The looks of what is drawn. Colour never says anything alone: words stand beside it.
var (
	bold  = lipgloss.NewStyle().Bold(true)
	faint = lipgloss.NewStyle().Faint(true)
	good  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	warn  = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	bad   = lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true)
)

// pane is what the lower part of the screen shows.
type pane int

const (
	paneCalls pane = iota
	panePartitions
	panePromises
	panes
)

func (p pane) String() string { return [...]string{"calls", "partitions", "promises"}[p] }

// view is what of a look is drawn, and how.
type view struct {
	width, height int // height 0: all of it
	pane          pane
	scroll        int
	paused        bool
	lost          string // why the door does not answer any more
	keys          bool   // tell the keys
}

// frame draws a look: rates are those since the one before. It returns whole lines that
// are no wider than the view, and no more than fit its height.
func frame(before, now Look, v view) string {
	top := []string{v.title(now)}
	if v.lost != "" {
		top = append(top, bad.Render("NO ANSWER ")+v.lost+"; what is below was seen before")
	}
	top = append(top, promises(now)...)
	for _, m := range now.Missing {
		top = append(top, warn.Render("missing ")+m)
	}
	top = append(top, "")
	top = append(top, regions(now)...)
	top = append(top, "")
	list := nodes(before, now, v.width)
	if v.height > 0 && len(list) > max(4, v.height/2) {
		kept := max(4, v.height/2)
		list = append(list[:kept], faint.Render(fmt.Sprintf("and %d nodes more: 'tandem nodes'", len(list)-kept)))
	}
	top = append(top, list...)
	top = append(top, "", v.tabs(now))
	var heading string
	var rows []string
	switch v.pane {
	case panePartitions:
		heading, rows = partitions(now, v.width)
	case panePromises:
		rows = everyPromise(now)
	default:
		heading, rows = calls(now, v.width)
	}
	if heading != "" {
		top = append(top, heading)
	}
	footer := ""
	if v.keys {
		footer = faint.Render("q quit · tab next pane · ↑↓ scroll · space pause · r look now · + - speed")
	}
	if v.height > 0 {
		rows = window(rows, v.scroll, v.height-len(top)-min(1, len(footer)))
	}
	lines := append(top, rows...)
	if v.height > 0 {
		room := v.height - min(1, len(footer))
		lines = lines[:min(len(lines), room)]
		for footer != "" && len(lines) < room {
			lines = append(lines, "")
		}
	}
	if footer != "" {
		lines = append(lines, footer)
	}
	for i, l := range lines {
		lines[i] = strings.TrimRight(ansi.Truncate(l, v.width, "…"), " ")
	}
	return strings.Join(lines, "\n")
}

// window is the part of the rows that fits, with a word about the rest.
func window(rows []string, from, height int) []string {
	height = max(height, 1)
	if len(rows) <= height {
		return rows
	}
	from = max(0, min(from, len(rows)-height+1))
	to := min(len(rows), from+height-1)
	return append(slices.Clone(rows[from:to]), faint.Render(fmt.Sprintf("%d to %d of %d", from+1, to, len(rows))))
}

func (v view) title(l Look) string {
	left := fmt.Sprintf("%s  %s, region %s, as %s sees it", bold.Render("tandem top"), l.Status.Deployment, l.Status.Region, l.Status.Node)
	right := l.At.Local().Format(time.TimeOnly)
	if v.paused {
		right = "PAUSED  " + right
	}
	return left + strings.Repeat(" ", max(2, v.width-ansi.StringWidth(left)-ansi.StringWidth(right))) + right
}

// promises says in one line how the guarantees stand, and names those that do not hold.
func promises(l Look) []string {
	holds, unknown := 0, 0
	var broken []string
	for _, p := range l.Promises {
		switch {
		case p.Holds:
			holds++
		case p.Unknown:
			unknown++
		default:
			broken = append(broken, p.Name)
		}
	}
	line := fmt.Sprintf("promises  %s", good.Render(fmt.Sprintf("%d hold", holds)))
	if unknown > 0 {
		line += fmt.Sprintf(", %d another node knows", unknown)
	}
	if len(broken) > 0 {
		line += ", " + bad.Render(fmt.Sprintf("%d DO NOT HOLD: %s", len(broken), strings.Join(broken, ", ")))
	}
	return []string{line}
}

func everyPromise(l Look) (rows []string) {
	for _, p := range l.Promises {
		mark := good.Render("holds        ")
		switch {
		case p.Unknown:
			mark = warn.Render("?            ")
		case !p.Holds:
			mark = bad.Render("DOES NOT HOLD")
		}
		rows = append(rows, fmt.Sprintf("%s  %-24s %s", mark, p.Name, p.Why))
	}
	for _, w := range l.Status.Warnings {
		rows = append(rows, warn.Render("warning        ")+w)
	}
	return rows
}

func regions(l Look) []string {
	rows := [][]string{{"REGION", "", "NODES", "LIVE", "LOAD", "ROOM", "SEEN"}}
	for _, r := range l.Regions {
		health := good.Render("well")
		if !r.Healthy {
			health = bad.Render("DOWN")
		}
		live, load, room := "?", "?", "?"
		if !r.Partial {
			live, load, room = strconv.Itoa(r.Live), bar(r.Live, r.Capacity, 12), strconv.Itoa(max(0, r.Capacity-r.Live))
		}
		seen := "here"
		if !r.Here {
			seen = "never"
			if !r.AsOf.IsZero() {
				seen = r.Age + " ago"
			}
			if r.Error != "" {
				seen += ", " + r.Error
			}
		}
		rows = append(rows, []string{string(r.Name), health, strconv.Itoa(r.Nodes), live, load, room, seen})
	}
	return table(rows)
}

func nodes(before, now Look, width int) []string {
	wide := width >= 120
	heading := []string{"NODE (* leads)", "STATE", "LIVE", "PARTS", "CLAIMS/s", "HANDLED/s", "REDIR/s", "RELAY/s"}
	if wide {
		heading = append(heading, "LOAD", "VOTE", "ZONE", "VERSION", "PUBLIC URL")
	}
	rows := [][]string{heading}
	states, per := now.states(), rates(before, now)
	several := len(now.Regions) > 1
	all := slices.Clone(now.Nodes)
	// Those that are not as they should be come first: the list may be cut.
	slices.SortStableFunc(all, func(a, b api.Node) int {
		unwell := func(n api.Node) int {
			if states[n.ID] == ownership.NodeActive.String() {
				return 1
			}
			return 0
		}
		here := func(n api.Node) int {
			if n.Region == now.Status.Region {
				return 0
			}
			return 1
		}
		return cmp.Or(unwell(a)-unwell(b), here(a)-here(b), cmp.Compare(a.Region, b.Region), cmp.Compare(a.ID, b.ID))
	})
	for _, n := range all {
		if n.State == ownership.NodeGone {
			continue
		}
		name := string(n.ID)
		if several && n.Region != now.Status.Region {
			name = string(n.Region) + "/" + name
		}
		if n.Leader {
			name += " *"
		}
		rate := func(of func(Counts) float64) string {
			c, ok := per[n.ID]
			if !ok {
				return "-"
			}
			return strconv.FormatFloat(of(c), 'f', 1, 64)
		}
		row := []string{
			name, stateOf(states[n.ID]), fmt.Sprintf("%d/%d", n.Live, n.Capacity), strconv.Itoa(n.Partitions),
			rate(func(c Counts) float64 { return c.Claims }), rate(func(c Counts) float64 { return c.Handled }),
			rate(func(c Counts) float64 { return c.Redirects }), rate(func(c Counts) float64 { return c.Relays }),
		}
		if wide {
			vote := "no"
			if n.Voter {
				vote = "yes"
			}
			row = append(row, bar(n.Live, n.Capacity, 8), vote, cmp.Or(n.Zone, "-"), cmp.Or(n.Version, "-"), cmp.Or(n.PublicURL, "-"))
		}
		rows = append(rows, row)
	}
	return table(rows)
}

func stateOf(state string) string {
	switch state {
	case ownership.NodeActive.String():
		return good.Render(state)
	case api.NodeSilent:
		return bad.Render("SILENT")
	}
	return warn.Render(state)
}

// tabs names the panes, the shown one in brackets.
func (v view) tabs(l Look) string {
	var words []string
	for p := range panes {
		word := p.String()
		switch {
		case p == paneCalls && len(l.Calls) >= most:
			word += fmt.Sprintf(" (the first %d of %d live)", most, l.Status.Live)
		case p == paneCalls:
			word += fmt.Sprintf(" (%d live)", len(l.Calls))
		}
		if p == v.pane {
			word = bold.Render("[" + word + "]")
		}
		words = append(words, word)
	}
	return strings.Join(words, "  ")
}

func calls(l Look, width int) (string, []string) {
	wide := width >= 120
	heading := []string{"CALL", "STATE", "OWNER", "PART", "SINCE"}
	if wide {
		heading = append(heading, "TENANT", "THREAD")
	}
	rows := [][]string{heading}
	for _, k := range l.Calls {
		state := k.State.String()
		switch k.State {
		case ownership.CallOrphaned:
			state = bad.Render("ORPHANED")
		case ownership.CallClaimed:
			state = warn.Render("ringing")
		}
		row := []string{string(k.ID), state, cmp.Or(string(k.Owner), "-"), k.Partition.String(), age(k.ClaimedAt, l.At)}
		if wide {
			row = append(row, cmp.Or(string(k.Tenant), "-"), cmp.Or(k.Thread, "-"))
		}
		rows = append(rows, row)
	}
	out := table(rows)
	if len(l.Calls) == 0 {
		return "", []string{faint.Render("no live calls in this region")}
	}
	return out[0], out[1:]
}

// partitions draws each owner's partitions, as many calls as each holds.
func partitions(l Look, width int) (string, []string) {
	owned := l.owned()
	var rows []string
	for _, id := range owners(owned) {
		line := fmt.Sprintf("%-12s", id)
		for _, p := range owned[id] {
			cell := fmt.Sprintf("  %s:%d", p.ID, p.Live)
			if ansi.StringWidth(line)+len(cell) > width {
				rows = append(rows, line)
				line = strings.Repeat(" ", 12)
			}
			if p.Live > 0 {
				cell = "  " + bold.Render(cell[2:])
			}
			line += cell
		}
		rows = append(rows, line)
	}
	return faint.Render("OWNER         partition:live calls"), rows
}

// bar draws how full something is.
func bar(n, of, width int) string {
	if of <= 0 {
		return strings.Repeat("░", width)
	}
	full := min(width, (n*width+of-1)/of)
	style := good
	switch {
	case n*10 >= of*9:
		style = bad
	case n*10 >= of*7:
		style = warn
	}
	return style.Render(strings.Repeat("█", full)) + faint.Render(strings.Repeat("░", width-full))
}

func age(since, now time.Time) string {
	if since.IsZero() {
		return "-"
	}
	return max(0, now.Sub(since)).Round(time.Second).String()
}

// table sets cells under each other; styles take no place.
func table(rows [][]string) (lines []string) {
	var widths []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	for n, r := range rows {
		var b strings.Builder
		for i, cell := range r {
			b.WriteString(cell)
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-ansi.StringWidth(cell)+2))
			}
		}
		line := b.String()
		if n == 0 {
			line = faint.Render(line)
		}
		lines = append(lines, line)
	}
	return lines
}
