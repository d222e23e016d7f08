package regionsim

import (
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// window is how many writes may be on their way in one direction.
const window = 512

// end is one end of a connection.
type end struct {
	card       *card
	local, far address
	peer       *end
	out        chan []byte
	bye        chan error // the last word to the other end, after what is in out
	once, last sync.Once

	mu     sync.Mutex
	moved  *sync.Cond
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
	e := &end{card: c, local: local, far: far, out: make(chan []byte, window), bye: make(chan error, 1)}
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
	for {
		select {
		case b := <-e.out:
			if !move(b, nil) {
				return
			}
			continue
		default:
		}
		select {
		case b := <-e.out:
			if !move(b, nil) {
				return
			}
		case why := <-e.bye:
			for why == io.EOF && len(e.out) > 0 { //nolint:errorlint // it is the very value
				if !move(<-e.out, nil) {
					return
				}
			}
			move(nil, why)
			return
		case <-n.over:
			return
		}
	}
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

// Write implements net.Conn. It waits while too much is on its way.
func (e *end) Write(p []byte) (int, error) {
	b := append(make([]byte, 0, len(p)), p...)
	for {
		e.mu.Lock()
		var err error
		switch {
		case e.closed:
			err = net.ErrClosed
		case e.write.over():
			err = os.ErrDeadlineExceeded
		case e.inEnd != nil && e.inEnd != io.EOF: //nolint:errorlint // it is the very value
			err = e.inEnd
		}
		e.mu.Unlock()
		if err != nil {
			return 0, err
		}
		select {
		case e.out <- b:
			return len(p), nil
		default:
			time.Sleep(time.Millisecond) // the window is full: look again
		}
	}
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
