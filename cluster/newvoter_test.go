package cluster

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"tandem/cluster/leader"
)

// dammed is a raft log on a disk that takes nothing for a while.
type dammed struct {
	raft.LogStore
	dam *sync.RWMutex
}

func (d dammed) StoreLogs(logs []*raft.Log) error {
	d.dam.RLock()
	defer d.dam.RUnlock()
	return d.LogStore.StoreLogs(logs)
}

func (d dammed) StoreLog(log *raft.Log) error { return d.StoreLogs([]*raft.Log{log}) }

// TestV11_ANewcomerStopsNoClaims: of three voters one is dead, and a replacement comes
// whose log fills slowly. With a vote it would be needed for every claim. It gets one
// once its table has caught up.
func TestV11_ANewcomerStopsNoClaims(t *testing.T) {
	long(t)
	var dam sync.RWMutex
	r := newRegion(t, func(c *Config) {
		if c.Node.ID == "d" {
			c.Ground.Log = func(log raft.LogStore) raft.LogStore { return dammed{log, &dam} }
		}
	})
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	dead := without(nodes, ldr)[0]
	rest := without(nodes, dead)
	dead.cut()
	dam.Lock()
	open := sync.OnceFunc(dam.Unlock)
	t.Cleanup(open)
	d := r.start("d")
	votes := func() (has, in bool) {
		for _, s := range ldr.servers() {
			if s.ID == "d" {
				return s.Suffrage == raft.Voter, true
			}
		}
		return false, false
	}
	eventually(t, "the newcomer has a place in raft", func() bool { _, in := votes(); return in })
	stable := time.Now().Add(4 * fast.Stabilise)
	for i := 0; i < 20 || time.Now().Before(stable); i++ {
		begun := time.Now()
		claim(t, rest[i%2], i)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("claim %d took %v beside a newcomer that has not caught up", i, took)
		}
		if has, _ := votes(); has {
			t.Fatal("the newcomer votes before its table has caught up")
		}
	}
	open()
	d.ready()
	eventually(t, "it votes once it has caught up", func() bool { has, _ := votes(); return has })
}

// stopsAt is a raft log on a disk that stands still from the first write after hold.
type stopsAt struct {
	raft.LogStore
	hold, held, free chan struct{}
	first            *sync.Once
}

func (d *stopsAt) StoreLogs(logs []*raft.Log) error {
	select {
	case <-d.hold:
		d.first.Do(func() { close(d.held) })
		<-d.free
	default:
	}
	return d.LogStore.StoreLogs(logs)
}

func (d *stopsAt) StoreLog(log *raft.Log) error { return d.StoreLogs([]*raft.Log{log}) }

// TestTheVoteOfANewVoterIsWorthAVote: the leader made c a voter while b's disk stood still,
// and is gone for good. c and b are two of three voters, but b has not heard that c is one.
func TestTheVoteOfANewVoterIsWorthAVote(t *testing.T) {
	long(t)
	slow := &stopsAt{hold: make(chan struct{}), held: make(chan struct{}), free: make(chan struct{}), first: new(sync.Once)}
	free := sync.OnceFunc(func() { close(slow.free) })
	t.Cleanup(free)
	r := newRegion(t, func(c *Config) {
		if c.Node.ID == "b" {
			c.Ground.Log = func(log raft.LogStore) raft.LogStore { slow.LogStore = log; return slow }
		}
	})
	nodes := r.form(3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	voteOfC := func() raft.ServerSuffrage {
		for _, s := range b.servers() {
			if s.ID == "c" {
				return s.Suffrage
			}
		}
		return -1
	}
	eventually(t, "all vote", func() bool { return len(leader.Voters(b.raft)) == 3 })
	c.halt.Lock() // who does not renew is given no vote by the leader, but by this test
	renew := sync.OnceFunc(c.halt.Unlock)
	t.Cleanup(renew)
	eventually(t, "the leader misses c", func() bool {
		l := leaderOf(t, a).leading.Load()
		return l != nil && time.Now().After(l.Leases.Over("c"))
	})
	if err := a.raft.DemoteVoter("c", 0, patience).Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b hears that c does not vote", func() bool { return voteOfC() == raft.Nonvoter })
	close(slow.hold)
	ctx := soon(t)
	claimed := make(chan error, 1)
	go func() { _, err := a.Claim(ctx, claimOf(1)); claimed <- err }()
	<-slow.held // of all that a decides from here on b hears nothing
	if err := a.raft.AddVoter("c", raft.ServerAddress(c.Addr()), 0, patience).Error(); err != nil {
		t.Fatal(err)
	}
	renew()
	if err := <-claimed; err != nil {
		t.Fatal(err)
	}
	if voteOfC() != raft.Nonvoter {
		t.Fatal("b has heard that c votes")
	}
	a.cut()
	free()
	if ldr := leaderOf(t, b, c); ldr != c {
		t.Fatalf("%s leads: the log of c goes further", ldr.id)
	}
	claim(t, c, 2)
}
