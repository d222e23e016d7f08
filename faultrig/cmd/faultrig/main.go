// Command faultrig injects faults into real Tandem processes and prints what
// held and what broke. scripts/faults runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"tandem/faultrig"
	"tandem/faultrig/fleet"
	"tandem/faultrig/plant"
)

const usage = `Usage: scripts/faults --list | --run F11[,F13] | --all | --planted | --clean [options]

Starts real tandem processes, drives calls and claims at them, injects faults
by their number and prints a table: fault, times run, held or broken, time to
recover. The exit code is 1 when something broke, 2 when the rig failed.

  --list           the faults that the rig knows
  --run F11,F13    these
  --all            all of them
  --planted        builds the program with one guard taken out, once for each
                   guard, and shows that the rig finds it: found is good;
                   with --run no-sync only that one
  --clean          removes what a killed rig left behind

`

type flags struct {
	list, all, planted, clean, keep bool
	run, binary                     string
	seed                            uint64
	rounds                          int
	limit                           time.Duration
}

func main() { os.Exit(do()) }

func do() int {
	var f flags
	flag.BoolVar(&f.list, "list", false, "")
	flag.BoolVar(&f.all, "all", false, "")
	flag.BoolVar(&f.planted, "planted", false, "")
	flag.BoolVar(&f.clean, "clean", false, "")
	flag.BoolVar(&f.keep, "keep", false, "keep logs and data even when all held")
	flag.StringVar(&f.run, "run", "", "")
	flag.StringVar(&f.binary, "binary", "", "the tandem program; empty: it is built")
	flag.Uint64Var(&f.seed, "seed", 1, "of all random choices of the loads")
	flag.IntVar(&f.rounds, "rounds", 0, "times each fault is injected; 0: as the fault says")
	flag.DurationVar(&f.limit, "for", 0, "no round of a fault begins later than this; 0: all do")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage); flag.PrintDefaults() }
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	code, err := f.perform(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		return 2
	}
	return code
}

func (f flags) perform(ctx context.Context) (int, error) {
	switch {
	case f.clean:
		removed, err := fleet.Clean()
		for _, r := range removed {
			fmt.Println("removed", r)
		}
		return 0, err
	case f.list:
		for _, s := range faultrig.Scenarios() {
			fmt.Printf("%-5s %-60s %s\n", s.Fault, s.Title, fleet.Missing(s.Needs))
		}
		return 0, nil
	case f.planted:
		return f.plants(ctx)
	case f.run != "" || f.all:
		return f.faults(ctx)
	}
	flag.Usage()
	return 2, nil
}

// chosen returns the scenarios that were asked for.
func (f flags) chosen() ([]faultrig.Scenario, error) {
	if f.all {
		return faultrig.Scenarios(), nil
	}
	var all []faultrig.Scenario
	for name := range strings.SplitSeq(f.run, ",") {
		s, err := faultrig.Find(strings.ToUpper(strings.TrimSpace(name)))
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (f flags) faults(ctx context.Context) (int, error) {
	all, err := f.chosen()
	if err != nil {
		return 0, err
	}
	binary, done, err := f.program(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer done()
	opt := faultrig.Options{Binary: binary, Seed: f.seed, Rounds: f.rounds, For: f.limit, Keep: f.keep}
	var results []faultrig.Result
	code := 0
	for _, s := range all {
		r, err := faultrig.Run(ctx, s, opt)
		if err != nil {
			r.Broken = append(r.Broken, "the rig could not go on: "+err.Error())
		}
		fmt.Fprintf(os.Stderr, "%s  %s (%s)\n", time.Now().Format(time.TimeOnly), r.Summary(), r.Took.Round(time.Second))
		for i, b := range r.Broken {
			if i < 3 {
				fmt.Fprintf(os.Stderr, "          %s\n", cut(b, 300))
			}
		}
		results = append(results, r)
		if len(r.Broken) > 0 {
			code = 1
			for _, n := range r.Notes { // they may say why
				fmt.Fprintf(os.Stderr, "          note: %s\n", cut(n, 300))
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	faultrig.Print(os.Stdout, results)
	return code, nil
}

// program returns the program to test, built if none is named.
func (f flags) program(ctx context.Context, p *plant.Plant) (string, func(), error) {
	if f.binary != "" && p == nil {
		return f.binary, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "tandemrigbuild-")
	if err != nil {
		return "", nil, err
	}
	done := func() { _ = os.RemoveAll(dir) } // a temporary directory
	binary, err := plant.Build(ctx, dir, p)
	if err != nil {
		done()
		return "", nil, err
	}
	return binary, done, nil
}

// plants runs, for each guard, the fault that must show that it is missing.
func (f flags) plants(ctx context.Context) (int, error) {
	code := 0
	for _, p := range plant.All() {
		if f.run != "" && !strings.Contains(f.run, p.Name) {
			continue
		}
		s, err := faultrig.Find(p.Finds)
		if err != nil {
			return 0, err
		}
		binary, done, err := f.program(ctx, &p)
		if err != nil {
			return 0, err
		}
		r, err := faultrig.Run(ctx, s, faultrig.Options{Binary: binary, Seed: f.seed, Rounds: f.rounds})
		done()
		verdict := "found"
		switch {
		case err != nil && len(p.Shown(r.Broken)) == 0:
			verdict, code = "NO VERDICT: "+err.Error(), 1
		case r.Skipped != "":
			verdict = "SKIPPED: " + r.Skipped
		case len(p.Shown(r.Broken)) == 0:
			verdict, code = "NOT FOUND", 1
		}
		fmt.Printf("%-12s %-62s by %s: %s\n", p.Name, p.What, p.Finds, verdict)
		// The last of a kind sums them up.
		shown := p.Shown(r.Broken)
		if len(shown) == 0 {
			shown = r.Broken // something else broke: what was it?
		}
		if len(shown) > 0 {
			fmt.Printf("             %s\n", cut(shown[len(shown)-1], 200))
		}
		fmt.Printf("             %d sentences in all\n", len(r.Broken))
		if r.Dir != "" {
			_ = os.RemoveAll(r.Dir) // what a plant breaks is known
		}
	}
	return code, nil
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
