package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/bench/region"
	"tandem/faultrig/fleet"
	"tandem/ownership"
)

// The bars of memory: bytes of heap for each live call of the region, of a node's own calls
// and of all of it; and resident memory of a node for a million calls.
const (
	barHeap = 300
	barRSS  = 900e6
)

// owned counts the live calls of each node.
func (b *bench) owned(ctx context.Context) (map[string]int64, error) {
	all, err := b.Up()[0].API.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the nodes: %w", err)
	}
	own := map[string]int64{}
	for _, n := range all {
		own[string(n.ID)] = int64(n.Live)
	}
	return own, nil
}

// sum adds up the calls of all nodes.
func sum(own map[string]int64) (all int64) {
	for _, n := range own {
		all += n
	}
	return all
}

// memory tells what the table and the calls take. What the second half of the calls added
// is theirs alone: rings and buffers of a fixed size are full by then.
func (b *bench) memory(ctx context.Context) (err error) {
	own, err := b.owned(ctx)
	if err != nil {
		return err
	}
	if b.full, err = b.memories(ctx); err != nil {
		return err
	}
	b.fulls = own
	all, added := max(1, sum(own)), max(1, sum(own)-sum(b.halfs))
	t := newTable("Memory with "+count(all)+" live calls", "node", "own calls", "resident", "of it pages of files", "heap after a collection", "with half of the calls", "empty", "heap a call of the region, all", "the second half", "files")
	var worstHeap float64
	var worstRSS int64
	for _, n := range b.Nodes {
		id := string(n.ID)
		m := b.full[id]
		perCall, slope := float64(m.Heap-b.empty[id].Heap)/float64(all), float64(m.Heap-b.half[id].Heap)/float64(added)
		worstHeap, worstRSS = max(worstHeap, slope), max(worstRSS, m.RSS)
		files, err := files(n)
		if err != nil {
			return err
		}
		t.row(id, count(own[id]), mb(m.RSS), mb(m.Files), mb(m.Heap), mb(b.half[id].Heap), mb(b.empty[id].Heap), fmt.Sprintf("%.0f B", perCall), fmt.Sprintf("%.0f B", slope), files)
	}
	t.print()
	b.bar("heap that a live call of the region adds, the node with most", fmt.Sprintf("≤ %d B", barHeap), fmt.Sprintf("%.0f B", worstHeap), worstHeap <= barHeap)
	b.bar("resident memory of a node at "+count(all)+" calls", "≤ "+mb(barRSS)+" at 1,000,000", mb(worstRSS), float64(worstRSS) <= barRSS)
	return b.heapProfiles(ctx, "full")
}

// files lists what is large in a node's data directory.
func files(n *fleet.Node) (string, error) {
	sizes, err := region.Disk(n)
	if err != nil {
		return "", err
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		if sizes[name] > 1e6 {
			all = append(all, name+" "+mb(sizes[name]))
		}
	}
	return strings.Join(all, ", "), nil
}

// heapProfiles writes what the heap of each node holds, where profiles are wanted.
func (b *bench) heapProfiles(ctx context.Context, when string) error {
	if b.profiles == "" {
		return nil
	}
	for _, n := range b.Up() {
		if err := b.Profile(ctx, n, "heap", filepath.Join(b.profiles, when+"-"+string(n.ID)+".pb.gz")); err != nil {
			return err
		}
	}
	return nil
}

// gc tells what the collector did since the nodes started.
func (b *bench) gc(ctx context.Context) error {
	t := newTable("Garbage collection since the start, the fill included", "node", "collections", "longest pause of the last 256", "share of CPU")
	for _, n := range b.Up() {
		m, err := b.Memory(ctx, n)
		if err != nil {
			return err
		}
		t.row(string(n.ID), count(m.Cycles), short(m.WorstPause), fmt.Sprintf("%.1f %%", 100*m.GCShare))
	}
	t.print()
	return nil
}

// split tells what the calls of others cost a node, by a newcomer that owns next to none, and
// what a call of one's own costs, by what the second half of the fill added.
func (b *bench) split(ctx context.Context, newcomer *fleet.Node) error {
	own, err := b.owned(ctx)
	if err != nil {
		return err
	}
	fresh, err := b.Memory(ctx, newcomer)
	if err != nil {
		return err
	}
	others := float64(fresh.Heap-b.empty[string(b.Nodes[0].ID)].Heap) / float64(max(1, sum(own)))
	t := newTable("Heap by whose calls they are", "node", "own calls", "resident", "heap after a collection", "a call of others'", "a call of its own, in all")
	t.row(string(newcomer.ID), count(own[string(newcomer.ID)]), mb(fresh.RSS), mb(fresh.Heap), fmt.Sprintf("%.0f B", others), "–")
	var worst float64
	for _, n := range b.Nodes {
		id := string(n.ID)
		if b.full == nil || b.fulls[id] == b.halfs[id] {
			continue
		}
		theirs := others * float64(sum(b.fulls)-sum(b.halfs)-b.fulls[id]+b.halfs[id])
		each := (float64(b.full[id].Heap-b.half[id].Heap) - theirs) / float64(b.fulls[id]-b.halfs[id])
		worst = max(worst, each)
		t.row(id+", after the fill", count(b.fulls[id]), mb(b.full[id].RSS), mb(b.full[id].Heap), "", fmt.Sprintf("%.0f B", each))
	}
	t.print()
	b.bar("heap a call of others'", fmt.Sprintf("≤ %d B", barHeap), fmt.Sprintf("%.0f B", others), others <= barHeap)
	if worst != 0 {
		b.bar("heap a call of one's own, its share of the table included", fmt.Sprintf("≤ %d B", barHeap), fmt.Sprintf("%.0f B", worst), worst <= barHeap)
	}
	return b.heapProfiles(ctx, "joined")
}

// await waits until a node's door answers and until it may act, and says how long each took.
func (b *bench) await(ctx context.Context, n *fleet.Node, since time.Time, limit time.Duration) (door, acts time.Duration, err error) {
	acting := fleet.Until(ctx, limit, 10*time.Millisecond, func() bool {
		if door == 0 {
			if !b.Answers(ctx, n) {
				return false
			}
			door = time.Since(since)
		}
		s, err := n.Status(ctx)
		return err == nil && s.Leased && s.Cluster.Leader != ""
	})
	if !acting {
		return door, 0, fmt.Errorf("%s may not act within %s", n.ID, limit)
	}
	return door, time.Since(since), nil
}

// follower is the node that owns most calls and does not lead.
func (b *bench) follower(ctx context.Context) (*fleet.Node, error) {
	leader, err := b.Leader(ctx)
	if err != nil {
		return nil, err
	}
	own, err := b.owned(ctx)
	if err != nil {
		return nil, err
	}
	return slices.MaxFunc(b.Others(leader), func(x, y *fleet.Node) int { return int(own[string(x.ID)] - own[string(y.ID)]) }), nil
}

// well waits until all nodes may act and bots have heard of no more adoptions for longer than
// a lease.
func (b *bench) well(ctx context.Context) error {
	for _, n := range b.Nodes {
		if err := n.Await(ctx, 2*time.Minute, "act", func(s api.Status) bool { return s.Leased && s.Cluster.Leader != "" }); err != nil {
			return err
		}
	}
	for told := int64(-1); ctx.Err() == nil; fleet.Pause(ctx, 3*time.Second) {
		now := b.Bot.Told("", ownership.EventAdopted)
		if now == told {
			return nil
		}
		told = now
	}
	return ctx.Err()
}
