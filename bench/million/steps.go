package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"tandem/bench/region"
	"tandem/faultrig/fleet"
	"tandem/ownership"
)

// Rates of the traffic beside a step, a second.
const (
	claimRate  = 50
	followRate = 100
)

// barStart is how soon a node with the whole table may act after it was started.
const barStart = 2 * time.Second

// counter counts what is written to it.
type counter int64

// Write counts.
func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

var _ io.Writer = new(counter)

// claiming claims new calls at a fixed rate, at the nodes that run now, while something is done.
func (b *bench) claiming(ctx context.Context, do func() error) (region.Said, error) {
	tally, at := region.NewTally(), b.Up()
	going, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		region.Drive(going, claimRate, func(due time.Time) {
			_, err := b.Claim(ctx, region.Any(at), nil)
			tally.Hear(due, err)
		})
	})
	err := do()
	stop()
	wg.Wait()
	return tally.Say(), err
}

// snapshot saves a snapshot at the leader, and compares claims meanwhile with those before.
func (b *bench) snapshot(ctx context.Context) error {
	leader, err := b.Leader(ctx)
	if err != nil {
		return err
	}
	var size counter
	var took time.Duration
	during, err := b.claiming(ctx, func() error {
		begun := time.Now()
		err := leader.API.SaveSnapshot(ctx, &size)
		took = time.Since(begun)
		return err
	})
	if err != nil {
		return err
	}
	before, err := b.claiming(ctx, func() error { fleet.Pause(ctx, max(took, 5*time.Second)); return nil })
	if err != nil {
		return err
	}
	t := latencies(fmt.Sprintf("A snapshot of %s is saved at the leader in %s", mb(int64(size)), short(took)))
	t.said("it is saved", "new call", during)
	t.said("nothing else", "new call", before)
	t.print()
	return nil
}

// restart kills a node and starts it again at once.
func (b *bench) restart(ctx context.Context) error {
	n, err := b.follower(ctx)
	if err != nil {
		return err
	}
	n.Kill()
	begun := time.Now()
	if err := n.Start(); err != nil {
		return err
	}
	door, acts, err := b.await(ctx, n, begun, 2*time.Minute)
	if err != nil {
		return err
	}
	own, err := b.owned(ctx)
	if err != nil {
		return err
	}
	t := newTable("kill -9 of "+string(n.ID)+", which starts again at once", "its admin door answers", "it may act again", "calls that it owns then")
	t.row(short(door), short(acts), count(own[string(n.ID)]))
	t.print()
	b.bar("kill -9, started at once: until it acts, the rest of its lease included", "≤ "+short(barStart), short(acts), acts <= barStart)
	return b.well(ctx)
}

// join brings a fresh node in while calls are claimed.
func (b *bench) join(ctx context.Context) error {
	n, err := b.Spare(0, 0, func(doc map[string]any) {
		fleet.Joining(doc)
		b.Beside("emea-10")(doc)
	})
	if err != nil {
		return err
	}
	var door, acts, first time.Duration
	during, err := b.claiming(ctx, func() error {
		begun := time.Now()
		if err := n.Start(); err != nil {
			return err
		}
		if door, acts, err = b.await(ctx, n, begun, 5*time.Minute); err != nil {
			return err
		}
		fleet.Until(ctx, 30*time.Second, 5*time.Millisecond, func() bool {
			first = time.Since(begun)
			return b.Bot.Told(n.ID, ownership.EventIncoming) > 0
		})
		return nil
	})
	if err != nil {
		return err
	}
	t := newTable("A fresh node joins", "its admin door answers", "it may act", "its bot has a call")
	t.row(short(door), short(acts), short(first))
	t.print()
	l := latencies("New calls while it joins")
	l.said("it joins", "new call", during)
	l.print()
	if err := b.well(ctx); err != nil {
		return err
	}
	return b.split(ctx, n)
}
