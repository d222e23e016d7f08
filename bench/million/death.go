package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"tandem/bench/region"
	"tandem/faultrig/fleet"
	"tandem/ownership"
)

// The bars of a death: without claims, and what a later notification of a call may take
// whose owner lives.
const (
	barGap    = 1500 * time.Millisecond
	barFollow = 100 * time.Millisecond
)

// Bounds of waiting for the adoptions of a dead node's calls.
const (
	adoptWithin  = 15 * time.Minute
	noneAnyMore  = 15 * time.Second // without one more adoption
	beforeDeath  = 5 * time.Second
	afterLast    = 2 * time.Second
	profileDeath = 20 // seconds
)

// traffic is what the cloud asks of the survivors of a death.
type traffic struct {
	placed *region.Tally // the first answer to a new call
	taken  *region.Tally // a bot has it
	owner  *region.Tally // later notifications at the owner
	relay  *region.Tally // at another node
	stop   func()
}

// ask keeps the traffic up at all nodes but one until it is stopped.
func (b *bench) ask(ctx context.Context, but *fleet.Node) *traffic {
	t := &traffic{placed: region.NewTally(), taken: region.NewTally(), owner: region.NewTally(), relay: region.NewTally()}
	going, cancel := context.WithCancel(ctx)
	at := b.Others(but)
	var wg sync.WaitGroup
	wg.Go(func() {
		region.Drive(going, claimRate, func(due time.Time) {
			_, err := b.Claim(ctx, region.Any(at), func(err error) { t.placed.Hear(due, err) })
			t.taken.Hear(due, err)
		})
	})
	wg.Go(func() {
		region.Drive(going, followRate, func(due time.Time) { b.followOne(ctx, t, due, at, but.ID) })
	})
	t.stop = func() {
		cancel()
		wg.Wait()
		for _, tally := range []*region.Tally{t.placed, t.taken, t.owner, t.relay} {
			tally.Say() // what comes later is no gap
		}
	}
	return t
}

// followOne tells a survivor something of a call that was another's than the victim's from the beginning.
func (b *bench) followOne(ctx context.Context, t *traffic, due time.Time, at []*fleet.Node, but ownership.NodeID) {
	for range 50 {
		n := 1 + rand.Uint64N(b.Last())
		seat := b.Bot.Seat(n)
		if seat == nil || seat.Node == but || seat.Adopted {
			continue
		}
		node := region.Any(at)
		if node.ID == seat.Node {
			t.owner.Hear(due, b.Follow(ctx, node, n))
		} else {
			t.relay.Hear(due, b.Follow(ctx, node, n))
		}
		return
	}
}

// print puts the tallies into a table.
func (t *traffic) print(to *table, while string) {
	to.said(while, "new call, first answer", t.placed.Say())
	to.said(while, "new call, a bot has it", t.taken.Say())
	to.said(while, "later, at its owner", t.owner.Say())
	to.said(while, "later, at another node", t.relay.Say())
}

// death kills an owner, waits until its calls are adopted, and starts it again.
func (b *bench) death(ctx context.Context) error {
	victim, err := b.follower(ctx)
	if err != nil {
		return err
	}
	before := b.ask(ctx, victim)
	fleet.Pause(ctx, beforeDeath)
	before.stop()
	own, err := b.owned(ctx)
	if err != nil {
		return err
	}
	lost := own[string(victim.ID)]
	table := latencies(fmt.Sprintf("kill -9 of %s, which owns %s of %s calls", victim.ID, count(lost), count(sum(own))))
	before.print(&table, "before")
	after, err := b.die(ctx, victim, lost)
	if err != nil {
		return err
	}
	after.print(&table, "from the death on")
	table.print()
	b.judgeDeath(after)
	return b.comeBack(ctx, victim)
}

