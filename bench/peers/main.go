// Command peers measures what the table of a region does beside etcd, which users would
// put in its place:
//
//	(cd bench/peers && go run .)                  all of it, with 1, 16, 64 and 256 clients
//	(cd bench/peers && go run . -only claim -clients 64 -for 10s -cpu FILE)
//
// Three real processes of each, without TLS, files on the same disk, are asked in turn, in
// rounds; a client asks the three one after the other. Beside the rate stands the CPU time
// of the three processes for each answer: the rate also depends on the clients, which share
// the machine.
//
//   - claim: Tandem: the first notification of a new call is posted to the public door, its
//     token is checked, the call gets an owner, and the answer is a redirect or the owner's
//     bot has it. etcd: a transaction that writes a key unless it is there.
//   - local: the owner of a call, by what the asked node knows; etcd: a serializable read.
//   - linearizable: the same by what the region knows; etcd: a linearizable read. Lookups
//     with more than 64 clients are left out.
//   - owner, relayed: a later notification of a live call is posted to its owner, or to another
//     node, and the answer comes when the owner's bot has taken it; etcd has nothing like it.
//     Each client has a call of its own, for those of one call follow each other.
//   - idle: nothing is asked for ten times as long, after five seconds of rest. The CPU time
//     is that of all three processes in a second, and of the one that uses most.
//
// etcd is built from the version in this folder's go.mod, a module of its own, so that
// nothing of it gets into the product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// store is one of those that are measured: what is asked of three processes of it.
type store interface {
	// do has a client ask the process i (0 to 2) one thing; n is a number that comes once.
	do(ctx context.Context, client, i int, what string, n uint64) error
	// pids are its processes.
	pids() []int
	close()
}

