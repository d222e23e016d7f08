package regionsim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"
)

// network is the wires between machines. Bytes take their time, and where a way is
// cut they wait until it is mended, as TCP's do.
type network struct {
	mu      sync.Mutex
	rng     *rand.Rand
	ways    map[way]*wire
	ports   map[string]*listener
	up      map[string]*card // by host
	changed chan struct{}    // closed at each change
	over    chan struct{}    // closed at the end of the simulation
	last    int              // port of a dialled connection
	lost    []*end           // of machines that fell silent; see card.fall
}

// way is one direction between two hosts.
type way struct{ from, to string }

type wire struct {
	cuts     int           // faults that hold it cut
	refusals int           // faults that have connections refused
	slow     time.Duration // bytes take up to so much longer
}

func newNetwork(seed uint64) *network {
	return &network{
		rng: rand.New(rand.NewPCG(seed, 1)), ways: map[way]*wire{}, ports: map[string]*listener{}, up: map[string]*card{},
		changed: make(chan struct{}), over: make(chan struct{}),
	}
}

// change does something to the network and wakes who waits for it.
func (n *network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *network) wire(w way) *wire {
	if n.ways[w] == nil {
		n.ways[w] = &wire{}
	}
	return n.ways[w]
}

// cut cuts the ways and gives what mends them. Faults overlap: a way is open when
// every one that cut it has mended it.
func (n *network) cut(ways ...way) (mend func()) {
	add := func(by int) {
		n.change(func() {
			for _, w := range ways {
				n.wire(w).cuts += by
			}
		})
	}
	add(1)
	return func() { add(-1) }
}

// delay makes the ways slower, up to by.
func (n *network) delay(by time.Duration, ways ...way) (mend func()) {
	add := func(by time.Duration) {
		n.change(func() {
			for _, w := range ways {
				n.wire(w).slow += by
			}
		})
	}
	add(by)
	return func() { add(-by) }
}

// pass waits until something sent now has come through, in its turn after last.
func (n *network) pass(w way, last time.Time, stop <-chan struct{}) (time.Time, error) {
	n.mu.Lock()
	took := 100*time.Microsecond + time.Duration(n.rng.IntN(1500))*time.Microsecond
	if slow := n.wire(w).slow; slow > 0 {
		took += slow/4 + time.Duration(n.rng.Int64N(int64(slow)))
	}
	n.mu.Unlock()
	due := time.Now().Add(took)
	if due.Before(last) {
		due = last
	}
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
	case <-stop:
		return due, errStopped
	case <-n.over:
		return due, errStopped
	}
	for {
		n.mu.Lock()
		open, changed := n.wire(w).cuts == 0, n.changed
		n.mu.Unlock()
		if open {
			return due, nil
		}
		select {
		case <-changed:
		case <-stop:
			return due, errStopped
		case <-n.over:
			return due, errStopped
		}
	}
}

// reach sends one small message that is not sent again: it is there a moment later,
// or lost.
func (n *network) reach(w way) bool {
	n.mu.Lock()
	took := 100*time.Microsecond + time.Duration(n.rng.IntN(1500))*time.Microsecond
	n.mu.Unlock()
	time.Sleep(took)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wire(w).cuts == 0
}

var errStopped = errors.New("the simulated network gave up waiting")

// card is the network card of one machine while one process uses it. When the
// process dies, whatever its goroutines still do reaches nobody.
type card struct {
	net  *network
	host string
	dead chan struct{}

	mu     sync.Mutex
	ends   map[*end]struct{}
	ports  []*listener
	fallen bool
}

// plug starts a host. Whoever still talks to the machine that was there before is
// told that nobody knows the connection.
func (n *network) plug(host string) *card {
	c := &card{net: n, host: host, dead: make(chan struct{}), ends: map[*end]struct{}{}}
	n.change(func() {
		n.up[host] = c
		still := n.lost[:0]
		for _, e := range n.lost {
			if e.local.host == host {
				e.bid(syscall.ECONNRESET)
			} else {
				still = append(still, e)
			}
		}
		n.lost = still
	})
	return c
}