// die kills the victim under traffic and waits for the adoptions.
func (b *bench) die(ctx context.Context, victim *fleet.Node, lost int64) (*traffic, error) {
	failovers, err := b.failovers(ctx, victim)
	if err != nil {
		return nil, err
	}
	told := b.Bot.Told("", ownership.EventAdopted)
	var profiled sync.WaitGroup
	defer profiled.Wait()
	after := b.ask(ctx, victim)
	defer after.stop()
	died := time.Now()
	victim.Kill()
	watching, stop := context.WithCancel(ctx)
	silent := b.watchSilent(watching, victim)
	profiled.Go(func() { b.profileDeath(ctx, b.Others(victim)[0]) })
	first, last, adopted := b.adoptions(ctx, died, told, lost)
	fleet.Pause(ctx, afterLast)
	stop()
	others := silent()
	now, err := b.failovers(ctx, victim)
	if err != nil {
		return nil, err
	}
	t := newTable("Its calls are adopted", "adopted", "of", "first after", "last after", "a second", "failovers", "other nodes seen silent")
	t.row(count(adopted), count(lost), short(first), short(last), count(int64(float64(adopted)/max(0.001, (last-first).Seconds()))), fmt.Sprint(now-failovers), fmt.Sprint(len(others), " ", others))
	t.print()
	b.bar("no other node is suspected", "1 failover, none silent", fmt.Sprintf("%.0f, %d", now-failovers, len(others)), now-failovers == 1 && len(others) == 0)
	b.bar("all movable calls are adopted", count(lost), fmt.Sprintf("%s within %s", count(adopted), short(last)), adopted >= lost)
	return after, nil
}

// adoptions waits until the bots heard of all lost calls, or of no more.
func (b *bench) adoptions(ctx context.Context, died time.Time, told, lost int64) (first, last time.Duration, n int64) {
	fleet.Until(ctx, adoptWithin, 20*time.Millisecond, func() bool {
		now := b.Bot.Told("", ownership.EventAdopted) - told
		since := time.Since(died)
		if now > n {
			n, last = now, since
			if first == 0 {
				first = since
			}
		}
		return n >= lost || since-last > noneAnyMore
	})
	return first, last, n
}

// failovers adds up how often the others gave a silent node's partitions away as leaders.
func (b *bench) failovers(ctx context.Context, victim *fleet.Node) (all float64, err error) {
	for _, n := range b.Others(victim) {
		v, err := b.Metric(ctx, n, "tandem_cluster_failovers_total")
		if err != nil {
			return 0, err
		}
		all += v
	}
	return all, nil
}

// watchSilent looks until ctx ends which nodes others call silent; the function it returns
// waits for its end and says which, without the victim.
func (b *bench) watchSilent(ctx context.Context, victim *fleet.Node) func() []ownership.NodeID {
	seen := map[ownership.NodeID]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for fleet.Pause(ctx, 200*time.Millisecond) {
			all, err := region.Any(b.Others(victim)).API.Nodes(ctx)
			if err != nil {
				continue // what the traffic hears says enough
			}
			for _, n := range all {
				if n.Standing == "silent" && n.ID != victim.ID {
					seen[n.ID] = true
				}
			}
		}
	})
	return func() (all []ownership.NodeID) {
		wg.Wait()
		for id := range seen {
			all = append(all, id)
		}
		return all
	}
}

// profileDeath writes what a survivor's processor does from the death on.
func (b *bench) profileDeath(ctx context.Context, n *fleet.Node) {
	if b.profiles == "" {
		return
	}
	if err := b.Profile(ctx, n, fmt.Sprintf("profile?seconds=%d", profileDeath), filepath.Join(b.profiles, "death-"+string(n.ID)+".pb.gz")); err != nil {
		fmt.Println("no profile of the death:", err)
	}
}

// judgeDeath holds the answers since the death against the bars.
func (b *bench) judgeDeath(t *traffic) {
	gap, taken, owner, relay := t.placed.Say().Gap, t.taken.Say().Gap, t.owner.Say(), t.relay.Say()
	b.bar("an owner dies: longest time in which no new call got an owner", "≤ "+short(barGap), short(gap), gap <= barGap)
	b.bar("the same, until a bot had one", "≤ "+short(barGap), short(taken), taken <= barGap)
	b.bar("p99 of later notifications at a living owner", "≤ "+short(barFollow), short(owner.P99), owner.P99 <= barFollow)
	b.bar("the same, relayed by another node", "≤ "+short(barFollow), short(relay.P99), relay.P99 <= barFollow)
	b.bar("503 to them", "0", fmt.Sprint(owner.Later+relay.Later), owner.Later+relay.Later == 0)
}

// comeBack starts the victim again, whose lease is long over.
func (b *bench) comeBack(ctx context.Context, victim *fleet.Node) error {
	begun := time.Now()
	if err := victim.Start(); err != nil {
		return err
	}
	door, acts, err := b.await(ctx, victim, begun, 5*time.Minute)
	if err != nil {
		return err
	}
	t := newTable("It starts again, its lease long over", "its admin door answers", "it may act")
	t.row(short(door), short(acts))
	t.print()
	b.bar("kill -9, started later: until it acts", "≤ "+short(barStart), short(acts), acts <= barStart)
	return b.well(ctx)
}