func main() {
	rounds := flag.Int("rounds", 5, "how often all are gone through")
	lasts := flag.Duration("for", 2*time.Second, "how long each is asked in a round")
	clients := flag.String("clients", "1,16,64,256", "how many ask at a time")
	only := flag.String("only", "idle,claim,local,linearizable,owner,relayed", "what is asked")
	profile := flag.String("cpu", "", "write a CPU profile of a node of Tandem here, while the last thing is asked once more")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, *rounds, *lasts, strings.Split(*clients, ","), strings.Split(*only, ","), *profile); err != nil {
		fmt.Fprintln(os.Stderr, "bench/peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int, lasts time.Duration, clients, asked []string, profile string) error {
	dir, err := os.MkdirTemp("", "tandem-peers-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	region, err := startTandem(ctx, dir)
	if err != nil {
		return fmt.Errorf("starting Tandem: %w", err)
	}
	defer region.close()
	etcd, err := startEtcd(ctx, dir)
	if err != nil {
		return fmt.Errorf("starting etcd: %w", err)
	}
	defer etcd.close()
	fmt.Printf("%s %s/%s, %d processors, %s, load %s\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), etcd.version, load())
	fmt.Println("| asked | clients | Tandem a second | etcd a second | Tandem ÷ etcd | Tandem CPU µs | etcd CPU µs | etcd ÷ Tandem |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	var what string
	var n int
	for _, what = range asked {
		if what == "idle" {
			if err := idle(ctx, rounds, 10*lasts, region, etcd); err != nil {
				return err
			}
			continue
		}
		for _, text := range clients {
			if n, err = strconv.Atoi(text); err != nil || n < 1 {
				return fmt.Errorf("-clients %q is no number of clients", text)
			}
			if n > mostReaders && (what == "local" || what == "linearizable") {
				continue
			}
			stores := []store{region, etcd}
			if what == "owner" || what == "relayed" {
				if err := region.callsFor(ctx, n); err != nil {
					return fmt.Errorf("making calls: %w", err)
				}
				stores = stores[:1]
			}
			all := make([][]reading, 2)
			for range rounds {
				for i, s := range stores {
					r, err := measure(ctx, s, what, n, lasts)
					if err != nil {
						return err
					}
					all[i] = append(all[i], r)
				}
			}
			ours, theirs := all[0], all[1]
			if len(theirs) == 0 {
				fmt.Printf("| %s | %d | %.0f | – | – | %.0f | – | – |\n", what, n, median(ours, reading.rate), median(ours, reading.cpu))
				continue
			}
			fmt.Printf("| %s | %d | %.0f | %.0f | %.2f | %.0f | %.0f | %.2f |\n", what, n,
				median(ours, reading.rate), median(theirs, reading.rate), ratio(ours, theirs, reading.rate),
				median(ours, reading.cpu), median(theirs, reading.cpu), ratio(theirs, ours, reading.cpu))
		}
	}
	if profile == "" {
		return nil
	}
	if what == "idle" {
		return region.profile(ctx, profile, 10*lasts)
	}
	written := make(chan error, 1)
	go func() { written <- region.profile(ctx, profile, lasts) }()
	_, err = measure(ctx, region, what, n, lasts+time.Second)
	return errors.Join(err, <-written)
}

// mostReaders ask for lookups at a time: a node's admin door takes no more connections than
// that of one address, and every client here has the same.
const mostReaders = 64

// reading is what one store did in one round.
type reading struct {
	answers uint64
	took    time.Duration
	used    time.Duration // CPU of all processes
}

func (r reading) rate() float64 { return float64(r.answers) / r.took.Seconds() }
func (r reading) cpu() float64  { return float64(r.used.Microseconds()) / float64(r.answers) }

func median(all []reading, of func(reading) float64) float64 {
	var x []float64
	for _, r := range all {
		x = append(x, of(r))
	}
	slices.Sort(x)
	return x[len(x)/2]
}

// ratio is the median of the rounds' ratios.
func ratio(a, b []reading, of func(reading) float64) float64 {
	var x []float64
	for i := range a {
		x = append(x, of(a[i])/of(b[i]))
	}
	slices.Sort(x)
	return x[len(x)/2]
}

var numbers atomic.Uint64

// measure has so many clients ask without a pause.
func measure(ctx context.Context, s store, what string, clients int, lasts time.Duration) (reading, error) {
	if err := s.do(ctx, 0, 0, what, numbers.Add(1)); err != nil { // nothing is cold
		return reading{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg      sync.WaitGroup
		answers atomic.Uint64
		failure atomic.Pointer[error]
	)
	before, err := used(s.pids())
	if err != nil {
		return reading{}, err
	}
	begun := time.Now()
	for c := range clients {
		wg.Go(func() {
			for i := c; time.Since(begun) < lasts; i++ {
				if err := s.do(ctx, c, i%3, what, numbers.Add(1)); err != nil {
					failure.CompareAndSwap(nil, &err)
					cancel()
					return
				}
				answers.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	after, err := used(s.pids())
	if failed := failure.Load(); failed != nil {
		err = fmt.Errorf("asking for %s with %d clients: %w", what, clients, *failed)
	}
	return reading{answers.Load(), took, after - before}, err
}

// idle prints what stores use while nothing is asked of them, side by side, as they both run
// all the time.
func idle(ctx context.Context, rounds int, lasts time.Duration, stores ...store) error {
	all, most := make([][]reading, len(stores)), make([][]reading, len(stores))
	for pause := 5 * time.Second; rounds > 0; rounds-- {
		if err := wait(ctx, pause); err != nil {
			return err
		}
		pause = 0
		before := make([][]time.Duration, len(stores))
		for i, s := range stores {
			var err error
			if before[i], err = each(s.pids()); err != nil {
				return err
			}
		}
		if err := wait(ctx, lasts); err != nil {
			return err
		}
		seconds := uint64(lasts / time.Second)
		for i, s := range stores {
			after, err := each(s.pids())
			if err != nil {
				return err
			}
			var sum, top time.Duration
			for p := range after {
				d := after[p] - before[i][p]
				sum, top = sum+d, max(top, d)
			}
			all[i] = append(all[i], reading{seconds, lasts, sum})
			most[i] = append(most[i], reading{seconds, lasts, top})
		}
	}
	tell := func(name string, r [][]reading) {
		fmt.Printf("| %s | – | – | – | – | %.0f | %.0f | %.2f |\n", name, median(r[0], reading.cpu), median(r[1], reading.cpu), ratio(r[1], r[0], reading.cpu))
	}
	tell("idle", all)
	tell("idle, the busiest", most)
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// each is the CPU time of each of the processes so far.
func each(pids []int) (all []time.Duration, err error) {
	for _, pid := range pids {
		d, err := used([]int{pid})
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// used is the CPU time of processes so far, as the kernel counts it: in hundredths of a second.
func used(pids []int) (all time.Duration, err error) {
	for _, pid := range pids {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ") // proc(5): the name may hold spaces
		fields := strings.Fields(rest)
		for _, at := range []int{11, 12} { // utime, stime
			ticks, err := strconv.ParseInt(fields[at], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
			}
			all += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return all, nil
}

// load is how busy the machine was before.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// output runs a program and returns what it says.
func output(ctx context.Context, program string, args ...string) (string, error) {
	text, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, text)
	}
	return string(text), nil
}