// fall ends everything that the card has open, at once. silent: the machine lost
// its power, and nobody tells the other ends.
func (c *card) fall(silent bool) {
	c.mu.Lock()
	if c.fallen {
		c.mu.Unlock()
		return
	}
	c.fallen = true
	close(c.dead)
	ends, ports := c.ends, c.ports
	c.ends = nil
	c.mu.Unlock()
	for _, l := range ports {
		_ = l.Close()
	}
	for e := range ends {
		if !silent {
			e.bid(syscall.ECONNRESET)
		}
		e.shut()
	}
	c.net.change(func() {
		if c.net.up[c.host] == c && !silent {
			delete(c.net.up, c.host) // the machine still refuses connections
		}
		if silent {
			for e := range ends {
				c.net.lost = append(c.net.lost, e)
			}
		}
	})
}

func (c *card) isDead() bool {
	select {
	case <-c.dead:
		return true
	default:
		return false
	}
}

func (c *card) hold(e *end) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fallen {
		return false
	}
	c.ends[e] = struct{}{}
	return true
}

func (c *card) drop(e *end) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ends, e)
}

// Listen is cluster.Ground's.
func (c *card) Listen(_ context.Context, at string) (net.Listener, error) {
	l := &listener{card: c, addr: addressOf(at), come: make(chan net.Conn, 64), done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fallen {
		return nil, syscall.ENETDOWN
	}
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.net.ports[at] != nil {
		return nil, fmt.Errorf("listening on %s: %w", at, syscall.EADDRINUSE)
	}
	c.net.ports[at] = l
	c.ports = append(c.ports, l)
	return l, nil
}

// Dial is cluster.Ground's: a SYN there and its answer back, both in time.
func (c *card) Dial(ctx context.Context, to string) (net.Conn, error) {
	far := addressOf(to)
	there := way{c.host, far.host}
	stop := make(chan struct{})
	defer context.AfterFunc(ctx, func() { close(stop) })()
	if _, err := c.net.pass(there, time.Time{}, stop); err != nil {
		return nil, dialFailed(ctx, to, err)
	}
	l, err := c.net.listening(to, stop)
	if err != nil {
		return nil, dialFailed(ctx, to, err)
	}
	if _, err := c.net.pass(way{far.host, c.host}, time.Time{}, stop); err != nil {
		return nil, dialFailed(ctx, to, err)
	}
	if l == nil || c.net.refused(there) {
		return nil, dialFailed(ctx, to, syscall.ECONNREFUSED)
	}
	mine, theirs, err := c.net.connect(c, l)
	if err != nil {
		return nil, dialFailed(ctx, to, err)
	}
	select {
	case l.come <- theirs:
		return mine, nil
	case <-l.done:
		_ = mine.Close()
		return nil, dialFailed(ctx, to, syscall.ECONNREFUSED)
	case <-stop:
		_ = mine.Close()
		return nil, dialFailed(ctx, to, errStopped)
	}
}

func dialFailed(ctx context.Context, to string, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("dial tcp %s: %w", to, err)
}

// listening returns who listens there; nil: the machine runs and refuses. A machine
// without power says nothing.
func (n *network) listening(at string, stop <-chan struct{}) (*listener, error) {
	for {
		n.mu.Lock()
		l, on, changed := n.ports[at], n.up[addressOf(at).host], n.changed
		n.mu.Unlock()
		if l != nil || on == nil || !on.isDead() {
			return l, nil
		}
		select {
		case <-changed:
		case <-stop:
			return nil, errStopped
		case <-n.over:
			return nil, errStopped
		}
	}
}

// listener is one open port.
type listener struct {
	card *card
	addr address
	come chan net.Conn
	done chan struct{}
	once sync.Once
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.come:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.card.net.mu.Lock()
		defer l.card.net.mu.Unlock()
		delete(l.card.net.ports, l.addr.String())
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// address is a host and a port.
type address struct{ host, port string }

func addressOf(hostport string) address {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		panic(err) // the simulation makes them all
	}
	return address{host, port}
}

// Network implements net.Addr.
func (address) Network() string { return "tcp" }

// String implements net.Addr.
func (a address) String() string { return net.JoinHostPort(a.host, a.port) }
