// Command failover kills the leader of a region of three real processes again and again,
// and measures until each survivor has a new call placed:
//
//	go run ./bench/failover                          100 deaths, no other load
//	go run ./bench/failover -kills 30 -load 16       beside 16 clients that claim without a pause
//	go run ./bench/failover -kills 0 -load 64 -for 10m   no death: how often does the lead change?
//
// With -tls each node has a network namespace of its own and speaks TLS, which needs root.
// A probe posts the first notification of a new call every few milliseconds, whether the
// ones before are answered or not, from the moment of the kill on; the first that is
// answered with an owner ends the measurement of its node. Between two deaths all nodes are ready
// and have rested.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tandem/admin/api"
	"tandem/bench/region"
	"tandem/faultrig/claims"
	"tandem/faultrig/fleet"
	"tandem/graphsim"
	"tandem/ownership"
)

type flags struct {
	kills, load int
	lasts, rest time.Duration
	tls         bool
	binary      string
}

func main() {
	var f flags
	flag.IntVar(&f.kills, "kills", 100, "how often the leader is killed")
	flag.IntVar(&f.load, "load", 0, "clients that claim new calls without a pause")
	flag.DurationVar(&f.lasts, "for", 10*time.Second, "how long the load runs before the first death")
	flag.DurationVar(&f.rest, "rest", 3*time.Second, "pause between two deaths, once all nodes are ready: longer than a lease")
	flag.BoolVar(&f.tls, "tls", false, "a network namespace for each node, and TLS")
	flag.StringVar(&f.binary, "binary", "", "the tandem program; empty: it is built")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, f); err != nil {
		fmt.Fprintln(os.Stderr, "bench/failover:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	flags
	region *fleet.Fleet
	posts  *claims.Load
	calls  atomic.Uint64
	placed atomic.Uint64 // by the load
}

func run(ctx context.Context, f flags) (err error) {
	program, forget, err := region.Program(ctx, f.binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, forget()) }()
	kind := graphsim.Kind()
	nodes, err := fleet.New(ctx, program, fleet.Options{Rates: &kind, Network: f.tls})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nodes.Close(), nodes.Forget()) }()
	b := &bench{flags: f, region: nodes, posts: claims.New(nodes, 1)}
	fmt.Printf("%s; TLS %v, -load %d\n", region.Machine(), f.tls, f.load)
	loading, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range f.load {
		wg.Go(func() { b.claimOn(loading, i) })
	}
	defer wg.Wait()
	defer stop()
	if err := b.steady(ctx); err != nil {
		return err
	}
	return b.deaths(ctx)
}

// steady runs the load alone and tells how often the lead changed.
func (b *bench) steady(ctx context.Context) error {
	if b.load == 0 {
		return nil
	}
	before, _, err := b.term(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if !fleet.Pause(ctx, b.lasts) {
		return ctx.Err()
	}
	after, _, err := b.term(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("load alone: %.0f new calls a second for %v; elections: %d\n",
		float64(b.placed.Load())/time.Since(began).Seconds(), b.lasts, after-before)
	return nil
}

// deaths kills the leader and prints how long claims were away.
func (b *bench) deaths(ctx context.Context) error {
	var first, each []time.Duration
	more := uint64(0)
	for i := range b.kills {
		before, leader, err := b.term(ctx)
		if err != nil {
			return err
		}
		took, err := b.kill(ctx, leader)
		if err != nil {
			return err
		}
		first, each = append(first, slices.Min(took)), append(each, took...)
		if err := leader.Start(); err != nil {
			return err
		}
		for _, n := range b.region.Nodes {
			if err := n.Ready(ctx, time.Minute); err != nil {
				return err
			}
		}
		fleet.Pause(ctx, b.rest)
		after, _, err := b.term(ctx)
		if err != nil {
			return err
		}
		more += after - before - 1
		fmt.Fprintf(os.Stderr, "%3d  %s died in term %d: %v\n", i+1, leader.ID, before, took)
	}
	if b.kills == 0 {
		return nil
	}
	fmt.Printf("leader killed %d times, elections beside the %d: %d\n", b.kills, b.kills, more)
	fmt.Printf("  first new call placed at any survivor:  %s\n", summary(first))
	fmt.Printf("  first new call placed at each survivor: %s\n", summary(each))
	return nil
}

func summary(all []time.Duration) string {
	slices.Sort(all)
	at := func(q float64) time.Duration {
		return all[min(int(q*float64(len(all))), len(all)-1)].Round(time.Millisecond)
	}
	return fmt.Sprintf("p50 %v, p95 %v, p99 %v, worst %v", at(0.5), at(0.95), at(0.99), at(1))
}

// kill kills the leader and returns after how long each survivor had a new call placed.
func (b *bench) kill(ctx context.Context, leader *fleet.Node) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 25*time.Second)
	defer cancel()
	died := time.Now()
	go leader.Kill()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	for _, n := range b.region.Nodes {
		if n == leader {
			continue
		}
		wg.Go(func() {
			if at, ok := b.resumed(ctx, n, leader); ok {
				mu.Lock()
				defer mu.Unlock()
				took = append(took, at.Sub(died))
			}
		})
	}
	wg.Wait()
	if len(took) < len(b.region.Nodes)-1 {
		return nil, fmt.Errorf("%s was killed, and not every other node placed a new call within 25 s", leader.ID)
	}
	return took, nil
}

