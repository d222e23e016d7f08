package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"tandem/bench/region"
)

// The load of -scale: so many clients, each kind of request for so long.
const (
	scaleClients = 16
	scaleFor     = 8 * time.Second
)

// scale puts the same load on regions of all sizes.
func scale(ctx context.Context, f flags, program string) error {
	nodes, err := numbers(f.scaleNodes)
	if err != nil {
		return fmt.Errorf("reading -scale-nodes: %w", err)
	}
	calls, err := numbers(f.scaleCalls)
	if err != nil {
		return fmt.Errorf("reading -scale-calls: %w", err)
	}
	t := newTable(fmt.Sprintf("The same %d clients at regions of all sizes", scaleClients),
		"nodes", "live calls", "new calls a second", "p50", "p99", "later notifications a second", "p50", "p99", "503 and failures", "load")
	defer t.print()
	for _, n := range nodes {
		if err := scaleOne(ctx, f, program, n, calls, &t); err != nil {
			return fmt.Errorf("a region of %d nodes: %w", n, err)
		}
	}
	return nil
}

// scaleOne fills one region further and further, and puts the load on it each time.
func scaleOne(ctx context.Context, f flags, program string, nodes int, calls []int, t *table) (err error) {
	r, err := region.Start(ctx, program, nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, wanted := range calls {
		if _, err := r.Fill(ctx, wanted, f.clients, f.fills, progress); err != nil {
			return err
		}
		claims := region.NewTally()
		region.Each(ctx, scaleClients, scaleFor, func(int) {
			due := time.Now()
			_, err := r.Claim(ctx, region.Any(r.Nodes), nil)
			claims.Hear(due, err)
		})
		c := claims.Say()
		later := region.NewTally()
		region.Each(ctx, scaleClients, scaleFor, func(int) {
			n := 1 + rand.Uint64N(r.Last())
			if r.Bot.Seat(n) == nil {
				return
			}
			due := time.Now()
			later.Hear(due, r.Follow(ctx, region.Any(r.Nodes), n))
		})
		l := later.Say()
		t.row(count(int64(nodes)), count(int64(wanted)), fmt.Sprintf("%.0f", c.Rate), short(c.P50), short(c.P99),
			fmt.Sprintf("%.0f", l.Rate), short(l.P50), short(l.P99), count(c.Later+c.Failed+l.Later+l.Failed), region.Load())
	}
	return ctx.Err()
}
