package cluster

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/cluster/transport"
	"tandem/ownership"
)

// recalls is what a node was told of partitions that came to it.
type recalls struct {
	mu    sync.Mutex
	got   map[ownership.PartitionID][]byte
	owned map[ownership.PartitionID]bool // it owned the partition already when it was told
}

// remember gives the node a memory of its partitions to hand on, and watches what
// it is given.
func (n *testNode) remember(memory []byte) *recalls {
	rec := &recalls{got: make(map[ownership.PartitionID][]byte), owned: make(map[ownership.PartitionID]bool)}
	n.Cluster.deps.Memory = func(ownership.PartitionID) []byte { return memory }
	n.Cluster.deps.Recall = func(id ownership.PartitionID, b []byte) {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		p, _ := n.tb.Partition(id)
		rec.got[id], rec.owned[id] = b, p.Owner == n.id
	}
	return rec
}

// What the owner knows of handled messages is with the next owner before the
// partition is, however large it is.
func TestO26_AMoveTakesTheMemoryOfHandledMessagesAlong(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	to := leaderOf(t, nodes...)
	n := without(nodes, to)[0]
	memory := bytes.Repeat([]byte("handled "), memoryChunk/2)
	seen := make(map[ownership.NodeID]*recalls)
	for _, o := range nodes {
		seen[o.id] = o.remember(nil)
	}
	seen[n.id] = n.remember(memory)
	p := claimOn(t, n, 1, movable)
	eventually(t, "the node acts", func() bool { return n.HoldsPartition(p.Partition, p.Epoch) })
	var resting bool
	n.Cluster.deps.Memory = func(id ownership.PartitionID) []byte {
		resting = !n.HoldsPartition(id, p.Epoch)
		return memory
	}
	theirs := n.tb.PartitionsOf(n.id)
	eventually(t, "the move", func() bool { return n.Move(soon(t), p.Partition, to.id) == nil }) // a busy machine may lose its leader meanwhile
	if !resting {
		t.Error("the memory was taken while its owner still acted")
	}
	got := seen[to.id]
	if !bytes.Equal(got.got[p.Partition], memory) {
		t.Errorf("the next owner got %d bytes of %d", len(got.got[p.Partition]), len(memory))
	}
	if got.owned[p.Partition] {
		t.Error("the partition moved before its memory")
	}
	n.Cluster.deps.Memory = func(ownership.PartitionID) []byte { return memory }
	eventually(t, "the node has given them all away", func() bool {
		given, err := n.HandOff(soon(t), HandingOff{Empty: true})
		return err == nil && given.Failed == 0
	})
	if len(theirs) != births {
		t.Errorf("it had %d partitions, want %d", len(theirs), births)
	}
	for _, p := range theirs {
		now, _ := n.tb.Partition(p.ID)
		heir := seen[now.Owner]
		heir.mu.Lock()
		if now.Owner == n.id || !bytes.Equal(heir.got[p.ID], memory) {
			t.Errorf("partition %s is with node %s, which has %d of its %d bytes of memory", p.ID, now.Owner, len(heir.got[p.ID]), len(memory))
		}
		heir.mu.Unlock()
	}
}

// A node that leaves lets whoever may inherit know what it handled, before anybody
// does: the calls with media on it go to others too. Who could not be told does not
// inherit as long as another may.
func TestO26_ALeaveTakesTheMemoryOfHandledMessagesAlong(t *testing.T) {
	long(t)
	var cut atomic.Pointer[[2]string] // no connection from the node with that id to that address
	r := newRegion(t, func(c *Config) {
		id := string(c.Node.ID)
		c.Ground.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			if not := cut.Load(); not != nil && *not == [2]string{id, addr} {
				return nil, errors.New("the way is cut")
			}
			return transport.DialTCP(ctx, addr)
		}
	})
	nodes := r.form(4)
	ldr := leaderOf(t, nodes...)
	n, mute := without(nodes, ldr)[0], without(nodes, ldr)[1]
	seen := make(map[ownership.NodeID]*recalls)
	for _, o := range nodes {
		seen[o.id] = o.remember(nil)
	}
	memory := []byte("handled")
	p := claimOn(t, n, 1, pinned)
	eventually(t, "the node acts", func() bool { return n.HoldsPartition(p.Partition, p.Epoch) })
	n.Cluster.deps.Memory = func(id ownership.PartitionID) []byte {
		if q, _ := n.tb.Partition(id); n.HoldsPartition(id, q.Epoch) {
			t.Errorf("the memory of partition %s was taken while its owner still acted", id)
		}
		return memory
	}
	cut.Store(&[2]string{string(n.id), mute.Addr()})
	n.links.Close()
	theirs := n.tb.PartitionsOf(n.id)
	if err := n.Leave(soon(t)); err != nil {
		t.Fatal(err)
	}
	for _, p := range theirs {
		now, _ := ldr.tb.Partition(p.ID)
		heir := seen[now.Owner]
		if heir == nil || now.Owner == n.id {
			t.Fatalf("partition %s is with %s", p.ID, now.Owner)
		}
		heir.mu.Lock()
		if !bytes.Equal(heir.got[p.ID], memory) || heir.owned[p.ID] {
			t.Errorf("node %s inherited partition %s with the memory %q, owned before: %v", now.Owner, p.ID, heir.got[p.ID], heir.owned[p.ID])
		}
		heir.mu.Unlock()
	}
}

