package faultrig

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func (r Result) verdict() string {
	switch {
	case r.Skipped != "":
		return "SKIPPED: " + r.Skipped
	case len(r.Broken) > 0:
		return "BROKEN"
	}
	return "held"
}

// Print writes the table of results and, below it, what broke.
func Print(w io.Writer, results []Result) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "FAULT\tWHAT\tTIMES\tVERDICT\tCLAIM OPS\tCALLS\tTOOK\tRECOVERY p50 / p95")
	skipped := 0
	for _, r := range results {
		if r.Skipped != "" {
			skipped++
		}
		fmt.Fprintf(tw, "%s\t%s\t%d\t%s\t%d\t%d\t%s\t%s\n", r.Fault, r.Title, r.Rounds, r.verdict(), r.Operations, r.Calls.Calls,
			r.Took.Round(time.Second), strings.Join(recoveries(r), ", "))
	}
	_ = tw.Flush() // the writer is the terminal
	for _, r := range results {
		for _, n := range r.Notes {
			fmt.Fprintf(w, "%s note: %s\n", r.Fault, n)
		}
		for _, b := range r.Broken {
			fmt.Fprintf(w, "%s BROKEN: %s\n", r.Fault, b)
		}
		if r.Dir != "" {
			fmt.Fprintf(w, "%s: logs and data are in %s\n", r.Fault, r.Dir)
		}
	}
	ops, kinds := 0, map[string]bool{}
	for _, r := range results {
		ops += r.Operations
		if r.Operations > 0 {
			kinds[r.Fault] = true
		}
	}
	fmt.Fprintf(w, "%d claim operations under %d kinds of fault were checked by porcupine; %d faults skipped\n", ops, len(kinds), skipped)
}

func recoveries(r Result) []string {
	var names, out []string
	for name := range r.Recoveries {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		all := slices.Sorted(slices.Values(r.Recoveries[name]))
		out = append(out, fmt.Sprintf("%s %s / %s", name, short(quantile(all, 0.5)), short(quantile(all, 0.95))))
	}
	return out
}

// quantile of sorted durations, the nearest rank.
func quantile(sorted []time.Duration, q float64) time.Duration {
	i := int(q*float64(len(sorted))+0.9999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

func short(d time.Duration) string {
	if d >= time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}

func sorted(all []time.Duration) []time.Duration { return slices.Sorted(slices.Values(all)) }
