// Command mutate takes guards out of a copy of the tree and says whose test misses
// them. See scripts/mutate.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"tandem/faultrig/mutate"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bad, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
	}
	if bad || err != nil {
		os.Exit(1)
	}
}

// run tries the mutations of the rows, of all if none is named. It is to be called in
// the root of the tree.
func run(ctx context.Context, rows []string) (bad bool, err error) {
	text, err := os.ReadFile("scripts/mutations")
	if err != nil {
		return true, err
	}
	all, err := mutate.Read(string(text))
	if err != nil {
		return true, fmt.Errorf("reading scripts/mutations: %w", err)
	}
	for _, row := range rows {
		if !slices.ContainsFunc(all, func(m mutate.Mutation) bool { return m.Is(row) }) {
			return true, fmt.Errorf("scripts/mutations has no row %s", row)
		}
	}
	tree, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return true, err
	}
	defer func() { _ = os.RemoveAll(tree) }() // a copy
	if err := mutate.Copy(ctx, ".", tree); err != nil {
		return true, fmt.Errorf("copying the tree: %w", err)
	}
	counts := map[mutate.Verdict]int{}
	for i := range all {
		m := &all[i]
		if m.Because != "" || len(rows) > 0 && !slices.ContainsFunc(rows, m.Is) {
			continue
		}
		begun := time.Now()
		v, out, err := m.Try(ctx, tree)
		if err != nil {
			return true, fmt.Errorf("%s: %w", m, err)
		}
		counts[v]++
		fmt.Printf("%-7s %s (%v)\n", v, m, time.Since(begun).Round(100*time.Millisecond))
		if v == mutate.Broken {
			fmt.Println(out)
		}
	}
	fmt.Printf("%d red, %d green, %d skipped, %d broken\n", counts[mutate.Red], counts[mutate.Green], counts[mutate.Skipped], counts[mutate.Broken])
	return counts[mutate.Green]+counts[mutate.Broken] > 0, nil
}