// TestO26_ALeaveThatTakesLongKeepsItsPartitions: a node that leaves slowly, as on a starved machine,
// is not taken for dead meanwhile: nobody inherits before the memory is there.
func TestO26_ALeaveThatTakesLongKeepsItsPartitions(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	n := without(nodes, ldr)[0]
	memory := []byte("handled")
	seen := make(map[ownership.NodeID]*recalls)
	for _, o := range nodes {
		seen[o.id] = o.remember(memory)
	}
	theirs := n.tb.PartitionsOf(n.id)
	n.mu.Lock()
	n.rest = func(id ownership.PartitionID) {
		if id == theirs[0].ID {
			time.Sleep(2 * (fast.Lease + fast.Drift)) // that long it has to say of what is under way
		}
		if p, _ := n.tb.Partition(id); n.HoldsPartition(id, p.Epoch) {
			t.Errorf("partition %s rests while its owner acts", id)
		}
	}
	n.mu.Unlock()
	if err := n.Leave(soon(t)); err != nil {
		t.Fatal(err)
	}
	for _, p := range theirs {
		now, _ := ldr.tb.Partition(p.ID)
		heir := seen[now.Owner]
		heir.mu.Lock()
		if now.Owner == n.id || !bytes.Equal(heir.got[p.ID], memory) || heir.owned[p.ID] {
			t.Errorf("node %s inherited partition %s with the memory %q, owned before: %v", now.Owner, p.ID, heir.got[p.ID], heir.owned[p.ID])
		}
		heir.mu.Unlock()
	}
}

// A move whose memory does not arrive comes to nothing: its owner goes on.
func TestO26_AMoveWithoutItsMemoryComesToNothing(t *testing.T) {
	long(t)
	r := newRegion(t, calm)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	n, to := without(nodes, ldr)[0], without(nodes, ldr)[1]
	n.remember([]byte("handled"))
	p := claimOn(t, n, 1, movable)
	eventually(t, "the node acts", func() bool { return n.HoldsPartition(p.Partition, p.Epoch) })
	to.cut()
	if err := n.Move(soon(t), p.Partition, to.id); !errors.Is(err, ownership.ErrUnreachable) {
		t.Errorf("moving to a node that cannot be reached gave %v", err)
	}
	if ownerOf(n, p) != n.id || !n.HoldsPartition(p.Partition, p.Epoch) {
		t.Error("the owner no longer acts on what it kept")
	}
	if to, err := ldr.leading.Load().Fittest(t.Context(), p.Partition, []ownership.NodeID{to.id}); err != nil || to != ldr.id {
		t.Errorf("without the node that failed, %s is the fittest (%v), want %s", to, err, ldr.id)
	}
}

// Only a partition's owner may say what was handled in it.
func TestTheMemoryOfAPartitionIsTakenFromItsOwnerOnly(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	liar, victim := without(nodes, ldr)[0], without(nodes, ldr)[1]
	seen := victim.remember(nil)
	liar.remember([]byte("lies"))
	p := ldr.tb.PartitionsOf(ldr.id)[0]
	if err := liar.handOn(soon(t), p.ID, victim.id); err == nil {
		t.Error("it was believed")
	}
	if len(seen.got) != 0 {
		t.Error("it was recalled")
	}
}
