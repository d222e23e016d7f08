package cluster

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
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
