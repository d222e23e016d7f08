package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"tandem/bench/region"
	"tandem/faultrig/fleet"
)

// churns has calls come and go at a fixed rate, and looks at the nodes before, in the middle and after.
func (b *bench) churns(ctx context.Context) error {
	if b.churn <= 0 {
		return nil
	}
	t := newTable(fmt.Sprintf("Memory while %.0f calls a second come and go", b.churnRate), "node", "after", "resident", "heap after a collection", "allocated a call since then")
	at, err := b.look(ctx, &t, 0, nil)
	if err != nil {
		return err
	}
	first := at
	l := latencies("New calls and ends with the table full")
	for half := 1; half <= 2; half++ {
		b.turnOver(ctx, &l, half)
		if at, err = b.look(ctx, &t, time.Duration(half)*b.churn/2, at); err != nil {
			return err
		}
	}
	l.print()
	t.print()
	var heap, rss float64
	for id, m := range at {
		heap, rss = max(heap, float64(m.Heap)/float64(first[id].Heap)), max(rss, float64(m.RSS)/float64(first[id].RSS))
	}
	b.bar(fmt.Sprintf("churn for %s: heap after ÷ before, the node with most", b.churn), "flat", fmt.Sprintf("%.2f", heap), heap < 1.1)
	b.bar("the same of resident memory", "flat", fmt.Sprintf("%.2f", rss), rss < 1.1)
	return nil
}

// turnOver claims, follows and ends calls for half of the churn.
func (b *bench) turnOver(ctx context.Context, to *table, half int) {
	claimed, told, ended := region.NewTally(), region.NewTally(), region.NewTally()
	going, stop := context.WithTimeout(ctx, b.churn/2)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		region.Drive(going, b.churnRate, func(due time.Time) {
			n, err := b.Claim(ctx, region.Any(b.Nodes), nil)
			claimed.Hear(due, err)
			if err == nil {
				begun := time.Now()
				told.Hear(begun, b.Follow(ctx, nil, n))
			}
		})
	})
	wg.Go(func() {
		region.Drive(going, b.churnRate, func(due time.Time) { b.endOne(ctx, due, ended) })
	})
	wg.Wait()
	while := fmt.Sprintf("half %d of %s", half, b.churn)
	to.said(while, "new call", claimed.Say())
	to.said(while, "later, at its owner", told.Say())
	to.said(while, "end", ended.Say())
}

// endOne ends some call that is live.
func (b *bench) endOne(ctx context.Context, due time.Time, tally *region.Tally) {
	for range 50 {
		if n := 1 + rand.Uint64N(b.Last()); b.Bot.Seat(n) != nil {
			tally.Hear(due, b.End(ctx, n))
			return
		}
	}
}

// look puts the memory of all nodes into a table; before is what it was at the last look.
func (b *bench) look(ctx context.Context, to *table, after time.Duration, before map[string]region.Memory) (map[string]region.Memory, error) {
	fleet.Pause(ctx, 2*time.Second) // what is under way ends
	now := map[string]region.Memory{}
	for _, n := range b.Nodes {
		m, err := b.Memory(ctx, n)
		if err != nil {
			return nil, err
		}
		now[string(n.ID)] = m
		each := "–"
		if was, ok := before[string(n.ID)]; ok {
			each = fmt.Sprintf("%.0f kB", float64(m.Allocated-was.Allocated)/1e3/(b.churnRate*b.churn.Seconds()/2))
		}
		to.row(string(n.ID), short(after), mb(m.RSS), mb(m.Heap), each)
	}
	return now, nil
}