// probeEvery is how often a new call is posted, waiting how many may be for an answer.
const (
	probeEvery = 4 * time.Millisecond
	waiting    = 64
)

// resumed returns when a node placed a new call; a call is not placed by being known to
// belong to the dead.
func (b *bench) resumed(ctx context.Context, n, dead *fleet.Node) (time.Time, bool) {
	fleet.Pause(ctx, probeEvery) // so that what is on its way to the leader now is not taken for an answer after its death
	done := make(chan time.Time, 1)
	under := make(chan struct{}, waiting)
	for {
		select {
		case under <- struct{}{}:
			go func() {
				defer func() { <-under }()
				if dead.Up() || !b.claim(n) {
					return
				}
				select {
				case done <- time.Now():
				default:
				}
			}()
		default: // all of them wait: no use in more
		}
		select {
		case at := <-done:
			return at, true
		case <-time.After(probeEvery):
		case <-ctx.Done():
			return time.Time{}, false
		}
	}
}

// claim posts a new call to a node and reports whether it has an owner.
func (b *bench) claim(n *fleet.Node) bool {
	id := ownership.CallID(fmt.Sprintf("%016x%016x", time.Now().UnixNano(), b.calls.Add(1)))
	out, err := b.posts.Claim(n, id)
	return err == nil && out.Said == claims.SaidOwner
}

// claimOn claims new calls at the nodes that run, until ctx ends.
func (b *bench) claimOn(ctx context.Context, i int) {
	for ; ctx.Err() == nil; i++ {
		n := b.region.Nodes[i%len(b.region.Nodes)]
		if n.Up() && b.claim(n) {
			b.placed.Add(1)
		} else {
			fleet.Pause(ctx, probeEvery)
		}
	}
}

// term waits until all nodes agree on the leader and its term.
func (b *bench) term(ctx context.Context) (term uint64, leader *fleet.Node, err error) {
	if !fleet.Until(ctx, 30*time.Second, 20*time.Millisecond, func() bool {
		term, leader = 0, nil
		var said []api.Status
		for _, n := range b.region.Nodes {
			s, err := n.Status(ctx)
			if err != nil {
				return false
			}
			said = append(said, s)
			if s.Cluster.Leader == n.ID {
				leader = n
			}
		}
		for _, s := range said {
			if leader == nil || s.Cluster.Leader != leader.ID || s.Cluster.Term != said[0].Cluster.Term {
				return false
			}
		}
		term = said[0].Cluster.Term
		return true
	}) {
		return 0, nil, errors.New("the nodes did not agree on a leader within 30 s")
	}
	return term, leader, nil
}
