// Command million fills a region of real processes with live calls, a million of them unless
// it is told otherwise, and measures what it costs and bears then:
//
//	go run ./bench/million                                    3 nodes, 1,000,000 calls, all steps
//	go run ./bench/million -calls 20000 -churn 30s            a short one
//	go run ./bench/million -only memory,death                 some steps alone, after the fill
//	go run ./bench/million -scale -scale-calls 1000,100000    the same load at 3 to 9 nodes
//
// A call is claimed at any node, taken by the bot beside its owner, and told to be
// established; then it is live and rests. The steps, in this order:
//   - memory: resident memory, heap, disk; gc: what the collector did
//   - snapshot: claims while one is saved
//   - restart: kill -9 of a node that starts again at once
//   - death: kill -9 of an owner, which starts again when its calls are adopted
//   - churn: new calls and ends at a fixed rate with the table full
//   - join: a fresh node, and what the calls of others cost it
//
// Clients, bots and nodes share the machine. Everything listens on loopback, and what was
// written is removed at the end. Latencies count from the moment at which a request was due.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tandem/bench/region"
	"tandem/faultrig/fleet"
)

type flags struct {
	calls, nodes, clients int
	fills                 time.Duration
	churn                 time.Duration
	churnRate             float64
	only                  string
	scale                 bool
	scaleNodes            string
	scaleCalls            string
	binary, profiles      string
}

func main() {
	var f flags
	flag.IntVar(&f.calls, "calls", 1_000_000, "live calls")
	flag.IntVar(&f.nodes, "nodes", 3, "nodes of the region")
	flag.IntVar(&f.clients, "clients", 128, "clients that fill the region")
	flag.DurationVar(&f.fills, "fill", time.Hour, "how long filling may take: then what is live is measured")
	flag.DurationVar(&f.churn, "churn", 10*time.Minute, "how long calls come and go")
	flag.Float64Var(&f.churnRate, "churn-rate", 100, "new calls, and ends, a second")
	flag.StringVar(&f.only, "only", "", "these steps alone, as in memory,death: "+strings.Join(stepNames(), ", "))
	flag.BoolVar(&f.scale, "scale", false, "in place of the steps, the same load at regions of other sizes")
	flag.StringVar(&f.scaleNodes, "scale-nodes", "3,5,7,9", "nodes for -scale")
	flag.StringVar(&f.scaleCalls, "scale-calls", "1000,100000,1000000", "live calls for -scale")
	flag.StringVar(&f.binary, "binary", "", "the tandem program; empty: it is built")
	flag.StringVar(&f.profiles, "profiles", "", "write profiles of nodes into this directory")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	debug.SetGCPercent(400) // the bots' book is large, and the nodes need the processors
	if err := run(ctx, f); err != nil {
		fmt.Fprintln(os.Stderr, "bench/million:", err)
		os.Exit(1)
	}
}

// step is one part of a run.
type step struct {
	name string
	do   func(*bench, context.Context) error
}

// steps are all parts, in their order: each leaves a region that the next one can use.
var steps = []step{
	{"memory", (*bench).memory}, {"gc", (*bench).gc}, {"snapshot", (*bench).snapshot}, {"restart", (*bench).restart},
	{"death", (*bench).death}, {"churn", (*bench).churns}, {"join", (*bench).join},
}

func stepNames() (all []string) {
	for _, s := range steps {
		all = append(all, s.name)
	}
	return all
}

// bench is one run.
type bench struct {
	flags
	*region.Region
	empty map[string]region.Memory // of each node, before the first call
	half  map[string]region.Memory // with half of the calls: what has a fixed size is full by then
	halfs map[string]int64         // the calls of each node then
	full  map[string]region.Memory // with all calls, where the step memory was taken
	fulls map[string]int64
	bars  table
}

func run(ctx context.Context, f flags) (err error) {
	chosen := stepNames()
	if f.only != "" {
		chosen = strings.Split(f.only, ",")
	}
	for _, name := range chosen {
		if !slices.Contains(stepNames(), name) {
			return fmt.Errorf("-only names %q, and the steps are %s", name, strings.Join(stepNames(), ", "))
		}
	}
	program, forget, err := region.Program(ctx, f.binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, forget()) }()
	version, err := fleet.Program(ctx, program, "version")
	if err != nil {
		return err
	}
	fmt.Printf("%s\n\n%s\n", region.Machine(), strings.Join(strings.Fields(version), " "))
	if f.scale {
		return scale(ctx, f, program)
	}
	b := &bench{flags: f, bars: newTable("Bars", "what", "bar", "measured", "met")}
	if b.Region, err = region.Start(ctx, program, f.nodes); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	return b.all(ctx, chosen)
}

// all fills the region and takes the chosen steps.
func (b *bench) all(ctx context.Context, chosen []string) error {
	if err := b.fill(ctx); err != nil {
		return err
	}
	for _, s := range steps {
		if !slices.Contains(chosen, s.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s  %s, load %s\n", time.Now().Format(time.TimeOnly), s.name, region.Load())
		if err := s.do(b, ctx); err != nil {
			b.bars.print()
			return fmt.Errorf("the step %s: %w", s.name, err)
		}
	}
	b.bars.print()
	return nil
}

// fill fills the region in two halves, and measures the empty nodes and the half full ones.
func (b *bench) fill(ctx context.Context) (err error) {
	if b.empty, err = b.memories(ctx); err != nil {
		return err
	}
	t := newTable("Fill", "calls", "took", "calls a second", "gave up", "load")
	for _, wanted := range []int{b.calls / 2, b.calls} {
		filled, err := b.Fill(ctx, wanted, b.clients, b.fills/2, progress)
		if err != nil {
			return err
		}
		t.row(count(int64(filled.Done)), short(filled.Took), count(int64(float64(filled.Done)/filled.Took.Seconds())), count(filled.Failed), region.Load())
		if b.half != nil {
			break
		}
		if b.half, err = b.memories(ctx); err != nil {
			return err
		}
		if b.halfs, err = b.owned(ctx); err != nil {
			return err
		}
	}
	t.print()
	return nil
}

// memories measures all nodes.
func (b *bench) memories(ctx context.Context) (map[string]region.Memory, error) {
	all := map[string]region.Memory{}
	for _, n := range b.Nodes {
		m, err := b.Memory(ctx, n)
		if err != nil {
			return nil, err
		}
		all[string(n.ID)] = m
	}
	return all, nil
}

// progress tells of a fill while it goes on.
func progress(f region.Filling) {
	rate := float64(f.Done) / f.Took.Seconds()
	left := "?"
	if rate > 0 {
		left = (time.Duration(float64(f.Wanted-f.Done)/rate) * time.Second).Round(time.Second).String()
	}
	fmt.Fprintf(os.Stderr, "%s of %s calls, %.0f calls/s, %s left, %d gave up\n", count(int64(f.Done)), count(int64(f.Wanted)), rate, left, f.Failed)
}

// numbers reads a list as in 3,5,7.
func numbers(list string) (all []int, err error) {
	for _, one := range strings.Split(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(one))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no list of numbers as in 3,5,7", list)
		}
		all = append(all, n)
	}
	return all, nil
}
