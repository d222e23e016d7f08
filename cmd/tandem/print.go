package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"tandem/cmd/tandem/table"
	"tandem/ownership"
)

// print writes v as --format says; rows are the table's lines, its heading first.
func (a *app) print(v any, rows [][]string) error {
	switch a.client.format {
	case "json":
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		// By way of JSON, so that both formats have the same names.
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
		enc := yaml.NewEncoder(a.out)
		enc.SetIndent(2)
		if err := enc.Encode(plain); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
		return enc.Close()
	}
	rows, cut := table.Fit(rows, a.width())
	if cut != "" {
		defer a.done("%s", cut)
	}
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, strings.TrimRight(strings.Join(r, "\t"), "\t"))
	}
	return w.Flush()
}

// printing prints an answer, or hands on the error that came in its place.
func printing[T any](a *app, rows func(T) [][]string) func(T, error) error {
	return func(answer T, err error) error {
		if err != nil {
			return err
		}
		return a.print(answer, rows(answer))
	}
}

// under makes a row of each text, all with one label.
func under(label string, texts []string) (rows [][]string) {
	for _, text := range texts {
		rows = append(rows, []string{label, text})
	}
	return rows
}

// show prints all of a kind, or the one that is named.
func show[T any](a *app, name string, rows func([]T) [][]string, all func() ([]T, error), one func() (T, error)) error {
	if name == "" {
		return printing(a, rows)(all())
	}
	return printing(a, func(x T) [][]string { return rows([]T{x}) })(one())
}

// ago tells a time as people say it.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := now.Sub(t)
	if d < 0 {
		return "in " + short(-d)
	}
	return short(d) + " ago"
}

func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// dash stands for nothing.
func dash(s string) string {
	return cmp.Or(s, "-")
}

// joined joins words of any type.
func joined[S ~string](words []S, between string) string {
	return strings.Join(ownership.Words[string](words), between)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// width is how wide the terminal is that the output goes to; 0: it goes to none, and a
// program that reads it wants all of it.
func (a *app) width() int {
	if !terminal(a.out) {
		return 0
	}
	w, _, err := term.GetSize(int(a.out.(*os.File).Fd()))
	if err != nil {
		return 0
	}
	return w
}

// terminal reports whether somebody looks at it.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
