package regionsim

import (
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// end is one end of a connection. However much is on its way, a write never waits: net/http
// writes under a lock, and who waits for a lock stops the time of a bubble.
type end struct {
	card       *card
	local, far address
	peer       *end
	more       chan struct{} // there is something in out
	bye        chan error    // the last word to the other end, after what is in out
	once, last sync.Once

	mu     sync.Mutex
	moved  *sync.Cond
	out    [][]byte // written and not yet on its way
	in     []byte
	inEnd  error // what a Read gives when in is empty
	closed bool
	read   limit
	write  limit
}

// limit is a deadline.
type limit struct {
	at    time.Time
	timer *time.Timer
}

func (n *network) connect(from *card, to *listener) (mine, theirs *end, err error) {
	n.mu.Lock()
	n.last++
	port := strconv.Itoa(20000 + n.last%40000)
	n.mu.Unlock()
	mine = newEnd(from, address{from.host, port}, to.addr)
	theirs = newEnd(to.card, to.addr, mine.local)
	mine.peer, theirs.peer = theirs, mine
	for _, e := range []*end{mine, theirs} {
		if !e.card.hold(e) {
			mine.card.drop(mine)
			return nil, nil, net.ErrClosed
		}
	}
	go n.carry(mine)
	go n.carry(theirs)
	return mine, theirs, nil
}

func newEnd(c *card, local, far address) *end {
	e := &end{card: c, local: local, far: far, more: make(chan struct{}, 1), bye: make(chan error, 1)}
	e.moved = sync.NewCond(&e.mu)
	return e
}

// carry takes what one end writes to the other, in order.
func (n *network) carry(e *end) {
	w := way{e.local.host, e.far.host}
	var last time.Time
	move := func(b []byte, end error) bool {
		var err error
		if last, err = n.pass(w, last, nil); err != nil {
			return false
		}
		e.peer.arrive(b, end)
		return end == nil
	}
	all := func() bool {
		for b := e.next(); b != nil; b = e.next() {
			if !move(b, nil) {
				return false
			}
		}
		return true
	}
	for all() {
		select {
		case <-e.more:
		case why := <-e.bye:
			if why != io.EOF || all() { //nolint:errorlint // it is the very value
				move(nil, why)
			}
			return
		case <-n.over:
			return
		}
	}
}

// next takes what was written first; nil: nothing waits.
func (e *end) next() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.out) == 0 {
		return nil
	}
	b := e.out[0]
	e.out = e.out[1:]
	return b
}

func (e *end) arrive(b []byte, end error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.in = append(e.in, b...)
	if end != nil {
		e.inEnd = end
		if end != io.EOF { //nolint:errorlint // it is the very value
			e.in = nil
		}
	}
	e.moved.Broadcast()
}

// bid says the last word, once.
func (e *end) bid(why error) { e.last.Do(func() { e.bye <- why }) }

// shut makes this end useless to whoever holds it.
func (e *end) shut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.moved.Broadcast()
}

// Read implements net.Conn.
func (e *end) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, net.ErrClosed
		case e.read.over():
			return 0, os.ErrDeadlineExceeded
		case len(e.in) > 0:
			n := copy(p, e.in)
			e.in = e.in[n:]
			return n, nil
		case e.inEnd != nil:
			return 0, e.inEnd
		}
		e.moved.Wait()
	}
}

// Write implements net.Conn.
func (e *end) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return 0, net.ErrClosed
	case e.write.over():
		return 0, os.ErrDeadlineExceeded
	case e.inEnd != nil && e.inEnd != io.EOF: //nolint:errorlint // it is the very value
		return 0, e.inEnd
	}
	e.out = append(e.out, append(make([]byte, 0, len(p)), p...))
	select {
	case e.more <- struct{}{}:
	default: // it was told already
	}
	return len(p), nil
}

// Close implements net.Conn.
func (e *end) Close() error {
	e.once.Do(func() {
		e.card.drop(e)
		e.shut()
		e.bid(io.EOF)
	})
	return nil
}

func (l *limit) over() bool { return !l.at.IsZero() && !time.Now().Before(l.at) }

func (e *end) limit(l *limit, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.at = at
	if wait := time.Until(at); !at.IsZero() && wait > 0 {
		l.timer = time.AfterFunc(wait, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.moved.Broadcast()
		})
	}
	e.moved.Broadcast()
}

// SetReadDeadline implements net.Conn.
func (e *end) SetReadDeadline(t time.Time) error { e.limit(&e.read, t); return nil }

// SetWriteDeadline implements net.Conn.
func (e *end) SetWriteDeadline(t time.Time) error { e.limit(&e.write, t); return nil }

// SetDeadline implements net.Conn.
func (e *end) SetDeadline(t time.Time) error {
	e.limit(&e.read, t)
	e.limit(&e.write, t)
	return nil
}

// LocalAddr implements net.Conn.
func (e *end) LocalAddr() net.Addr { return e.local }

// RemoteAddr implements net.Conn.
func (e *end) RemoteAddr() net.Addr { return e.far }
