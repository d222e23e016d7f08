package addrlimit

import (
	"net/netip"
	"sync"
)

// Conns counts the connections that are open from each address. It is safe for
// concurrent use.
type Conns struct {
	each int

	mu   sync.Mutex
	open map[netip.Addr]int
}

// NewConns returns a count that lets an address have each connections at a time.
func NewConns(each int) *Conns { return &Conns{each: each, open: map[netip.Addr]int{}} }

// Enter counts one more connection of an address (see Key), or reports false when it
// has all that it may have. Leave must follow true.
func (c *Conns) Enter(from netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[from] >= c.each {
		return false
	}
	c.open[from]++
	return true
}

// Leave counts one connection less.
func (c *Conns) Leave(from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[from]--; c.open[from] <= 0 {
		delete(c.open, from)
	}
}

// Len returns how many addresses have a connection.
func (c *Conns) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}
